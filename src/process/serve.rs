//! The life of a child, and of the zygote that children are forked from.
//!
//! Both begin in `divert`, with one thread (a zygote with more does not fork). The zygote waits for requests and forks; it keeps all signals
//! blocked, so that Ctrl-C and stop signals meet its children and not it, and it ends when its parent's
//! socket closes. A forked child goes on exactly like one that was started by an exec.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use super::builder::Resource;
use super::call::{self, Call};
use super::channel::Channel;
use super::codec;
use super::error::Failure;
use super::request::{Hello, News, Request, Role};
use super::{inherited, program};
use crate::coroutine::overflow;
use crate::sys::process::{self, FirstThread, Forked};

/// The code of a child that could not even report.
const LOST: i32 = 70;
/// The code of a child whose function panicked, as a panic in `main` has it.
const PANICKED: i32 = 101;

static NAME: OnceLock<String> = OnceLock::new();

/// The name of this process, if it is a child.
pub(crate) fn own_name() -> Option<&'static str> {
    NAME.get().map(String::as_str)
}

/// Does what the parent at the other end of `socket` asks for. Never returns.
pub(crate) fn serve(role: Role, socket: OwnedFd) -> ! {
    process::block_signals(true);
    process::ignore_broken_pipes();
    inherited::close_inherited();
    // Standard input was the socket.
    if place_null(0).is_err() {
        process::end(LOST);
    }
    if role == Role::Zygote {
        process::set_name("ropewalk-zygote");
    }
    overflow::report_first_thread(own_name);
    let first = FirstThread::of_caller().map_err(|error| error.to_string()).and_then(alone);
    let can_fork = first.as_ref().map(|_| ()).map_err(String::clone);
    let hello = Hello { fingerprint: program::fingerprint().to_vec(), can_fork };
    // What a library has forked before `main` has a copy of `socket`. Of this one it has none: so when this process
    // dies its parent sees it closed.
    let Ok((parent, parents)) = Channel::pair() else { process::end(LOST) };
    if send(&Channel::from(socket), &hello, &[parents.as_fd()]).is_err() {
        process::end(LOST);
    }
    drop(parents);
    if let (Role::Zygote, Ok(first)) = (role, first) {
        zygote(parent, first);
    }
    match next_request(&parent) {
        Some((request, fds)) => {
            drop(parent);
            child(request, fds, None)
        }
        None => process::end(0),
    }
}

/// The first thread, if it is the only one: a fork would copy no other, but what another may hold.
fn alone(first: FirstThread) -> Result<FirstThread, String> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| format!("its threads: {error}"))?.count();
    match threads {
        1 => Ok(first),
        _ => Err(format!("a library has started threads before `main`; there are {threads}")),
    }
}

