//! The parent's side of a start: through the zygote, or by an exec of the program.
//!
//! One zygote serves all of a process. It is started when it is first needed, and again when it has died:
//! a start that it took with it has not run anything, and is tried again.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use super::builder::StartMethod;
use super::channel::{Channel, Message};
use super::codec;
use super::error::SpawnError;
use super::exec::{Started, start_program};
use super::first::{gone, send};
use super::handle::Child;
use super::keeper::{give_up, keeper};
use super::request::{News, Request, Role, Variable};
use super::rights::Rights;
use super::stdio::Stdio;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::runtime::shield::Shield;
use crate::sync::Mutex;
use crate::sys::process;

/// How often a start is tried when the zygote dies meanwhile.
const ATTEMPTS: usize = 5;
/// How long the zygote may say nothing until it is looked after.
const PATIENCE: Duration = Duration::from_secs(1);

struct Zygote {
    /// The process that has started it.
    owner: u32,
    pid: u32,
    pidfd: OwnedFd,
    channel: Channel,
    environment: Vec<Variable>,
    /// What its children have: those of the process when it was started.
    rights: Rights,
    can_fork: bool,
}

impl Zygote {
    /// Ends it if it is stopped: whoever has done that may never let it go on, and others wait. (A debugger that
    /// holds it is another state.)
    fn end_if_stopped(self: &Arc<Self>) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            let own = Arc::clone(self);
            // On the keeper's thread, which takes its end in.
            let end = move || process::pidfd_signal(own.pidfd.as_fd(), own.pid, libc::SIGKILL);
            let _ = keeper().and_then(|keeper| keeper.run(end));
            unwind::report(|| {
                notice::warn!(
                    "the process that children are forked from is stopped; another takes its place"
                );
            });
        }
    }
}

static ZYGOTE: Mutex<Option<Arc<Zygote>>> = Mutex::new(None);

/// The environment now.
pub(crate) fn environment() -> Vec<Variable> {
    let bytes = |text: OsString| text.as_bytes().to_vec();
    let all = std::env::vars_os().map(|(key, value)| (bytes(key), bytes(value)));
    // A name with a '=' can come from whoever has started this program, and cannot be set.
    all.filter(|(key, _)| !key.contains(&b'=')).collect()
}

/// The zygote; a new one if there is none.
fn zygote() -> Result<Arc<Zygote>, SpawnError> {
    let own = std::process::id();
    let mut slot = ZYGOTE.lock();
    // One that has died has closed its socket; it sends nothing by itself.
    let lives = |zygote: &&Arc<Zygote>| matches!(zygote.channel.try_recv(), Ok(None));
    // A process that has given rights up must not get children that still have them.
    let rights = Rights::now();
    let fits = |zygote: &&Arc<Zygote>| zygote.owner == own && zygote.rights == rights;
    if let Some(zygote) = slot.as_ref().filter(fits).filter(lives) {
        return Ok(Arc::clone(zygote));
    }
    let environment = environment();
    let Started { pid, pidfd, channel, hello } = start_program(Role::Zygote, false, None)?;
    let own_pidfd = match pidfd.as_fd().try_clone_to_owned() {
        Ok(own) => own,
        Err(error) => {
            give_up(pid, pidfd);
            return Err(SpawnError::kernel("a pidfd")(error));
        }
    };
    // Its end is taken in whenever it comes; the next request finds the socket closed.
    keeper().map_err(SpawnError::kernel("a thread that starts processes"))?.adopt_bare(pidfd);
    let can_fork = hello.can_fork.is_ok();
    let zygote =
        Arc::new(Zygote { owner: own, pid, pidfd: own_pidfd, channel, environment, rights, can_fork });
    *slot = Some(Arc::clone(&zygote));
    drop(slot);
    // Last, and without the lock: a logger is foreign code, which may start processes.
    if let Err(why) = &hello.can_fork {
        unwind::report(|| {
            notice::warn!("processes are started anew and not forked, which is slower: {why}");
        });
    }
    Ok(zygote)
}

/// Gives a zygote up that does not answer; the next start makes another.
fn discard(zygote: &Arc<Zygote>) {
    let mut slot = ZYGOTE.lock();
    if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, zygote)) {
        let dead = slot.take();
        drop(slot);
        drop(dead);
        // Last, and without the lock: a logger is foreign code.
        unwind::report(|| {
            notice::warn!("the process that children are forked from has died; another will be started");
        });
    }
}

/// Starts the zygote now, so that the first process starts as fast as the others.
///
/// # Errors
/// [`SpawnError`] if it cannot be started.
///
/// # Examples
/// ```
/// ropewalk::process::prepare()?;
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub fn prepare() -> Result<(), SpawnError> {
    let _shield = Shield::new();
    zygote().map(drop)
}

/// What a process is started with.
pub(crate) struct Plan {
    pub(crate) request: Request,
    pub(crate) method: StartMethod,
    pub(crate) folder: OwnedFd,
    /// For stdin, stdout and stderr.
    pub(crate) stdio: [Stdio; 3],
    /// First message to the child: the call, and its arguments. Without one it waits for it.
    pub(crate) first: Option<Message>,
}

/// Why one attempt has failed.
enum Failed {
    /// The zygote has died; nothing has run.
    Zygote,
    For(SpawnError),
}

