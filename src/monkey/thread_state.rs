//! Whether the kernel still treats the calling thread as it treats the others of the process.
//!
//! Credentials, namespaces and filters belong to a thread. libc changes the user and the groups of all threads at
//! once; what a call changes for its own thread alone is noted here. Calls of such a thread are made in place,
//! because a thread of the pool would make them with other rights.
//!
//! | call | note |
//! |---|---|
//! | `setfsuid`, `setfsgid` | until the number is the effective one again |
//! | `capset`, `setns`, `unshare`, `prctl` (filters, secure bits) | for good |
//! | `syscall` of these, of `setresuid` and similar, `landlock_restrict_self`, `keyctl` | for good |
//! | `syscall` of `seccomp`, unless for all threads | for good |
//!
//! What lasts for good is not noted while the process has one thread: it holds for all threads to come. How many
//! there are is asked before the change, and not once a filter is known: a filter may end the process for a question.
//! Workers, and threads for blocking calls, have the notes of the thread that starts them, as they have its rights.
//! What is made by an instruction, or inside of libc, is not seen.

use core::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_long, c_ulong, gid_t, uid_t};

use super::errno;
use super::hook::pass;
use crate::base::own_rights;

const USER: u8 = 1;
const GROUP: u8 = 2;
const OTHER: u8 = 4;

/// Tells whether the calling thread has credentials, namespaces or filters of its own.
#[inline]
pub(super) fn differs() -> bool {
    own_rights::get() != 0
}

fn note(bit: u8, is_own: bool) {
    let own = own_rights::get();
    own_rights::set(if is_own { own | bit } else { own & !bit });
}

/// Notes a change for good, unless the process had one thread before it: all threads to come inherit it.
fn note_for_good(was_alone: bool) {
    if !was_alone {
        note(OTHER, true);
    }
}

/// Whether a filter has been installed through a function of this crate.
static FILTERED: AtomicBool = AtomicBool::new(false);

/// Tells whether the process has one thread, as far as it may be asked.
fn may_be_alone() -> bool {
    // Relaxed: the one thread has written it.
    own_rights::get() & OTHER == 0 && !FILTERED.load(Ordering::Relaxed) && is_alone()
}

/// Tells whether the process has one thread: the links of its directory of threads are two and one for each.
fn is_alone() -> bool {
    const STATX_NLINK: u32 = 4;
    let name = c"/proc/self/task".as_ptr();
    // The kernel's `struct statx`, as words.
    let mut status = [0u64; 32];
    pass!(SYS_statx, libc::AT_FDCWD, name, 0, STATX_NLINK, status.as_mut_ptr()) == 0 && status[2] as u32 == 3
}

/// The numbers below are no users or groups, so this changes nothing and answers what holds.
const NOBODY: u32 = u32::MAX;

fn note_user() {
    note(USER, pass!(SYS_setfsuid, NOBODY) != pass!(SYS_geteuid));
}

fn note_group() {
    note(GROUP, pass!(SYS_setfsgid, NOBODY) != pass!(SYS_getegid));
}

/// Tells whether a system call is one that changes something for good, and the process has one thread. Before the call.
pub(super) fn is_for_all(number: c_long, args: [usize; 6]) -> bool {
    let for_good = match number {
        libc::SYS_prctl => is_change(args[0] as c_int),
        libc::SYS_setuid
        | libc::SYS_setgid
        | libc::SYS_setreuid
        | libc::SYS_setregid
        | libc::SYS_setresuid
        | libc::SYS_setresgid
        | libc::SYS_setgroups
        | libc::SYS_capset
        | libc::SYS_setns
        | libc::SYS_unshare
        | libc::SYS_seccomp
        | libc::SYS_landlock_restrict_self
        | libc::SYS_keyctl => true,
        _ => false,
    };
    for_good && may_be_alone()
}

/// Notes what a system call has changed that libc has not spread to the other threads. `was_alone` is what
/// [`is_for_all`] has answered before it.
pub(super) fn note_call(number: c_long, args: [usize; 6], was_alone: bool) {
    /// `SECCOMP_FILTER_FLAG_TSYNC`: all threads get the filter.
    const ALL_THREADS: usize = 1;
    match number {
        libc::SYS_seccomp if args[1] & ALL_THREADS != 0 => FILTERED.store(true, Ordering::Relaxed),
        libc::SYS_setfsuid => note_user(),
        libc::SYS_setfsgid => note_group(),
        libc::SYS_prctl => note_prctl(args[0] as c_int, was_alone),
        libc::SYS_seccomp => {
            FILTERED.store(true, Ordering::Relaxed);
            note_for_good(was_alone);
        }
        libc::SYS_setuid
        | libc::SYS_setgid
        | libc::SYS_setreuid
        | libc::SYS_setregid
        | libc::SYS_setresuid
        | libc::SYS_setresgid
        | libc::SYS_setgroups
        | libc::SYS_capset
        | libc::SYS_setns
        | libc::SYS_unshare
        | libc::SYS_landlock_restrict_self
        | libc::SYS_keyctl => note_for_good(was_alone),
        _ => {}
    }
}

/// Tells whether an option of `prctl` changes the calling thread for good.
fn is_change(option: c_int) -> bool {
    matches!(option, libc::PR_SET_SECCOMP | libc::PR_SET_SECUREBITS)
}

fn note_prctl(option: c_int, was_alone: bool) {
    if option == libc::PR_SET_SECCOMP {
        // Relaxed: as in `may_be_alone`.
        FILTERED.store(true, Ordering::Relaxed);
    }
    if is_change(option) {
        note_for_good(was_alone);
    }
}

/// libc's `setfsuid`.
///
/// # Safety
/// * None; it takes a number.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn setfsuid(user: uid_t) -> c_int {
    let answer = pass!(SYS_setfsuid, user);
    note_user();
    answer as c_int
}

/// libc's `setfsgid`.
///
/// # Safety
/// * None; it takes a number.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn setfsgid(group: gid_t) -> c_int {
    let answer = pass!(SYS_setfsgid, group);
    note_group();
    answer as c_int
}

/// libc's `capset`.
///
/// # Safety
/// * As the kernel's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn capset(header: *mut u8, data: *const u8) -> c_int {
    let was_alone = may_be_alone();
    let answer = pass!(SYS_capset, header, data);
    if answer == 0 {
        note_for_good(was_alone);
    }
    errno::result(answer) as c_int
}

/// libc's `setns`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn setns(fd: c_int, kind: c_int) -> c_int {
    let was_alone = may_be_alone();
    let answer = pass!(SYS_setns, fd, kind);
    if answer == 0 {
        note_for_good(was_alone);
    }
    errno::result(answer) as c_int
}

/// libc's `unshare`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn unshare(flags: c_int) -> c_int {
    let was_alone = flags != 0 && may_be_alone();
    let answer = pass!(SYS_unshare, flags);
    if answer == 0 && flags != 0 {
        note_for_good(was_alone);
    }
    errno::result(answer) as c_int
}

/// libc's `prctl`. The arguments that an option does not have are whatever is in their registers.
///
/// # Safety
/// * As the kernel's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn prctl(
    option: c_int,
    a: c_ulong,
    b: c_ulong,
    c: c_ulong,
    d: c_ulong,
) -> c_int {
    let was_alone = is_change(option) && may_be_alone();
    let answer = pass!(SYS_prctl, option, a, b, c, d);
    if answer >= 0 {
        note_prctl(option, was_alone);
    }
    errno::result(answer) as c_int
}
