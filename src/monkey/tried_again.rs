//! Waits that nothing tells the end of: System V's messages and semaphores, C's semaphores, `sigwait` and its kin.
//!
//! What they wait for can come from another coroutine of this worker, so they take no thread: each has a form that only
//! tries, and that is made again after growing pauses. A cancellation ends that with `ECANCELED`.

use core::ffi::c_void;
use core::sync::atomic::AtomicPtr;
use core::{mem, ptr};
use std::time::Instant;

use libc::{c_int, c_long, clockid_t, sem_t, sembuf, siginfo_t, sigset_t, size_t, ssize_t, timespec};

use super::errno::{self, raw};
use super::gate;
use super::hook::{hook, pass};
use super::inner::found;
use super::lent::Lent;
use super::offload::offload;
use super::poll::deadline;
use super::symbols::Symbol;
use super::time::{instant_at, retry, retry_until};

/// As [`retry_until`], for an object with a number: one that is gone after the first try was removed meanwhile.
fn retry_object(symbol: Symbol, busy: isize, until: Option<Instant>, call: impl Fn() -> isize) -> isize {
    let mut tries = 0u32;
    retry_until(symbol, busy, until, || {
        tries = tries.saturating_add(1);
        match call() {
            gone if gone == raw(libc::EINVAL) && tries > 1 => raw(libc::EIDRM),
            answer => answer,
        }
    })
}

hook! {
    Msgrcv: fn msgrcv(id: c_int, place: *mut c_void, room: size_t, kind: c_long, flags: c_int) -> ssize_t;
    kernel pass!(SYS_msgrcv, id, place, room, kind, flags);
    parking if flags & libc::IPC_NOWAIT != 0 {
        pass!(SYS_msgrcv, id, place, room, kind, flags)
    } else {
        retry_object(Symbol::Msgrcv, raw(libc::ENOMSG), None, || {
            pass!(SYS_msgrcv, id, place, room, kind, flags | libc::IPC_NOWAIT)
        })
    }
}

hook! {
    Msgsnd: fn msgsnd(id: c_int, place: *const c_void, len: size_t, flags: c_int) -> c_int;
    kernel pass!(SYS_msgsnd, id, place, len, flags);
    parking if flags & libc::IPC_NOWAIT != 0 {
        pass!(SYS_msgsnd, id, place, len, flags)
    } else {
        retry_object(Symbol::Msgsnd, raw(libc::EAGAIN), None, || {
            pass!(SYS_msgsnd, id, place, len, flags | libc::IPC_NOWAIT)
        })
    }
}

/// More operations than a call may have.
const MANY: usize = 501;

/// # Safety
/// * `list` is null or points to `count` operations, `limit` is null or the caller's.
unsafe fn operate(
    symbol: Symbol,
    id: c_int,
    list: *mut sembuf,
    count: size_t,
    limit: *const timespec,
) -> isize {
    let plain = |list: *mut sembuf| pass!(SYS_semtimedop, id, list, count, limit);
    // Refused at once.
    if list.is_null() || count >= MANY {
        return plain(list);
    }
    // SAFETY: the caller's duty.
    let given = unsafe { core::slice::from_raw_parts(list, count) };
    let only_tries = |operation: &sembuf| c_int::from(operation.sem_flg) & libc::IPC_NOWAIT != 0;
    // SAFETY: the caller's duty.
    let until = match unsafe { deadline(limit) } {
        _ if !given.is_empty() && given.iter().all(only_tries) => return plain(list),
        Ok(until) if !given.iter().any(only_tries) => until,
        // Which of them would wait only the kernel can tell.
        Ok(_) => {
            let lent = Lent((list, limit));
            return offload(symbol, || {
                let (list, limit) = lent.get();
                pass!(SYS_semtimedop, id, list, count, limit)
            });
        }
        Err(error) => return error,
    };
    let mut trying = given.to_vec();
    trying.iter_mut().for_each(|operation| operation.sem_flg |= libc::IPC_NOWAIT as libc::c_short);
    let place = trying.as_mut_ptr();
    retry_object(symbol, raw(libc::EAGAIN), until, || {
        pass!(SYS_semtimedop, id, place, count, ptr::null::<timespec>())
    })
}

hook! {
    Semop: fn semop(id: c_int, list: *mut sembuf, count: size_t) -> c_int;
    kernel pass!(SYS_semtimedop, id, list, count, ptr::null::<timespec>());
    // SAFETY: the caller's duty.
    parking unsafe { operate(Symbol::Semop, id, list, count, ptr::null()) }
}

hook! {
    Semtimedop: fn semtimedop(id: c_int, list: *mut sembuf, count: size_t, limit: *const timespec) -> c_int;
    kernel pass!(SYS_semtimedop, id, list, count, limit);
    // SAFETY: the caller's duty.
    parking unsafe { operate(Symbol::Semtimedop, id, list, count, limit) }
}

