//! The panic hook of the crate: it writes which coroutine panics, and calls the hook that was there before.
//!
//! The standard library's hook names the thread, which is that of a worker. The first runtime of a process puts this
//! hook in front. A program that sets a hook later replaces both, unless its hook calls the one that it took;
//! `current` tells such a hook which coroutine it runs on.
//!
//! The line goes where `eprintln` writes, so the test harness captures it together with the panic's message. `eprintln`
//! panics if the kernel refuses the write, and a panic in a hook ends the process. So stderr is looked at before: where
//! a write may fail, the line goes to the descriptor, without the harness, and an error is ignored.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::{panic, thread};

use super::current;
use crate::base::notice;
use crate::sys;

static IS_INSTALLED: AtomicBool = AtomicBool::new(false);

/// Puts the hook in front of the one that is there, once in a process.
pub(super) fn install() {
    // The hook cannot be taken on a thread that unwinds: the next runtime does it then.
    // Relaxed: it is only a matter of who does it.
    if !thread::panicking() && !IS_INSTALLED.swap(true, Ordering::Relaxed) {
        put_in_front();
    }
}

/// Puts the hook in front of one that has just replaced all others.
///
/// # Panics
/// On a thread that unwinds.
pub(crate) fn name_coroutines() {
    // Relaxed: as above.
    IS_INSTALLED.store(true, Ordering::Relaxed);
    put_in_front();
}

fn put_in_front() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        write_name();
        before(info);
    }));
}

/// Writes which coroutine panics, if one runs here.
fn write_name() {
    if !current::is_coroutine() || notice::is_silenced() {
        return;
    }
    let coroutine = current::current();
    let name = coroutine.name().unwrap_or("unnamed");
    write(format_args!("coroutine '{name}' (#{}) panics:", coroutine.id()));
}

/// Writes a line to stderr, into the capture of the test harness if there is one and that is safe. Never panics.
fn write(line: fmt::Arguments<'_>) {
    let stderr = io::stderr();
    if sys::poll::takes_a_line(stderr.as_fd()) {
        eprintln!("{line}");
    } else {
        let _ = writeln!(stderr.lock(), "{line}");
    }
}
