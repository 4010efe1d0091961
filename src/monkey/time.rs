//! Sleeping.
//!
//! A sleep on a coroutine is an entry in its worker's timer wheel. It is never shorter than asked for, and no signal
//! ends it: `EINTR` does not come.
//!
//! Cancelled, `nanosleep`, `usleep` and `sleep` say so (`ECANCELED`, and what was left). `clock_nanosleep` is what
//! std calls, which takes any error but `EINTR` for a bug, and sleeps again for what is left: to a caller that
//! lets the rest be written over the request, as std does, or that gives none, the sleep is simply over.

use core::ptr;
use core::time::Duration;
use std::time::Instant;

use libc::{c_int, c_uint, clockid_t, timespec};

use super::errno::{self, raw};
use super::gate;
use super::hook::{hook, pass};
use super::symbols::Symbol;
use super::turn;
use crate::runtime::cancel;
use crate::runtime::far;
use crate::runtime::park::{Outcome, Reason, Waiter, park};

/// How long a wait for a point of the wall clock goes on before the clock is asked again: it may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits for `limit`; `Err` with what was left if it was cancelled. A wait of no time gives a turn.
pub(super) fn wait(symbol: Symbol, limit: Duration) -> Result<(), Duration> {
    if limit.is_zero() {
        return turn::give(symbol).map_err(|_| Duration::ZERO);
    }
    let deadline = far::after(limit);
    symbol.count_park();
    match park(Waiter::open(), Reason::Sleep, 0, Some(deadline)) {
        Outcome::Cancelled => {
            cancel::tell();
            Err(deadline.saturating_duration_since(Instant::now()))
        }
        _ => Ok(()),
    }
}

/// Repeats `call` while it answers `busy`, after pauses that grow from a quarter of a millisecond to ten.
pub(super) fn retry(symbol: Symbol, busy: isize, call: impl FnMut() -> isize) -> isize {
    retry_until(symbol, busy, None, call)
}

/// As [`retry`]; `busy` once the deadline has passed.
pub(super) fn retry_until(
    symbol: Symbol,
    busy: isize,
    until: Option<Instant>,
    mut call: impl FnMut() -> isize,
) -> isize {
    let (mut pause, mut waited) = (Duration::from_micros(250), false);
    loop {
        // The clock first: a call after the deadline is the last one.
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match call() {
            answer if answer != busy => return answer,
            _ if left.is_some_and(|left| left.is_zero()) => {
                return if waited { busy } else { turn::give(symbol).err().unwrap_or(busy) };
            }
            _ => {}
        }
        if wait(symbol, left.map_or(pause, |left| left.min(pause))).is_err() {
            return raw(libc::ECANCELED);
        }
        waited = true;
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// A duration as C writes it; `None` if it is not a valid one.
pub(super) fn duration(time: timespec) -> Option<Duration> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

/// The instant that lies `limit` ahead; `None` if that is not a valid one.
pub(super) fn instant_after(limit: timespec) -> Option<Instant> {
    duration(limit).map(far::after)
}

pub(super) fn timespec_of(time: Duration) -> timespec {
    timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
    }
}

/// # Safety
/// * Both are null, or a timespec of the caller's.
unsafe fn sleep_for(symbol: Symbol, request: *const timespec, left: *mut timespec) -> Result<(), i32> {
    // SAFETY: the caller's duty.
    let Some(request) = (unsafe { request.as_ref() }) else { return Err(libc::EFAULT) };
    let limit = duration(*request).ok_or(libc::EINVAL)?;
    let Err(rest) = wait(symbol, limit) else { return Ok(()) };
    // SAFETY: the caller's duty.
    if let Some(left) = unsafe { left.as_mut() } {
        *left = timespec_of(rest);
    }
    Err(libc::ECANCELED)
}

/// Waits for a point of a clock. A cancellation ends it early.
fn sleep_until(clock: clockid_t, until: timespec) -> Result<(), i32> {
    let until = duration(until).ok_or(libc::EINVAL)?;
    let mut waited = false;
    loop {
        let mut now = timespec_of(Duration::ZERO);
        let answer = pass!(SYS_clock_gettime, clock, &raw mut now);
        if answer < 0 {
            return Err(-answer as i32);
        }
        let left = until.saturating_sub(duration(now).unwrap_or_default());
        let step = if clock == libc::CLOCK_MONOTONIC { left } else { left.min(LOOK_AGAIN) };
        if step.is_zero() && waited || wait(Symbol::ClockNanosleep, step).is_err() || step.is_zero() {
            return Ok(());
        }
        waited = true;
    }
}

/// The instant that a point of a clock is, as the clock goes now; `None` if it is not a valid one.
pub(super) fn instant_at(clock: clockid_t, until: timespec) -> Option<Instant> {
    let until = duration(until)?;
    let mut now = timespec_of(Duration::ZERO);
    let answer = pass!(SYS_clock_gettime, clock, &raw mut now);
    (answer == 0).then(|| far::after(until.saturating_sub(duration(now).unwrap_or_default())))
}

/// libc's `clock_nanosleep`: the error is what it returns.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    left: *mut timespec,
) -> c_int {
    let waits = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME);
    if !gate::open(Symbol::ClockNanosleep) || !waits || flags & !libc::TIMER_ABSTIME != 0 {
        return -pass!(SYS_clock_nanosleep, clock, flags, request, left) as c_int;
    }
    let before = errno::get();
    let slept = if flags & libc::TIMER_ABSTIME == 0 {
        // SAFETY: the caller's duty.
        let slept = unsafe { sleep_for(Symbol::ClockNanosleep, request, left) };
        let is_told = left.is_null() || ptr::eq(left, request);
        if is_told && slept == Err(libc::ECANCELED) { Ok(()) } else { slept }
    } else {
        // SAFETY: the caller's duty.
        unsafe { request.as_ref() }.ok_or(libc::EFAULT).and_then(|until| sleep_until(clock, *until))
    };
    errno::set(before);
    slept.err().unwrap_or(0)
}

hook! {
    Nanosleep: fn nanosleep(request: *const timespec, left: *mut timespec) -> c_int;
    kernel pass!(SYS_nanosleep, request, left);
    // SAFETY: the caller's duty.
    parking unsafe { sleep_for(Symbol::Nanosleep, request, left) }.map_or_else(raw, |()| 0)
}

hook! {
    Usleep: fn usleep(micros: c_uint) -> c_int;
    kernel {
        let request = timespec_of(Duration::from_micros(u64::from(micros)));
        pass!(SYS_nanosleep, &raw const request, ptr::null_mut::<timespec>())
    };
    parking wait(Symbol::Usleep, Duration::from_micros(u64::from(micros))).map_or(raw(libc::ECANCELED), |()| 0)
}

/// libc's `sleep`: the seconds left are what it returns.
///
/// # Safety
/// * None; it takes a number.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    let limit = Duration::from_secs(u64::from(seconds));
    let rest = if gate::open(Symbol::Sleep) {
        let before = errno::get();
        let rest = wait(Symbol::Sleep, limit).err().unwrap_or_default();
        errno::set(before);
        rest
    } else {
        let mut time = timespec_of(limit);
        match pass!(SYS_nanosleep, &raw const time, &raw mut time) {
            0 => Duration::ZERO,
            _ => duration(time).unwrap_or_default(),
        }
    };
    // Up: a sleep that was cut short never says that nothing is left.
    c_uint::try_from(rest.as_millis().div_ceil(1000)).unwrap_or(c_uint::MAX)
}
