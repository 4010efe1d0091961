//! How a program that was started anew becomes a child instead of running `main`.
//!
//! The dynamic linker runs the functions of `.init_array` before `main`. `divert` is one of them. In a
//! program that was started as a child it first runs those that come after it (constructors of other
//! libraries), and then never returns. So there is no guard in `main`, and tests need none either.
//!
//! The environment and standard input are the work of whoever has started the program, perhaps of another user. An
//! order makes the program call a function by its number, so it counts only if it comes from the parent:
//!
//! * The program has not gained rights by its start (`AT_SECURE`: setuid, setgid, file capabilities).
//! * Standard input is the socket that the order names.
//! * The kernel says that the socket was made by the parent, and by this process's effective user (`SO_PEERCRED`).
//!
//! In any other case the variable is removed and `main` runs.

use core::ffi::{c_char, c_int};
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::request::{KEPT, Role, VARIABLE};
use super::{program, serve};
use crate::sys::process;

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

// Miri calls constructors without arguments.
#[cfg_attr(not(miri), used, unsafe(link_section = ".init_array"))]
#[cfg_attr(miri, expect(dead_code))]
static ENTRY: Constructor = divert;

/// Whether `divert` has run: if not, the linker has left it out, and a child would run `main` again.
static PREPARED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_prepared() -> bool {
    // Relaxed: written before `main`.
    PREPARED.load(Ordering::Relaxed)
}

extern "C" fn divert(count: c_int, arguments: *const *const c_char, environment: *const *const c_char) {
    // Relaxed: there is one thread yet.
    PREPARED.store(true, Ordering::Relaxed);
    let Some((role, socket)) = order() else { return };
    run_later_constructors(count, arguments, environment);
    serve::serve(role, socket)
}

/// What the environment tells this program to be, and the socket to its parent; `None` nearly always.
fn order() -> Option<(Role, OwnedFd)> {
    let text = std::env::var_os(VARIABLE)?;
    // SAFETY: there is one thread yet. If a library's constructor has started another, that reads the list which
    // the kernel has made: entries in it move up by one, nothing is freed.
    unsafe { std::env::remove_var(VARIABLE) };
    if process::has_gained_rights() {
        return None;
    }
    let text = text.into_string().ok()?;
    let mut words = text.split(':');
    let role = Role::from_name(words.next()?)?;
    let socket: u64 = words.next()?.parse().ok()?;
    let parent: u32 = words.next()?.parse().ok()?;
    let kept = words.next()? == KEPT;
    // SAFETY: borrowed for this function; std has not begun to use it.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    // A variable that was passed on by somebody else names another socket.
    if process::socket_number(stdin) != Some(socket) {
        return None;
    }
    let maker = process::maker_of_socket(stdin)?;
    if maker.pid != parent || maker.user != process::effective_user() {
        return None;
    }
    if process::parent() != parent {
        if process::exists(parent) {
            return None;
        }
        // The parent has ended meanwhile. Nobody is left who would send a request.
        process::end(1);
    }
    // A parent that ends from here on takes this process along.
    if !kept && (process::die_with_parent().is_err() || process::parent() != parent) {
        process::end(1);
    }
    stdin.try_clone_to_owned().ok().map(|socket| (role, socket))
}

fn run_later_constructors(count: c_int, arguments: *const *const c_char, environment: *const *const c_char) {
    let own = divert as Constructor as *const () as usize;
    let after = program::init_array().iter().skip_while(|entry| **entry != own).skip(1);
    for entry in after.filter(|entry| !matches!(**entry, 0 | usize::MAX)) {
        let code = core::ptr::with_exposed_provenance::<()>(*entry);
        // SAFETY: the dynamic linker would call it like this.
        let constructor = unsafe { mem::transmute::<*const (), Constructor>(code) };
        constructor(count, arguments, environment);
    }
}
