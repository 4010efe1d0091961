//! Descriptors that an exec has let through, which a child closes before it does anything else.
//!
//! | descriptor | closed by an exec | the parent has the same file at the number | |
//! |---|---|---|---|
//! | inherited | no | yes | closed |
//! | of a library that has opened it before `main` | no | no: an inherited one would have its number | stays |
//!
//! `kcmp` tells whether two processes have the same open file. Containers refuse it (it needs CAP_SYS_PTRACE in Docker's
//! default profile). There `/proc` tells what a number leads to, and whether the parent's is closed by an exec: then it
//! was not inherited, though another opening of the same path may be at that number here.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use crate::sys::process;

/// Closes what an exec has let through, besides the standard streams.
pub(super) fn close_inherited() {
    let parent = process::parent();
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    for number in numbers {
        if matches!(process::closes_on_exec(number), Ok(false)) && is_inherited(parent, number) {
            // SAFETY: it was open before this program began, so nothing in it owns it.
            unsafe { process::close(number) };
        }
    }
}

fn is_inherited(parent: u32, number: RawFd) -> bool {
    let told = process::shares_file(parent, number).or_else(|_| leads_to_same(parent, number));
    // Where the kernel does not tell, to leak a descriptor is worse: nobody would see a pipe closed.
    told.unwrap_or(true)
}

/// Tells whether a number leads to the same file in the parent, where an exec lets it through.
fn leads_to_same(parent: u32, number: RawFd) -> io::Result<bool> {
    let own = fs::read_link(format!("/proc/self/fd/{number}"))?;
    match fs::read_link(format!("/proc/{parent}/fd/{number}")) {
        Ok(theirs) => Ok(own == theirs && !is_closed_by_exec(parent, number)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells whether an exec of another process would close its descriptor with that number.
fn is_closed_by_exec(other: u32, number: RawFd) -> io::Result<bool> {
    let text = fs::read_to_string(format!("/proc/{other}/fdinfo/{number}"))?;
    let flags =
        text.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    Ok(flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0))
}
