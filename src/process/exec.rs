//! A start of this very program by an exec: as a child, or as the template that children are forked from.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::channel::Channel;
use super::error::SpawnError;
use super::keeper::{give_up, keeper};
use super::request::{Hello, KEPT, Role, TIED, VARIABLE, Variable};
use super::{codec, divert, program};
use crate::io::pollable::{self, Direction, Pollable};
use crate::sys::{poll, process};

/// A program started anew, and the socket to it.
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) pidfd: Pollable,
    pub(super) channel: Channel,
    pub(super) hello: Hello,
}

/// Starts this program anew, on the keeper's thread.
pub(super) fn start_program(
    role: Role,
    kept: bool,
    environment: Option<&[Variable]>,
) -> Result<Started, SpawnError> {
    if !divert::is_prepared() {
        return Err(SpawnError::Program(
            "this program was linked without the entry of .init_array that turns it into a child; \
             do not discard it (a linker script, or --gc-sections without its KEEP)"
                .to_owned(),
        ));
    }
    // Such a start would not come to `divert`'s order, so the child would run `main`, and that this very function.
    if process::has_gained_rights() || process::own_file_gives_rights() {
        return Err(SpawnError::Program(
            "a program whose start gives it rights that its caller has not (setuid, setgid, file capabilities) cannot \
             start processes: it would have to trust its caller's environment"
                .to_owned(),
        ));
    }
    if process::credentials().differ() {
        return Err(SpawnError::Program(
            "a process whose real and effective user or group differ cannot start processes: to the kernel each program \
             that it starts gains rights, and trusts nobody; change both (setresuid, setresgid)"
                .to_owned(),
        ));
    }
    let tie = if kept { KEPT } else { TIED };
    let environment = environment.map(<[Variable]>::to_vec);
    let run = move || {
        // Made by the thread that starts the program, whose user the kernel notes: see `divert`.
        let (channel, theirs) = Channel::pair()?;
        let number = process::socket_number(theirs.as_fd()).unwrap_or(0);
        let order = format!("{}:{number}:{}:{tie}", role.name(), std::process::id());
        let mut command = Command::new("/proc/self/exe");
        if let Some(environment) = environment {
            let text = |bytes| OsString::from_vec(bytes);
            command.env_clear().envs(environment.into_iter().map(|(key, value)| (text(key), text(value))));
        }
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let child = command.env(VARIABLE, order).stdin(std::process::Stdio::from(theirs)).spawn()?;
        Ok((child.id(), channel))
    };
    let keeper = keeper().map_err(SpawnError::kernel("a thread that starts processes"))?;
    let started = keeper.run(run).and_then(|started: io::Result<_>| started);
    let (pid, channel) = started.map_err(SpawnError::kernel("an exec of /proc/self/exe"))?;
    let pidfd = process::pidfd_open(pid).map_err(|error| {
        process::end_child(pid);
        SpawnError::kernel("a descriptor of the process (pidfd_open, Linux 5.3; a container may refuse it)")(
            error,
        )
    })?;
    let pidfd = Pollable::from(pidfd);
    match expect_hello(&channel, &pidfd) {
        Ok((hello, channel)) => Ok(Started { pid, pidfd, channel, hello }),
        Err(error) => {
            give_up(pid, pidfd);
            Err(error)
        }
    }
}

/// What the program says first, and the channel to it.
fn expect_hello(channel: &Channel, pidfd: &Pollable) -> Result<(Hello, Channel), SpawnError> {
    let foreign = |why: &str| {
        SpawnError::Program(format!(
            "/proc/self/exe is not this program in its present build ({why}); \
             a loader or an emulator that runs it stands in between"
        ))
    };
    let (bytes, mut fds) = loop {
        // The end before the look: then all that it has said is there.
        let ended = poll::wait(&mut [poll::want(pidfd.as_fd(), libc::POLLIN)], Some(Duration::ZERO));
        match channel.try_recv() {
            Ok(Some(message)) => break message,
            Ok(None) if matches!(ended, Ok(false)) => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(SpawnError::kernel("the first word of the process")(error));
            }
            _ => return Err(foreign("it ended without a word")),
        }
        let both = [(channel.socket(), Direction::Read), (pidfd, Direction::Read)];
        pollable::wait_any(&both, None).map_err(SpawnError::kernel("a wait for the process"))?;
    };
    let hello: Hello = codec::decode(&bytes, Vec::new()).map_err(|error| foreign(&error.to_string()))?;
    if hello.fingerprint != program::fingerprint() {
        return Err(foreign("its build id differs"));
    }
    let own = fds.pop().ok_or_else(|| foreign("it has sent no socket"))?;
    Ok((hello, own.into()))
}

#[cfg(test)]
mod tests;
