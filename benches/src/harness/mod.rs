//! What every measurement shares: how it is described, run, judged and printed.
//!
//! Reading order: `group` (what is measured), `rounds` (in which order, and in which process), `stopwatch`
//! (inside such a process), `kernel` (pinning, memory, processor time), `calls` and `trace` (kernel calls, counted), `table`.

mod calls;
mod group;
pub mod kernel;
mod rounds;
mod stopwatch;
mod table;
mod trace;

pub use calls::{begin_counting, end_counting, kernel_calls};
pub use group::{Contender, Group, Row, Scale, Target, Unit};
pub use rounds::{Results, absent, answer, measure};
pub use stopwatch::per_operation;
pub use table::Table;
pub use trace::count_calls_of;