fn send<T: serde::Serialize>(channel: &Channel, value: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ()> {
    let (bytes, _) = codec::encode(value, Vec::new()).map_err(drop)?;
    channel.send(&bytes, fds, None).map_err(drop).map(drop)
}

fn next_request(parent: &Channel) -> Option<(Request, Vec<OwnedFd>)> {
    // No more requests, or a broken one: either way this process has no purpose any more.
    let (bytes, fds) = parent.recv(None).ok()??;
    Some((codec::decode(&bytes, Vec::new()).ok()?, fds))
}

fn zygote(parent: Channel, first: FirstThread) -> ! {
    let own_parent = process::parent();
    loop {
        let Some((request, mut fds)) = next_request(&parent) else { process::end(0) };
        if fds.is_empty() {
            process::end(LOST);
        }
        // SAFETY: nothing here starts a thread, and `first` was asked for on this one.
        match unsafe { process::fork_sibling(first) } {
            Ok(Forked::Child) => {
                drop(parent);
                child(request, fds, Some(own_parent))
            }
            Ok(Forked::Caller(pid, pidfd)) => {
                let channel = Channel::from(fds.swap_remove(0));
                // A parent that has gone does not mind.
                let _ = send(&channel, &News::Started(pid), &[pidfd.as_fd()]);
            }
            Err(error) => {
                let channel = Channel::from(fds.swap_remove(0));
                let _ = send(&channel, &News::Failed(error.raw_os_error().unwrap_or(libc::EAGAIN)), &[]);
            }
        }
    }
}

/// The life of a child. One that was forked has its channel's `Started` to say, and to see that `parent` is
/// still there.
fn child(request: Request, fds: Vec<OwnedFd>, parent: Option<u32>) -> ! {
    let mut fds = fds.into_iter();
    let Some(channel) = fds.next() else { process::end(LOST) };
    let channel = Channel::from(channel);
    if let Some(parent) = parent {
        let pid = std::process::id();
        if let Ok(pidfd) = process::pidfd_open(pid) {
            // The zygote says it too: a failure here harms only if that one dies as well.
            let _ = send(&channel, &News::Started(pid), &[pidfd.as_fd()]);
        }
        // First tied, then looked: a parent that ends in between is seen by one of the two.
        if !request.kept && (process::die_with_parent().is_err() || process::parent() != parent) {
            process::end(LOST);
        }
    }
    let name = NAME.get_or_init(|| request.name.clone());
    call::name_panics(name);
    let (bytes, fds) = match set_up(&request, fds) {
        Ok(()) => {
            let Some(first) = channel.recv_or_lost(None).ok().flatten() else { process::end(LOST) };
            let set_up = |text| call::reply(Err(Failure::SetUp(text)));
            match first {
                Err(lost) => set_up(format!("its arguments: {}", lost.error)),
                // Nobody wants anything of it.
                Ok((bytes, _)) if bytes.is_empty() => process::end(0),
                Ok((bytes, fds)) => match postcard::take_from_bytes::<Call>(&bytes) {
                    Ok((call, arguments)) => call.make(arguments, fds),
                    Err(error) => set_up(error.to_string()),
                },
            }
        }
        Err(text) => call::reply(Err(Failure::SetUp(text))),
    };
    finish(&channel, bytes, &fds)
}

/// Sends the reply, and ends as `main` would.
fn finish(channel: &Channel, bytes: Vec<u8>, fds: &[OwnedFd]) -> ! {
    let code = if call::is_value(&bytes) { 0 } else { PANICKED };
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let message = |reply: &[u8]| {
        let head = postcard::to_stdvec(&News::Reply).unwrap_or_default();
        [&head, reply].concat()
    };
    match channel.send(&message(&bytes), &borrowed, None) {
        Ok(_) => std::process::exit(code),
        Err(error) => {
            let (bytes, _) = call::reply(Err(Failure::Encode(error.to_string())));
            // The parent may be gone, and with it whoever wants to know.
            let _ = channel.send(&message(&bytes), &[], None);
            std::process::exit(PANICKED)
        }
    }
}

fn set_up(request: &Request, mut fds: impl Iterator<Item = OwnedFd>) -> Result<(), String> {
    let folder = fds.next().ok_or("no folder came")?;
    process::change_dir(folder.as_fd()).map_err(|error| format!("the folder: {error}"))?;
    for (number, given) in (0..).zip(request.stdio) {
        let placed = match if given { fds.next() } else { None } {
            // SAFETY: a standard stream is owned by nobody.
            Some(fd) => unsafe { process::place(fd.as_fd(), number) },
            None => place_null(number),
        };
        placed.map_err(|error| format!("standard stream {number}: {error}"))?;
    }
    if request.group {
        process::own_group().map_err(|error| format!("the process group: {error}"))?;
    }
    for (resource, most) in &request.limits {
        process::limit(*resource, *most)
            .map_err(|error| format!("the limit of {most} for {}: {error}", Resource::name_of(*resource)))?;
    }
    if let Some(environment) = &request.environment {
        replace_environment(environment);
    }
    process::set_name(&request.name);
    process::block_signals(false);
    Ok(())
}

fn replace_environment(wanted: &[super::request::Variable]) {
    use std::os::unix::ffi::OsStrExt;
    // One with a '=' in its name came from whoever has started the program, and stays: it cannot be taken out by name.
    for (key, _) in std::env::vars_os().filter(|(key, _)| !key.as_bytes().contains(&b'=')) {
        // SAFETY: asked for in forked processes only (`start::by_exec`), which have one thread yet.
        unsafe { std::env::remove_var(key) };
    }
    let text = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    for (key, value) in wanted {
        // SAFETY: as above.
        unsafe { std::env::set_var(text(key), text(value)) };
    }
}

/// Puts `/dev/null` at a standard stream.
fn place_null(number: RawFd) -> std::io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: a standard stream is owned by nobody.
    unsafe { process::place(null.as_fd(), number) }
}
