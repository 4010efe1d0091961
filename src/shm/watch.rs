//! The thread that learns of the death of other processes: it sleeps until a pidfd becomes readable, which is
//! when the last thread of that process has run its last instruction.
//!
//! Whoever is about to sleep for something that another process may have to do watches that process first.
//! A death is told to every object that is shared with the dead one (`Mourner::bury`): it marks the locks
//! that the dead one held and wakes all who wait, so that what the dead one had taken or was about to do is
//! looked at again by somebody else. Whoever does not sleep has those buried first that have ended by now (`look`).
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;

use super::forked;
use super::identity::Identity;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::base::plain::plainly;
use crate::coroutine::unwind;
use crate::sys::thread::explain_start;
use crate::sys::{epoll, shared};

/// Something that is shared with other processes and wants to know of their deaths.
pub(crate) trait Mourner: Send + Sync {
    /// A process has ended: everything that it did to the memory is there, and it will do nothing more.
    fn bury(&self, dead: Identity);
}

struct Peer {
    pidfd: OwnedFd,
    mourners: Vec<Weak<dyn Mourner>>,
}

struct Watcher {
    epoll: OwnedFd,
    peers: Lock<HashMap<u64, Peer>>,
}

/// With the process whose thread it is: a fork copies no threads.
static WATCHER: Lock<Option<(u32, Arc<Watcher>)>> = Lock::new(None);

fn watcher() -> io::Result<Arc<Watcher>> {
    let mut place = WATCHER.lock();
    let process = std::process::id();
    if let Some((owner, watcher)) = &*place
        && *owner == process
    {
        return Ok(Arc::clone(watcher));
    }
    let watcher = Arc::new(Watcher { epoll: epoll::create()?, peers: Lock::new(HashMap::new()) });
    let own = Arc::clone(&watcher);
    let builder = thread::Builder::new().name("ropewalk-watcher".to_owned()).stack_size(256 * 1024);
    // Plainly: the place is locked.
    plainly(|| builder.spawn(move || own.run())).map_err(explain_start)?;
    *place = Some((process, Arc::clone(&watcher)));
    Ok(watcher)
}

/// Has `mourner` told when the process ends; at once if it has ended.
///
/// # Errors
/// What the kernel says: then nobody watches that process for this mourner.
pub(super) fn watch(peer: Identity, mourner: &Arc<dyn Mourner>) -> io::Result<()> {
    let watcher = watcher()?;
    let mut peers = watcher.peers.lock();
    if let Some(known) = peers.get_mut(&peer.raw()) {
        let address = Arc::as_ptr(mourner).addr();
        known.mourners.retain(|other| other.strong_count() > 0 && other.as_ptr().addr() != address);
        known.mourners.push(Arc::downgrade(mourner));
        return Ok(());
    }
    let pidfd = match shared::pidfd(peer.pid()) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            drop(peers);
            mourner.bury(peer);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // The pid belonged to this very process when the pidfd was made if it does so now: it has not been
    // another's in between.
    if peer.is_gone() {
        drop(peers);
        mourner.bury(peer);
        return Ok(());
    }
    // By level: whoever looks before it is buried finds it.
    epoll::add_level(&watcher.epoll, pidfd.as_raw_fd(), libc::EPOLLIN, peer.raw())?;
    peers.insert(peer.raw(), Peer { pidfd, mourners: vec![Arc::downgrade(mourner)] });
    Ok(())
}

/// The watcher, if this process has one. That of a parent that has forked is the parent's: its epoll instance is
/// shared, and nothing in it is to be changed.
fn own_watcher() -> Option<Arc<Watcher>> {
    WATCHER
        .lock()
        .as_ref()
        .filter(|(owner, _)| forked::is_process(*owner))
        .map(|(_, watcher)| Arc::clone(watcher))
}

/// Has every death told that has come before this call, of processes that are watched. Never waits.
pub(super) fn look() {
    if let Some(watcher) = own_watcher() {
        let mut room = [const { MaybeUninit::uninit() }; 16];
        // Those that were told are no longer there at the next look.
        while let Ok(events @ [_, ..]) = epoll::wait(&watcher.epoll, &mut room, Some(Duration::ZERO)) {
            events.iter().for_each(|event| watcher.ended(event.u64));
        }
    }
}

/// Closes the pidfds of processes that no living object is shared with any more.
pub(super) fn tidy() {
    // Not the place to wait for the thread's start.
    let Some(watcher) = own_watcher() else { return };
    watcher.peers.lock().retain(|_, peer| {
        peer.mourners.retain(|mourner| mourner.strong_count() > 0);
        if peer.mourners.is_empty() {
            epoll::remove(&watcher.epoll, peer.pidfd.as_raw_fd());
        }
        !peer.mourners.is_empty()
    });
}

impl Watcher {
    fn run(&self) {
        let mut room = [const { MaybeUninit::uninit() }; 16];
        loop {
            match epoll::wait(&self.epoll, &mut room, None) {
                Ok(events) => events.iter().for_each(|event| self.ended(event.u64)),
                Err(error) => {
                    unwind::report(|| {
                        notice::error!("the end of other processes cannot be waited for: {error}")
                    });
                    return;
                }
            }
        }
    }

    /// Tells a death. Two threads may do so at once: a second time changes nothing.
    fn ended(&self, raw: u64) {
        let bury = |mourners: &[Weak<dyn Mourner>]| {
            let mourners = mourners.iter().filter_map(Weak::upgrade);
            Identity::from_raw(raw)
                .into_iter()
                .for_each(|dead| mourners.clone().for_each(|it| it.bury(dead)));
        };
        let mourners = self.peers.lock().get(&raw).map(|peer| peer.mourners.clone()).unwrap_or_default();
        bury(&mourners);
        // Told before it is forgotten: who does not find it (`look`) knows that it was.
        let peer = {
            let mut peers = self.peers.lock();
            let peer = peers.remove(&raw);
            // Taken out by name: a child that the program has forked keeps a copy of the pidfd open.
            peer.inspect(|peer| epoll::remove(&self.epoll, peer.pidfd.as_raw_fd()))
        };
        let Some(peer) = peer else { return };
        // Those that came meanwhile.
        bury(&peer.mourners);
        // Last, and caught: a logger is foreign code, and all who wait need this thread.
        unwind::report(|| {
            log::debug!("process {} has ended", Identity::from_raw(raw).map_or(0, Identity::pid));
        });
    }
}
