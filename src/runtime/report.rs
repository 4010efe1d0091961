//! The monitor's report of a long turn.
#![forbid(unsafe_code)]

use core::time::Duration;

use super::core::Core;
use super::sample::{self, NoSample, Sample};
use super::worker::Worker;

/// Says which coroutine keeps a worker, and where it is. The turn is told by its `tick`.
pub(crate) fn long_turn(core: &Core, worker: &Worker, tick: u64, lasts: Duration) {
    let place = format!("worker {} of runtime '{}'", worker.index, core.name);
    let what = format!("for {} ms without a wait or a yield", lasts.as_millis());
    let Some(signal) = core.monitor.signal else {
        log::warn!("{place} has run one coroutine {what}");
        return;
    };
    match sample::take(worker, tick, signal) {
        Ok(sample) => {
            let who = name(&sample);
            match super::backtrace::render(sample) {
                Some(frames) => log::warn!("{place} has run {who} {what}; it is here:\n{frames}"),
                None => log::warn!("{place} has run {who} {what}"),
            }
        }
        Err(NoSample::Over) => log::warn!("{place} has run one coroutine {what}; it has just ended"),
        Err(NoSample::NoAnswer) => {
            log::warn!("{place} has run one coroutine {what}; its thread does not answer to signal {signal}");
        }
        Err(NoSample::Kernel(error)) => {
            log::warn!(
                "{place} has run one coroutine {what}; it cannot be asked by signal {signal}: {error}"
            );
        }
    }
}

fn name(sample: &Sample) -> String {
    format!("coroutine '{}' (#{})", sample.name.as_deref().unwrap_or("unnamed"), sample.id)
}
