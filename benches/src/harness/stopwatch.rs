//! Time for each operation, inside a measuring process.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Scale;

/// Batches of one measurement; the best is taken, because noise only ever adds.
const BATCHES: usize = 5;

/// Nanoseconds an operation takes, where `batch` does as many of them as it is told and says how long
/// that took. Finds a batch size that takes some 20 ms, which also warms everything up.
pub fn per_operation(scale: Scale, mut batch: impl FnMut(u64) -> Duration) -> f64 {
    let enough = Duration::from_millis(scale.pick(20, 5));
    let mut count = 1000;
    loop {
        let took = batch(count);
        if took >= enough {
            break;
        }
        let factor = (enough.as_secs_f64() / took.as_secs_f64().max(1e-9)).clamp(1.2, 10.0);
        count = (count as f64 * factor) as u64 + 1;
    }
    (0..BATCHES).map(|_| batch(count).as_secs_f64() * 1e9 / count as f64).fold(f64::INFINITY, f64::min)
}