/// Takes one of a C semaphore, if there is one.
fn take(semaphore: *mut sem_t) -> isize {
    // SAFETY: the caller of the replaced function answers for its semaphore.
    match unsafe { libc::sem_trywait(semaphore) } {
        0 => 0,
        _ => raw(errno::get()),
    }
}

/// Takes one, and waits for it up to a point of a clock.
///
/// # Safety
/// * `until` is the caller's.
unsafe fn take_until(
    symbol: Symbol,
    semaphore: *mut sem_t,
    clock: clockid_t,
    until: *const timespec,
) -> isize {
    // SAFETY: the caller's duty.
    let Some(until) = (unsafe { until.as_ref() }) else { return raw(libc::EINVAL) };
    if !(0..1_000_000_000).contains(&until.tv_nsec)
        || !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
    {
        return raw(libc::EINVAL);
    }
    // A time before the clock's beginning has passed.
    let until = instant_at(clock, *until).unwrap_or_else(Instant::now);
    match retry_until(symbol, raw(libc::EAGAIN), Some(until), || take(semaphore)) {
        late if late == raw(libc::EAGAIN) => raw(libc::ETIMEDOUT),
        answer => answer,
    }
}

/// libc's own function: 0, or its error.
macro_rules! own {
    ($symbol:ident($($arg:ident: $type:ty),*)) => {{
        type Real = unsafe extern "C" fn($($type),*) -> c_int;
        static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        // SAFETY: null, or libc's function, which has this type.
        let real = unsafe { mem::transmute::<*const c_void, Option<Real>>(found(Symbol::$symbol, &FOUND)) };
        // SAFETY: the caller of the replaced function answers for its arguments.
        match real.map(|real| unsafe { real($($arg),*) }) {
            Some(0) => 0,
            Some(_) => raw(errno::get()),
            None => raw(libc::ENOSYS),
        }
    }};
}

hook! {
    SemWait: fn sem_wait(semaphore: *mut sem_t) -> c_int;
    kernel own!(SemWait(semaphore: *mut sem_t));
    parking retry(Symbol::SemWait, raw(libc::EAGAIN), || take(semaphore))
}

hook! {
    SemTimedwait: fn sem_timedwait(semaphore: *mut sem_t, until: *const timespec) -> c_int;
    kernel own!(SemTimedwait(semaphore: *mut sem_t, until: *const timespec));
    // SAFETY: the caller's duty.
    parking unsafe { take_until(Symbol::SemTimedwait, semaphore, libc::CLOCK_REALTIME, until) }
}

hook! {
    SemClockwait: fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int;
    kernel own!(SemClockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec));
    // SAFETY: the caller's duty.
    parking unsafe { take_until(Symbol::SemClockwait, semaphore, clock, until) }
}

/// The kernel's `rt_sigtimedwait`. Like glibc's, it tells of a signal that a thread has sent as of one from a process.
fn take_signal(set: *const sigset_t, info: *mut siginfo_t, limit: *const timespec) -> isize {
    let answer = pass!(SYS_rt_sigtimedwait, set, info, limit, 8usize);
    // SAFETY: null, or the caller's.
    match unsafe { info.as_mut() } {
        Some(info) if answer > 0 && info.si_code == libc::SI_TKILL => info.si_code = libc::SI_USER,
        _ => {}
    }
    answer
}

/// Takes a signal that is pending for the worker's thread or for the process, once there is one.
fn take_signal_until(
    symbol: Symbol,
    set: *const sigset_t,
    info: *mut siginfo_t,
    until: Option<Instant>,
) -> isize {
    let no_time = timespec { tv_sec: 0, tv_nsec: 0 };
    retry_until(symbol, raw(libc::EAGAIN), until, || take_signal(set, info, &raw const no_time))
}

hook! {
    Sigtimedwait: fn sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, limit: *const timespec) -> c_int;
    kernel take_signal(set, info, limit);
    // SAFETY: the caller's duty.
    parking match unsafe { deadline(limit) } {
        Ok(until) => take_signal_until(Symbol::Sigtimedwait, set, info, until),
        Err(error) => error,
    }
}

hook! {
    Sigwaitinfo: fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int;
    kernel take_signal(set, info, ptr::null());
    parking take_signal_until(Symbol::Sigwaitinfo, set, info, None)
}

/// libc's `sigwait`: the error is what it returns, and a handler that runs meanwhile does not end it.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn sigwait(set: *const sigset_t, place: *mut c_int) -> c_int {
    let before = errno::get();
    let answer = if gate::open(Symbol::Sigwait) {
        take_signal_until(Symbol::Sigwait, set, ptr::null_mut(), None)
    } else {
        loop {
            match take_signal(set, ptr::null_mut(), ptr::null()) {
                again if again == raw(libc::EINTR) => {}
                answer => break answer,
            }
        }
    };
    errno::set(before);
    if answer < 0 {
        return -answer as c_int;
    }
    // SAFETY: the caller's place.
    unsafe { place.write(answer as c_int) };
    0
}
