//! How a process is set up before it starts.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::channel::Message;
use super::codec;
use super::error::SpawnError;
use super::handle::Process;
use super::request::{Request, Variable};
use super::start::{self, Plan};
use super::stdio::{Pipes, Stdio};
use super::warm::Warm;
use crate::sys::process;

/// How a process comes to be.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, StartMethod};
///
/// for method in [StartMethod::Zygote, StartMethod::Exec] {
///     let child = Process::builder().start_method(method).spawn(|n: u32| n * 2, 21)?;
///     assert_eq!(child.join().unwrap(), 42);
/// }
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMethod {
    /// Forked from a template: the same program, started once, with one thread and nothing in it. A process has the
    /// environment, the folder and the streams that its parent has when it starts. What else the kernel lets it inherit
    /// is as it was when the template was started, by the first process, pool or [`prepare`](super::prepare): limits,
    /// umask, priority, processors, namespaces. A program that changes these later takes `Exec`. A change of users, groups,
    /// root directory or filters makes a new template.
    #[default]
    Zygote,
    /// The program is started anew for each process: slower, at an address of its own.
    Exec,
}

/// A resource that a process can be limited in.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, Resource};
/// use std::fs::File;
///
/// let open = |()| (0..100).map_while(|_| File::open("/dev/null").ok()).collect::<Vec<_>>().len();
/// let child = Process::builder().limit(Resource::OpenFiles, 50).spawn(open, ())?;
/// assert!(child.join().unwrap() < 50);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space.
    Memory,
    /// Descriptors.
    OpenFiles,
    /// Seconds of computing.
    CpuTime,
    /// Bytes of a file that it writes.
    FileSize,
    /// Bytes of a core dump.
    CoreSize,
}

impl Resource {
    const ALL: [Self; 5] = [Self::Memory, Self::OpenFiles, Self::CpuTime, Self::FileSize, Self::CoreSize];

    /// The one with the kernel's number, as text.
    pub(super) fn name_of(number: u32) -> String {
        let known = Self::ALL.into_iter().find(|resource| resource.number() == number);
        known.map_or_else(|| number.to_string(), |resource| format!("{resource:?}"))
    }

    fn number(self) -> u32 {
        #[allow(clippy::unnecessary_cast, reason = "the C libraries do not agree on the type")]
        let number = match self {
            Self::Memory => libc::RLIMIT_AS,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::CpuTime => libc::RLIMIT_CPU,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::CoreSize => libc::RLIMIT_CORE,
        } as u32;
        number
    }
}

/// A change of the environment: a variable set, or taken away.
type Change = (OsString, Option<OsString>);

