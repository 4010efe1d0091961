//! The monitor's report of a long turn.
#![forbid(unsafe_code)]

use core::time::Duration;

use super::core::Core;
use super::worker::Worker;

/// Says which coroutine keeps a worker.
pub(crate) fn long_turn(core: &Core, worker: &Worker, lasts: Duration) {
    log::warn!(
        "worker {} of runtime '{}' has run one coroutine for {} ms without a wait or a yield",
        worker.index,
        core.name,
        lasts.as_millis(),
    );
}
