//! The panic hook that names the coroutine: std's message names the thread, which is a worker.
//!
//! The hook is put before the one that the program has when its first runtime is built, and calls that. A hook that the
//! program sets later takes its place.
#![forbid(unsafe_code)]

use std::io::Write;
use std::panic;
use std::sync::Once;

use super::current;

/// Installs the hook, once in a process. It does nothing on a thread that panics, where std forbids it.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if current::is_coroutine() {
                let handle = current::current();
                let name = handle.name().unwrap_or("unnamed");
                let line = format!("coroutine '{name}' (#{}) panics:\n", handle.id());
                // A closed descriptor is no reason for a second panic.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            before(info);
        }));
    });
}
