//! The threads that sleep in the kernel in the place of coroutines: one for each 127 words, none before a
//! coroutine first waits.
//!
//! ```text
//! coroutine                        listener
//! prepare, look at the state       waits in the kernel for all listed words and its own control word
//! list the word, kick              …
//! sleep in the process's futex     sees that the word has moved; wakes one sleeper, or all
//! unlist the word, kick if last
//! ```
//!
//! What it owes to those it stands for:
//! * L1: one event since it last looked wakes one sleeper of this process; two or more wake all. The bit in
//!   the word is cleared with two events at least, so whoever slept when it was cleared looks again.
//! * L2: a wake that finds no sleeper here (it has timed out) is passed on to the next in the kernel.
//! * L3: an entry begins with the value that its first waiter has seen, so nothing between that and the
//!   listener's first look is missed; the kernel compares once more when it goes to sleep.
//! * L4: a listed word stays mapped: the entry, and the listener's own list, hold the object.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;

use super::event::{Events, pass_on};
use crate::base::event_word::EventWord;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::base::plain::plainly;
use crate::coroutine::unwind;
use crate::sync::futex;
use crate::sys::futex::{WAITV_MAX, Waitv, wait_any, wake};

/// Words of one listener: one place is its control word's.
const MOST: usize = WAITV_MAX - 1;

struct Entry {
    events: Arc<dyn Events>,
    index: usize,
    /// Coroutines between `listen` and the end of their wait.
    waiting: usize,
    /// The word's value when the listener last looked.
    seen: u32,
}

impl Entry {
    fn word(&self) -> &EventWord {
        self.events.event(self.index)
    }

    fn address(&self) -> usize {
        core::ptr::from_ref(self.word()).addr()
    }
}

struct Listener {
    /// Counts kicks: the listener reads it before it reads the entries.
    control: AtomicU32,
    entries: Lock<Vec<Entry>>,
}

/// With the process whose threads they are: a fork copies no threads.
static LISTENERS: Lock<(u32, Vec<&'static Listener>)> = Lock::new((0, Vec::new()));

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// While it lives, a listener sleeps for the caller on a word.
#[derive(Debug)]
pub(super) struct Listening {
    listener: &'static Listener,
    address: usize,
}

/// Has a listener sleep on an event's word, from the value `key`. `None` if no thread can be started for it.
pub(super) fn listen(events: &Arc<dyn Events>, index: usize, key: u32) -> Option<Listening> {
    let address = core::ptr::from_ref(events.event(index)).addr();
    let mut guard = LISTENERS.lock();
    let (owner, listeners) = &mut *guard;
    let process = std::process::id();
    if *owner != process {
        (*owner, *listeners) = (process, Vec::new());
    }
    let known = listeners.iter().find(|listener| listener.add(address, None));
    let found = known.or_else(|| {
        let entry = || Entry { events: Arc::clone(events), index, waiting: 1, seen: key };
        listeners.iter().find(|listener| listener.add(address, Some(&entry)))
    });
    if let Some(listener) = found {
        return Some(Listening { listener, address });
    }
    let listener: &'static Listener = Box::leak(Box::new(Listener {
        control: AtomicU32::new(0),
        entries: Lock::new(vec![Entry { events: Arc::clone(events), index, waiting: 1, seen: key }]),
    }));
    let name = "ropewalk-listener".to_owned();
    let builder = thread::Builder::new().name(name).stack_size(256 * 1024);
    // Plainly: the list is locked.
    let started = plainly(|| builder.spawn(|| listener.run()));
    if let Err(error) = started {
        listener.entries.lock().clear();
        drop(guard);
        // Last, and without the lock: a logger is foreign code.
        unwind::report(|| notice::error!("no thread can be started to wait for shared memory: {error}"));
        return None;
    }
    listeners.push(listener);
    Some(Listening { listener, address })
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut entries = self.listener.entries.lock();
        let entry = entries.iter_mut().find(|entry| entry.address() == self.address);
        let last = entry.is_some_and(|entry| {
            entry.waiting -= 1;
            entry.waiting == 0
        });
        drop(entries);
        if last {
            self.listener.kick();
        }
    }
}

