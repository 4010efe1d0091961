//! The monitor's reports of a turn that lasts.
#![forbid(unsafe_code)]

use core::time::Duration;

use super::core::Core;
use super::sample::{self, NoSample};
use super::slipped;
use super::worker::Worker;
use crate::base::notice;
use crate::sys::blocked;

/// Says which coroutine keeps a worker, and where it is. The turn is told by its `tick`.
pub(crate) fn long_turn(core: &Core, worker: &Worker, tick: u64, lasts: Duration) {
    let Seen { who, frames, .. } = Seen::of(core, worker, tick);
    notice::warn!(
        "worker {} of runtime '{}' has run {who} for {} ms without a wait or a yield{frames}",
        worker.index,
        core.name,
        lasts.as_millis()
    );
}

/// Counts and says which coroutine is blocked in a system call. The turn is told by its `tick`.
pub(crate) fn slipped(core: &Core, worker: &Worker, tick: u64, number: libc::c_long, lasts: Duration) {
    let Seen { name, who, frames } = Seen::of(core, worker, tick);
    // First, because a logger may panic.
    slipped::count(number, name);
    notice::warn!(
        "{who} blocks worker {} of runtime '{}' in system call {number} ({}) for at least {} ms, past the \
         hooks{frames}",
        worker.index,
        core.name,
        blocked::name(number).unwrap_or("unnamed"),
        lasts.as_millis()
    );
}

/// What is known of the coroutine of a turn.
struct Seen {
    name: Option<String>,
    who: String,
    /// Where it is, or why that is not known.
    frames: String,
}

impl Seen {
    fn of(core: &Core, worker: &Worker, tick: u64) -> Self {
        let nobody = |frames: String| Self { name: None, who: "one coroutine".to_owned(), frames };
        let Some(signal) = core.monitor.signal else {
            return nobody(String::new());
        };
        match sample::take(worker, tick, signal) {
            Ok(mut sample) => {
                let name = sample.name.take();
                let who = format!("coroutine '{}' (#{})", name.as_deref().unwrap_or("unnamed"), sample.id);
                let frames = super::backtrace::render(sample);
                let frames = frames.map_or_else(String::new, |frames| format!("; it is here:\n{frames}"));
                Self { name, who, frames }
            }
            Err(NoSample::Over) => nobody("; it has just ended".to_owned()),
            Err(NoSample::NoAnswer) => nobody(format!("; its thread does not answer to signal {signal}")),
            Err(NoSample::Kernel(error)) => {
                nobody(format!("; it cannot be asked by signal {signal}: {error}"))
            }
        }
    }
}