/// Sets up a [`Process`].
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, Stdio};
/// use std::io::Read;
///
/// let (mut reader, writer) = std::io::pipe().unwrap();
/// let hello = |()| println!("hello, {}", std::env::var("WHO").unwrap());
/// let child = Process::builder().env("WHO", "rope").stdout(Stdio::from(writer)).spawn(hello, ())?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "hello, rope\n");
/// child.join().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<String>,
    method: StartMethod,
    kept: bool,
    group: bool,
    limits: Vec<(u32, u64)>,
    cleared: bool,
    changes: Vec<Change>,
    folder: Option<PathBuf>,
    stdio: [Stdio; 3],
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Starts with a number for a name, and everything inherited.
    pub fn new() -> Self {
        Self {
            name: None,
            method: StartMethod::default(),
            kept: false,
            group: false,
            limits: Vec::new(),
            cleared: false,
            changes: Vec::new(),
            folder: None,
            stdio: [Stdio::Inherit, Stdio::Inherit, Stdio::Inherit],
        }
    }

    /// Names the process: reports, panics and `ps` show the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how it starts; default [`StartMethod::Zygote`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Lets it live on when the parent ends; default no.
    pub fn kept(mut self, kept: bool) -> Self {
        self.kept = kept;
        self
    }

    /// Makes it the leader of a process group of its own: signals of the terminal do not reach it.
    pub fn own_group(mut self, group: bool) -> Self {
        self.group = group;
        self
    }

    /// Limits a resource.
    pub fn limit(mut self, resource: Resource, most: u64) -> Self {
        self.limits.push((resource.number(), most));
        self
    }

    /// Sets a variable of its environment. The rest is the parent's at the time of the start.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.changes.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.changes.push((key.as_ref().to_owned(), None));
        self
    }

    /// Lets it start with an empty environment, and what [`env`](Self::env) adds after this.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::process::Process;
    ///
    /// let seen = |()| std::env::vars().collect::<Vec<_>>();
    /// let child = Process::builder().env_clear().env("ROPE", "walk").spawn(seen, ())?;
    /// assert_eq!(child.join().unwrap(), [("ROPE".to_owned(), "walk".to_owned())]);
    /// # Ok::<(), ropewalk::process::SpawnError>(())
    /// ```
    pub fn env_clear(mut self) -> Self {
        self.cleared = true;
        self.changes.clear();
        self
    }

    /// Sets its current folder; default the parent's at the time of the start.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Sets its standard input.
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Self {
        self.stdio[0] = stream.into();
        self
    }

    /// Sets its standard output.
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Self {
        self.stdio[1] = stream.into();
        self
    }

    /// Sets its standard error.
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Self {
        self.stdio[2] = stream.into();
        self
    }

    /// Starts processes that wait for a function: `count` of them are kept ready; see [`Warm`].
    ///
    /// # Errors
    /// [`SpawnError`] if the folder cannot be opened, or the kernel refuses.
    ///
    /// # Panics
    /// For a count of zero.
    pub fn warm(self, count: usize) -> Result<Warm, SpawnError> {
        Warm::new(self, count)
    }

    /// Starts the process; see [`Process::spawn`].
    ///
    /// # Errors
    /// [`SpawnError`] if the arguments cannot be encoded, the folder cannot be opened, a variable cannot be set, or
    /// the kernel refuses; nothing has run then.
    pub fn spawn<A, R>(self, f: fn(A) -> R, arguments: A) -> Result<Process<R>, SpawnError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let first = first_message(f, &arguments)?;
        let (plan, pipes) = self.plan(Some(first))?;
        start::start(&plan).map(|child| Process::of(child, pipes))
    }

    /// The same once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let [stdin, stdout, stderr] = &self.stdio;
        Ok(Self {
            name: self.name.clone(),
            method: self.method,
            kept: self.kept,
            group: self.group,
            limits: self.limits.clone(),
            cleared: self.cleared,
            changes: self.changes.clone(),
            folder: self.folder.clone(),
            stdio: [stdin.try_clone()?, stdout.try_clone()?, stderr.try_clone()?],
        })
    }

    fn environment(&self) -> io::Result<Option<Vec<Variable>>> {
        if !self.cleared && self.changes.is_empty() {
            return Ok(None);
        }
        for (key, value) in &self.changes {
            let (name, text) = (key.as_bytes(), value.as_ref().map_or(&b""[..], |value| value.as_bytes()));
            let why = match () {
                () if name.is_empty() => "it has no name",
                () if name.contains(&b'=') => "its name has a '='",
                () if name.contains(&0) || text.contains(&0) => "it has a zero byte",
                () => continue,
            };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the variable {key:?}: {why}")));
        }
        let mut all = if self.cleared { Vec::new() } else { start::environment() };
        for (key, value) in &self.changes {
            all.retain(|(known, _)| known != key.as_bytes());
            if let Some(value) = value {
                all.push((key.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
        }
        Ok(Some(all))
    }

    /// What is needed to start it, and the ends of its pipes that stay here.
    pub(crate) fn plan(self, first: Option<Message>) -> Result<(Plan, Pipes), SpawnError> {
        // Relaxed: only that the numbers differ matters.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let environment = self.environment().map_err(SpawnError::kernel("its environment"))?;
        let name = self.name.unwrap_or_else(|| format!("process-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let folder = match &self.folder {
            None => process::current_dir(),
            Some(folder) => {
                let flags = libc::O_PATH | libc::O_DIRECTORY;
                OpenOptions::new().read(true).custom_flags(flags).open(folder).map(OwnedFd::from)
            }
        };
        let folder = folder.map_err(SpawnError::kernel("its folder"))?;
        let request = Request {
            name,
            kept: self.kept,
            group: self.group,
            limits: self.limits,
            environment,
            stdio: [false; 3],
        };
        let (stdio, pipes) = Pipes::open(self.stdio).map_err(SpawnError::kernel("a pipe"))?;
        Ok((Plan { request, method: self.method, folder, stdio, first }, pipes))
    }
}

/// The first message to a child: which function, and its arguments.
pub(super) fn first_message<A, R>(f: fn(A) -> R, arguments: &A) -> Result<Message, SpawnError>
where
    A: Serialize + DeserializeOwned,
    R: Serialize,
{
    let call = Call::new(f)?;
    Ok(codec::encode(arguments, postcard::to_stdvec(&call).unwrap_or_default())?)
}