impl Listener {
    /// Counts a waiter in, to its word's entry, or to a `fresh` one if there is room; false if not.
    fn add(&self, address: usize, fresh: Option<&dyn Fn() -> Entry>) -> bool {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.address() == address) {
            entry.waiting += 1;
            return true;
        }
        let Some(fresh) = fresh else { return false };
        if entries.len() == MOST {
            return false;
        }
        entries.push(fresh());
        drop(entries);
        self.kick();
        true
    }

    fn kick(&self) {
        // Release pairs with the Acquire in `run`: the entries are as they are to be.
        self.control.fetch_add(1, Ordering::Release);
        wake(&raw const self.control, 1);
    }

    fn run(&self) {
        let mut told = false;
        loop {
            // Acquire pairs with the Release in `kick`; read before the entries, so that a change of them
            // after this look ends the sleep.
            let control = self.control.load(Ordering::Acquire);
            let held = self.look();
            let mut words = Vec::with_capacity(held.len() + 1);
            words.push(Waitv::new(&raw const self.control, control, false));
            words.extend(held.iter().map(|(events, index, seen)| {
                Waitv::new(core::ptr::from_ref(events.event(*index).word()), *seen, true)
            }));
            // SAFETY: the control word is static, `held` keeps the others mapped (L4).
            if let Err(error) = unsafe { wait_any(&words) } {
                if !core::mem::replace(&mut told, true) {
                    unwind::report(|| {
                        notice::error!(
                            "shared memory cannot be waited for (futex_waitv, Linux 5.16): {error}"
                        );
                    });
                }
                thread::sleep(core::time::Duration::from_millis(10));
                // Two events each, so that all coroutines look for themselves (L1). The bits stay: they are
                // about the sleepers of other processes, whom this does not wake.
                for (events, index, _) in &held {
                    events.event(*index).count_one();
                    events.event(*index).count_one();
                }
            }
        }
    }

    /// Looks at all words, wakes who is to be woken, and gives the words to sleep on.
    fn look(&self) -> Vec<(Arc<dyn Events>, usize, u32)> {
        let mut left = Vec::new();
        let mut held: Vec<_> = {
            let mut entries = self.entries.lock();
            left.extend(entries.extract_if(.., |entry| entry.waiting == 0));
            entries.iter().map(|entry| (Arc::clone(&entry.events), entry.index, entry.seen)).collect()
        };
        for entry in left {
            // L2: what came for those who have left goes to others.
            if EventWord::between(entry.seen, entry.word().word().load(Ordering::SeqCst)) > 0 {
                pass_on(entry.word());
            }
        }
        for (events, index, seen) in &mut held {
            *seen = catch_up(events.event(*index), *seen);
        }
        let mut entries = self.entries.lock();
        for entry in entries.iter_mut() {
            let same = |(events, index, _): &&(Arc<dyn Events>, usize, u32)| {
                *index == entry.index && Arc::ptr_eq(events, &entry.events)
            };
            if let Some((.., seen)) = held.iter().find(same) {
                entry.seen = *seen;
            }
        }
        held
    }
}

/// Wakes sleepers of this process for what has happened since the word was `seen`; the value to sleep on.
fn catch_up(event: &EventWord, mut seen: u32) -> u32 {
    loop {
        // Whoever still sleeps here counts as a sleeper again (L1).
        let now = event.prepare();
        match EventWord::between(seen, now) {
            0 => return now,
            1 if futex::wake(event.word(), 1) == 1 => seen = now,
            1 => {
                // L2. Only what others have counted since is left to look at.
                let (own, after) = pass_on(event);
                seen = if EventWord::between(now, after) == own { after } else { now };
            }
            _ => {
                futex::wake(event.word(), usize::MAX);
                seen = now;
            }
        }
    }
}
