//! The children of this process, and who this process is.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::handle::Child;
use super::serve;
use crate::base::lock::Lock;

struct Entry {
    /// The process that has started it: a copy of this table in a forked process is nobody's.
    owner: u32,
    child: Weak<Child>,
}

static CHILDREN: Lock<Vec<Entry>> = Lock::new(Vec::new());

pub(crate) fn enter(child: &Arc<Child>) {
    let entry = Entry { owner: std::process::id(), child: Arc::downgrade(child) };
    CHILDREN.lock().push(entry);
}

pub(crate) fn leave(child: &Child) {
    // By its place, not its pid: that may be another's already.
    CHILDREN.lock().retain(|entry| !core::ptr::eq(entry.child.as_ptr(), child));
}

/// A child, as [`children`] tells of it.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, children};
///
/// let child = Process::builder().name("sleeper").spawn(|()| std::thread::park(), ())?;
/// let info = children().into_iter().find(|info| info.name == "sleeper").unwrap();
/// assert_eq!(info.pid, child.pid());
/// child.kill().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

/// The children of this process that have not ended, pools' workers among them. Never waits.
///
/// # Examples
/// ```
/// use ropewalk::process::{self, Process};
///
/// let child = Process::builder().name("sleeper").spawn(|()| std::thread::park(), ())?;
/// assert!(process::children().iter().any(|info| info.pid == child.pid() && info.name == "sleeper"));
/// child.kill().unwrap();
/// # Ok::<(), process::SpawnError>(())
/// ```
pub fn children() -> Vec<ChildInfo> {
    let own = std::process::id();
    let children: Vec<_> = {
        let entries = CHILDREN.lock();
        entries.iter().filter(|entry| entry.owner == own).filter_map(|entry| entry.child.upgrade()).collect()
    };
    let living = children.iter().filter(|child| !child.has_ended());
    living.map(|child| ChildInfo { name: child.name.clone(), pid: child.pid }).collect()
}

/// The calling process, as [`current`] tells of it.
///
/// # Examples
/// ```
/// let current = ropewalk::process::current();
/// assert_eq!((current.name, current.pid), (None, std::process::id()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Current {
    /// Its name, if another process of this program has started it.
    pub name: Option<&'static str>,
    /// Its number.
    pub pid: u32,
}

/// The calling process.
///
/// # Examples
/// ```
/// use ropewalk::process::{self, Process};
///
/// assert_eq!(process::current().name, None);
/// let own = |()| process::current().name.map(str::to_owned);
/// let child = Process::builder().name("crunch").spawn(own, ())?;
/// assert_eq!(child.join().unwrap().as_deref(), Some("crunch"));
/// # Ok::<(), process::SpawnError>(())
/// ```
pub fn current() -> Current {
    Current { name: serve::own_name(), pid: std::process::id() }
}
