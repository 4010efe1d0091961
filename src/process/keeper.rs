//! The thread that all processes of this program are started by, and that takes in the ends of those that
//! nobody waits for.
//!
//! The kernel ties "die with the parent" to the thread that has started a process. This one lives as long
//! as the program, so that processes live as long as the program, whichever thread has asked for them.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::handle::Child;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::channel;
use crate::coroutine::unwind;
use crate::io::pollable::Pollable;
use crate::sync::Mutex;
use crate::sys::thread::explain_start;
use crate::sys::{epoll, poll, process};

/// How long it rests where the kernel does not let it wait: for more descriptors than this process may have, since
/// that limit was lowered. It looks for itself then.
const NAP: Duration = Duration::from_millis(50);

enum Order {
    Run(Box<dyn FnOnce() + Send>),
    Adopt(Arc<Child>),
    /// A process without a handle: a zygote.
    AdoptBare(Pollable),
}

static KEEPER: Mutex<Option<(u32, Arc<Keeper>)>> = Mutex::new(None);
/// The keeper of this process; started now if there is none.
pub(super) fn keeper() -> io::Result<Arc<Keeper>> {
    let own = std::process::id();
    let mut slot = KEEPER.lock();
    match &*slot {
        Some((owner, keeper)) if *owner == own => Ok(Arc::clone(keeper)),
        _ => {
            let keeper = Keeper::start()?;
            // One that a forked process has copied has no thread: nothing of it is to be dropped here.
            core::mem::forget(slot.replace((own, Arc::clone(&keeper))));
            Ok(keeper)
        }
    }
}

/// Lets a child whose handle is dropped be taken in when it ends.
pub(crate) fn detach(child: &Arc<Child>) {
    match keeper() {
        Ok(keeper) => keeper.adopt(Arc::clone(child)),
        // In a destructor.
        Err(error) => unwind::report(|| {
            notice::warn!("process '{}' stays a zombie when it ends: {error}", child.name);
        }),
    }
}

/// Ends a process that has not got what it is to do, and lets its end be taken in.
pub(super) fn give_up(pid: u32, pidfd: Pollable) {
    let _ = process::pidfd_signal(pidfd.as_fd(), pid, libc::SIGKILL);
    match keeper() {
        Ok(keeper) => keeper.adopt_bare(pidfd),
        Err(_) => process::end_by_pidfd(pidfd.as_fd(), pid),
    }
}

pub(crate) struct Keeper {
    orders: Lock<Vec<Order>>,
    bell: OwnedFd,
}

impl Keeper {
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let keeper = Arc::new(Self { orders: Lock::new(Vec::new()), bell: epoll::eventfd()? });
        let own = Arc::clone(&keeper);
        std::thread::Builder::new()
            .name("ropewalk-keeper".to_owned())
            .spawn(move || own.keep())
            .map_err(explain_start)?;
        Ok(keeper)
    }

    fn order(&self, order: Order) {
        self.orders.lock().push(order);
        epoll::signal(&self.bell);
    }

    /// Runs `f` on the keeper's thread, and waits for its value.
    pub(crate) fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (sender, receiver) = channel::bounded(1);
        self.order(Order::Run(Box::new(move || {
            let _ = sender.send(f());
        })));
        receiver.recv().map_err(|_| io::Error::other("the thread that starts processes has ended"))
    }

    /// Takes the end of a process in when it comes.
    pub(crate) fn adopt(&self, child: Arc<Child>) {
        self.order(Order::Adopt(child));
    }

    /// As [`adopt`](Self::adopt), for a process without a handle.
    pub(crate) fn adopt_bare(&self, pidfd: Pollable) {
        self.order(Order::AdoptBare(pidfd));
    }

    fn keep(&self) {
        let mut children: Vec<Arc<Child>> = Vec::new();
        let mut bare: Vec<Pollable> = Vec::new();
        let mut told = false;
        loop {
            let orders = core::mem::take(&mut *self.orders.lock());
            for order in orders {
                match order {
                    Order::Run(f) => f(),
                    Order::Adopt(child) => children.push(child),
                    Order::AdoptBare(pidfd) => bare.push(pidfd),
                }
            }
            children.retain(|child| !child.has_ended());
            let is_running = |pidfd: &Pollable| {
                let reaped = crate::sys::process::pidfd_reap(pidfd.as_fd());
                matches!(reaped, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            };
            bare.retain(is_running);
            let pidfds = children.iter().map(|child| child.as_fd()).chain(bare.iter().map(AsFd::as_fd));
            let mut wanted: Vec<_> = pidfds.map(|pidfd| poll::want(pidfd, libc::POLLIN)).collect();
            wanted.push(poll::want(self.bell.as_fd(), libc::POLLIN));
            if let Err(error) = poll::wait(&mut wanted, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                if !core::mem::replace(&mut told, true) {
                    unwind::report(|| {
                        notice::error!(
                            "the thread that starts processes cannot wait, and looks again and again: {error}"
                        );
                    });
                }
                std::thread::sleep(NAP);
            }
            epoll::take_signal(&self.bell);
        }
    }
}
