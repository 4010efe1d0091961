//! Stress loops: random schedules, random cancellations, and books that must balance at the end.
//!
//! Each subject runs in rounds with 1, 2 and 8 workers. A round is made from one number; a failure prints it,
//! and `SEED=<number> cargo test --test stress <subject>` begins with that round. `STRESS_MS` is how long a
//! subject runs with each number of workers.
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod harness;
mod watchdog;

mod cancel_locks;
mod cancel_net;
mod cancel_queues;
mod cancel_waits;
mod futures;
mod hand;
mod mixed;
mod net;
mod parking;
mod pool;
mod runtimes;
mod scopes;
mod spawning;
mod steal;
mod timeouts;
mod timers;
