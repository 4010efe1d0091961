//! Turns for code that waits by looking again and again: `sched_yield`, waits of no time, calls that fail at once.
//!
//! Such code keeps its worker, and what it waits for may be another coroutine of that worker. So
//! * `sched_yield`, a sleep of no time, and a `poll` of no time that finds nothing give a turn each time,
//! * other calls that bring nothing (an error, or 0) give a turn each [`MOST`] times in one turn of the worker.
//!
//! A turn never unwinds. A coroutine that is cancelled, or out of time, is told so by `ECANCELED` where a call would say
//! `EAGAIN` or that the time is over; `sched_yield` has no error, so it is only counted (`runtime::cancel`).

use core::cell::Cell;

use libc::c_int;

use super::errno::{self, raw};
use super::gate;
use super::hook::{hook, pass};
use super::symbols::{EVERY, Symbol};
use crate::runtime::{give_turn, turns};

/// Calls that bring nothing in one turn of a worker, at most. A turn costs about as much as one such call.
const MOST: u32 = 32;

thread_local! {
    /// The worker's turn, and the calls of that turn which have brought nothing.
    static IN_VAIN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// Lets the other ready coroutines of the worker run. `Err` if the caller is to fail: it is cancelled, or out of time.
pub(super) fn give(symbol: Symbol) -> Result<(), isize> {
    symbol.count_park();
    if give_turn() { Err(raw(libc::ECANCELED)) } else { Ok(()) }
}

/// Takes in the answer of a call on a coroutine, and gives what the call answers.
#[inline]
pub(super) fn after(symbol: Symbol, answer: isize) -> isize {
    // Calls that only keep the table of descriptors true are not what loops look at.
    if answer > 0 || symbol.groups() == EVERY { answer } else { in_vain(symbol, answer) }
}

/// As [`after`], for a call that has brought nothing.
#[inline(never)]
pub(super) fn in_vain(symbol: Symbol, answer: isize) -> isize {
    let now = turns();
    let (turn, before) = IN_VAIN.get();
    let count = if turn == now { before + 1 } else { 1 };
    if count < MOST {
        IN_VAIN.set((now, count));
        return answer;
    }
    // Also where the turn was not given, because the caller unwinds.
    IN_VAIN.set((now, 0));
    match give(symbol) {
        Err(error) if answer == raw(libc::EAGAIN) => error,
        _ => answer,
    }
}

hook! {
    SchedYield: fn sched_yield() -> c_int;
    kernel pass!(SYS_sched_yield);
    parking {
        let _ = give(Symbol::SchedYield);
        0
    }
}

/// C11's `thrd_yield`, which calls `sched_yield` inside of libc.
///
/// # Safety
/// * None; it takes no arguments.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn thrd_yield() {
    if !gate::open(Symbol::ThrdYield) {
        pass!(SYS_sched_yield);
        return;
    }
    let before = errno::get();
    let _ = give(Symbol::ThrdYield);
    errno::set(before);
}
