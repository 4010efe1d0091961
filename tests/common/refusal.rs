//! System calls that a seccomp filter refuses, as those of containers do.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses some of it")]

use std::io::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is refused.
#[derive(Clone, Copy)]
pub enum Refused {
    Call(i64),
    /// All calls from this number on.
    From(i64),
    /// A call with a value in the argument with that index.
    With(i64, u32, u32),
    /// A call with one of these flags in the argument with that index.
    Flag(i64, u32, u32),
}

fn statement(code: u32, yes: u8, no: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k: value }
}

fn load(at: usize) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at as u32)
}

/// Lets a command start its program with system calls refused, each with an error number: for ever, and for all that the
/// program starts.
pub fn refuse(command: &mut Command, all: &[(Refused, i32)]) {
    let mut filter = filter(all);
    // SAFETY: the closure makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(move || install(&mut filter)) };
}

/// Refuses system calls of the calling thread, and of all that it starts; for ever.
pub fn refuse_here(all: &[(Refused, i32)]) {
    install(&mut filter(all)).expect("a filter can be installed");
}

fn install(filter: &mut [libc::sock_filter]) -> Result<(), Error> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(Error::last_os_error());
    }
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives through the call, which copies it.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn filter(all: &[(Refused, i32)]) -> Vec<libc::sock_filter> {
    let jump = |how: u32, no: u8, value: u32| statement(libc::BPF_JMP | how | libc::BPF_K, 0, no, value);
    let argument = |index: u32| load(std::mem::offset_of!(libc::seccomp_data, args) + 8 * index as usize);
    let mut filter = Vec::new();
    for (what, error) in all {
        filter.push(load(std::mem::offset_of!(libc::seccomp_data, nr)));
        match *what {
            Refused::Call(number) => filter.push(jump(libc::BPF_JEQ, 1, number as u32)),
            Refused::From(number) => filter.push(jump(libc::BPF_JGE, 1, number as u32)),
            Refused::With(number, index, value) => filter.extend([
                jump(libc::BPF_JEQ, 3, number as u32),
                // The lower half comes first on the machines that the crate is for.
                argument(index),
                jump(libc::BPF_JEQ, 1, value),
            ]),
            Refused::Flag(number, index, flags) => filter.extend([
                jump(libc::BPF_JEQ, 3, number as u32),
                argument(index),
                jump(libc::BPF_JSET, 1, flags),
            ]),
        }
        let answer = libc::SECCOMP_RET_ERRNO | *error as u32;
        filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, answer));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter
}
