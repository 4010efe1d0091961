//! POSIX message queues: `mq_send`, `mq_receive` and their timed forms.
//!
//! A queue is a descriptor that epoll knows. A call whose time limit lies in the past only tries, so that is how it is
//! tried; O_NONBLOCK, if the user has set it, answers first.

use core::ffi::{c_char, c_uint};

use libc::{c_int, mqd_t, size_t, ssize_t, timespec};

use super::errno::raw;
use super::hook::{hook, pass};
use super::slot::known;
use super::symbols::Symbol;
use super::time::{duration, instant_at};
use super::wait::{Attempt, Direction, is_nonblocking};

/// A point of the past.
static LONG_AGO: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// Makes `call`, which is given its time limit, and waits in its place.
///
/// # Safety
/// * `until` is null or the caller's.
unsafe fn run(
    symbol: Symbol,
    queue: mqd_t,
    direction: Direction,
    until: *const timespec,
    call: impl Fn(*const timespec) -> isize,
) -> isize {
    let Some(known) = known(queue) else { return call(until) };
    // SAFETY: the caller's duty.
    let limit = match unsafe { until.as_ref() } {
        // The kernel says what is wrong with it.
        Some(limit) if duration(*limit).is_none() => return call(until),
        Some(limit) => instant_at(libc::CLOCK_REALTIME, *limit),
        None => None,
    };
    let answer =
        Attempt::until(symbol, known, direction, limit).run(None, || match call(&raw const LONG_AGO) {
            late if late == raw(libc::ETIMEDOUT) => raw(libc::EAGAIN),
            answer => answer,
        });
    match answer {
        late if late == raw(libc::EAGAIN) && is_nonblocking(known) == Ok(false) => raw(libc::ETIMEDOUT),
        answer => answer,
    }
}

hook! {
    MqTimedreceive: fn mq_timedreceive(
        queue: mqd_t,
        place: *mut c_char,
        room: size_t,
        priority: *mut c_uint,
        until: *const timespec,
    ) -> ssize_t;
    kernel pass!(SYS_mq_timedreceive, queue, place, room, priority, until);
    parking {
        let call = |until: *const timespec| pass!(SYS_mq_timedreceive, queue, place, room, priority, until);
        // SAFETY: the caller's duty.
        unsafe { run(Symbol::MqTimedreceive, queue, Direction::Read, until, call) }
    }
}

hook! {
    MqReceive: fn mq_receive(queue: mqd_t, place: *mut c_char, room: size_t, priority: *mut c_uint) -> ssize_t;
    kernel pass!(SYS_mq_timedreceive, queue, place, room, priority, core::ptr::null::<timespec>());
    parking {
        let call = |until: *const timespec| pass!(SYS_mq_timedreceive, queue, place, room, priority, until);
        // SAFETY: no limit.
        unsafe { run(Symbol::MqReceive, queue, Direction::Read, core::ptr::null(), call) }
    }
}

hook! {
    MqTimedsend: fn mq_timedsend(
        queue: mqd_t,
        place: *const c_char,
        len: size_t,
        priority: c_uint,
        until: *const timespec,
    ) -> c_int;
    kernel pass!(SYS_mq_timedsend, queue, place, len, priority, until);
    parking {
        let call = |until: *const timespec| pass!(SYS_mq_timedsend, queue, place, len, priority, until);
        // SAFETY: the caller's duty.
        unsafe { run(Symbol::MqTimedsend, queue, Direction::Write, until, call) }
    }
}

hook! {
    MqSend: fn mq_send(queue: mqd_t, place: *const c_char, len: size_t, priority: c_uint) -> c_int;
    kernel pass!(SYS_mq_timedsend, queue, place, len, priority, core::ptr::null::<timespec>());
    parking {
        let call = |until: *const timespec| pass!(SYS_mq_timedsend, queue, place, len, priority, until);
        // SAFETY: no limit.
        unsafe { run(Symbol::MqSend, queue, Direction::Write, core::ptr::null(), call) }
    }
}