impl From<SpawnError> for Failed {
    fn from(error: SpawnError) -> Self {
        Self::For(error)
    }
}

/// Starts a process. Not a cancellation point: whoever begins knows the process in the end.
pub(crate) fn start(plan: &Plan) -> Result<Arc<Child>, SpawnError> {
    let _shield = Shield::new();
    for _ in 0..ATTEMPTS {
        let attempt = match plan.method {
            StartMethod::Exec => by_exec(plan),
            StartMethod::Zygote => by_zygote(plan),
        };
        match attempt {
            Ok(child) => return Ok(child),
            Err(Failed::For(error)) => return Err(error),
            Err(Failed::Zygote) => {}
        }
    }
    Err(SpawnError::Program(format!("the process that children are forked from has died {ATTEMPTS} times")))
}

fn by_zygote(plan: &Plan) -> Result<Arc<Child>, Failed> {
    let zygote = zygote()?;
    if !zygote.can_fork {
        return by_exec(plan);
    }
    let mut request = plan.request.clone();
    if request.environment.is_none() {
        let now = environment();
        request.environment = (now != zygote.environment).then_some(now);
    }
    let channel = match ask(plan, &request, &zygote.channel) {
        Ok(channel) => channel,
        Err(error) if gone(&error) => {
            discard(&zygote);
            return Err(Failed::Zygote);
        }
        Err(error) => return Err(SpawnError::kernel("a request to the zygote")(error).into()),
    };
    let sent = send_planned(plan, &channel);
    let (pid, pidfd) = loop {
        let (bytes, mut fds) = match channel.recv_or_lost(Some(Instant::now() + PATIENCE)) {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(lost))) => {
                // Without its pidfd nobody could take its end in.
                if let Ok((News::Started(pid), _)) = postcard::take_from_bytes(&lost.first) {
                    process::end_child(pid);
                }
                return Err(SpawnError::kernel("news of the child")(lost.error).into());
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                discard(&zygote);
                return Err(Failed::Zygote);
            }
            Ok(None) => {
                zygote.end_if_stopped();
                continue;
            }
            Err(error) => return Err(SpawnError::kernel("news of the child")(error).into()),
        };
        match codec::decode(&bytes, Vec::new()) {
            Ok(News::Started(pid)) => {
                if let Some(pidfd) = fds.pop() {
                    break (pid, pidfd);
                }
            }
            // Neither flag nor call is to be had here; an exec needs neither.
            Ok(News::Failed(libc::EPERM | libc::ENOSYS | libc::EINVAL)) => return by_exec(plan),
            Ok(News::Failed(number)) => {
                let error = io::Error::from_raw_os_error(number);
                return Err(SpawnError::kernel("a fork by the zygote")(error).into());
            }
            // Replies come after the child has said that it has started.
            Ok(News::Reply) | Err(_) => {}
        }
    };
    match sent {
        Ok(()) => Ok(Child::new(request.name, pid, pidfd.into(), channel)),
        Err(error) => {
            give_up(pid, pidfd.into());
            Err(error.into())
        }
    }
}

fn by_exec(plan: &Plan) -> Result<Arc<Child>, Failed> {
    let environment = plan.request.environment.as_deref();
    let Started { pid, pidfd, channel, .. } = start_program(Role::Child, plan.request.kept, environment)?;
    // It has its environment already, since before the libraries that look at it.
    let request = Request { environment: None, ..plan.request.clone() };
    let asked = match ask(plan, &request, &channel) {
        Ok(channel) => send_planned(plan, &channel).map(|()| channel),
        // It was killed already: its handle will say so.
        Err(error) if gone(&error) => Ok(channel),
        Err(error) => Err(SpawnError::kernel("a request to the child")(error)),
    };
    match asked {
        Ok(channel) => Ok(Child::new(plan.request.name.clone(), pid, pidfd, channel)),
        Err(error) => {
            give_up(pid, pidfd);
            Err(error.into())
        }
    }
}

/// Sends a request, and gives the channel to the child that will be.
fn ask(plan: &Plan, request: &Request, to: &Channel) -> io::Result<Channel> {
    let (channel, theirs) = Channel::pair()?;
    let mut request = request.clone();
    let mut fds: Vec<BorrowedFd<'_>> = vec![theirs.as_fd(), plan.folder.as_fd()];
    let own = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let own = [own.0.as_fd(), own.1.as_fd(), own.2.as_fd()];
    for ((given, wanted), own) in request.stdio.iter_mut().zip(&plan.stdio).zip(own) {
        let fd = match wanted {
            // A stream that is closed here is `/dev/null` there.
            Stdio::Inherit => process::closes_on_exec(own.as_raw_fd()).is_ok().then_some(own),
            // A pipe has been made by now.
            Stdio::Null | Stdio::Piped => None,
            Stdio::Fd(fd) => Some(fd.as_fd()),
        };
        *given = fd.is_some();
        fds.extend(fd);
    }
    let bytes = postcard::to_stdvec(&request).map_err(io::Error::other)?;
    to.send(&bytes, &fds, None)?;
    Ok(channel)
}

fn send_planned(plan: &Plan, channel: &Channel) -> Result<(), SpawnError> {
    // A child that has been killed already says so by itself.
    plan.first.as_ref().map_or(Ok(()), |first| send(first, channel).map(drop))
}
