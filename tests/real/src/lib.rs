//! What the tests share: one worker with every libc function replaced, what that has counted, and real servers.

pub mod libpq;
mod server;
mod worker;

pub use server::{Server, mysql, postgres, redis};
pub use worker::{Shown, on_one_worker, on_one_worker_with};
