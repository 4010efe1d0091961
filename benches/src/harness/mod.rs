//! What every measurement shares: how it is described, run, judged and printed.
//!
//! Reading order: `group` (what is measured), `rounds` (in which order, and in which process), `stopwatch`
//! (inside such a process), `kernel` (pinning, memory, processor time), `calls`, `table`.

mod calls;
mod group;
pub mod kernel;
mod rounds;
mod stopwatch;
mod table;

pub use calls::{begin_counting, end_counting, kernel_calls};
pub use group::{Contender, Group, Row, Scale, Target, Unit};
pub use rounds::{Results, answer, measure};
pub use stopwatch::per_operation;
pub use table::Table;
