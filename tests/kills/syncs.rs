//! Scenes with locks and the like, and of joining and leaving what is shared.

use ropewalk::process::{Barrier, Condvar, Event, Mutex, Queue, Semaphore, TryLockError};

use super::{LONG, Scene, Shared};

fn with_mutex() -> Shared {
    let mutex = Some(Mutex::new([0; 2]).unwrap());
    Shared { mutex, condvar: Some(Condvar::new().unwrap()), ..Shared::default() }
}

fn with_semaphore(permits: u32) -> Shared {
    Shared { semaphore: Some(Semaphore::new(permits).unwrap()), ..Shared::default() }
}

fn with_event() -> Shared {
    let events = Queue::with_ring(8, 4096).unwrap();
    let event = Event::new().unwrap();
    assert!(events.put(event.clone()).is_ok());
    Shared { event: Some(event), events: Some(events), ..Shared::default() }
}

fn mutex(shared: &Shared) -> &Mutex<[u64; 2]> {
    shared.mutex.as_ref().unwrap()
}

fn semaphore(shared: &Shared) -> &Semaphore {
    shared.semaphore.as_ref().unwrap()
}

fn event(shared: &Shared) -> &Event {
    shared.event.as_ref().unwrap()
}

fn condvar(shared: &Shared) -> &Condvar {
    shared.condvar.as_ref().unwrap()
}

/// Locks, and tells what was found.
fn lock(shared: &Shared) -> String {
    match mutex(shared).lock_timeout(LONG * 2) {
        Ok(guard) if guard[0] == guard[1] => "whole".to_owned(),
        Ok(_) => "half changed, and no death was told".to_owned(),
        Err(TryLockError::OwnerDied(_)) => "told".to_owned(),
        Err(TryLockError::Held) => "held".to_owned(),
    }
}

fn is_locked_well(found: &str) -> Result<(), String> {
    if matches!(found, "whole" | "told") { Ok(()) } else { Err(format!("the lock was found {found}")) }
}

/// Sets the first number to seven, as the condition.
fn set_seven(shared: &Shared) {
    match mutex(shared).lock() {
        Ok(mut guard) => guard[0] = 7,
        Err(died) => died.into_guard()[0] = 7,
    }
}

fn is_seven(shared: &Shared) -> bool {
    match mutex(shared).lock() {
        Ok(guard) => guard[0] == 7,
        Err(died) => died.into_guard()[0] == 7,
    }
}

fn wait_for_seven(shared: &Shared) -> String {
    let mut guard = mutex(shared).lock().unwrap_or_else(|died| died.into_guard());
    while guard[0] != 7 {
        guard = condvar(shared).wait(guard).unwrap_or_else(|died| died.into_guard());
    }
    "seven".to_owned()
}

fn notified(rest: &super::Rest<'_>) -> Result<(), String> {
    if !is_seven(rest.shared) {
        set_seven(rest.shared);
        condvar(rest.shared).notify_one();
    }
    rest.sleeper("it was notified").map(drop)
}

fn is_free_once(shared: &Shared) -> Result<(), String> {
    let Some(_permit) = semaphore(shared).permit_timeout(LONG) else {
        return Err("a permit is lost".to_owned());
    };
    if semaphore(shared).try_permit().is_some() { Err("a permit too many".to_owned()) } else { Ok(()) }
}

pub(crate) const SCENES: [Scene; 13] = [
    Scene {
        name: "lock and unlock",
        begin: with_mutex,
        act: |shared, mark| {
            mark();
            {
                let mut guard = mutex(shared).lock().unwrap();
                guard[0] += 1;
                guard[1] += 1;
            }
            mark();
        },
        sleep: None,
        check: |rest| is_locked_well(&lock(rest.shared)),
    },
    Scene {
        name: "unlock beside a sleeper",
        begin: with_mutex,
        act: |shared, mark| {
            let guard = mutex(shared).lock().unwrap();
            mark();
            drop(guard);
            mark();
        },
        sleep: Some(lock),
        check: |rest| is_locked_well(&rest.sleeper("the lock's holder is dead")?),
    },
    Scene {
        name: "notify_all of a condvar",
        begin: with_mutex,
        act: |shared, mark| {
            mark();
            set_seven(shared);
            condvar(shared).notify_all();
            mark();
        },
        sleep: Some(wait_for_seven),
        check: notified,
    },
    Scene {
        name: "notify_one of a condvar",
        begin: with_mutex,
        act: |shared, mark| {
            mark();
            set_seven(shared);
            condvar(shared).notify_one();
            mark();
        },
        sleep: Some(wait_for_seven),
        check: notified,
    },
    Scene {
        name: "a permit taken and given back",
        begin: || with_semaphore(1),
        act: |shared, mark| {
            mark();
            drop(semaphore(shared).permit());
            mark();
        },
        sleep: None,
        check: |rest| is_free_once(rest.shared),
    },
    Scene {
        name: "a permit given back beside a sleeper",
        begin: || with_semaphore(1),
        act: |shared, mark| {
            let permit = semaphore(shared).permit();
            mark();
            drop(permit);
            mark();
        },
        sleep: Some(|shared| format!("{}", semaphore(shared).permit_timeout(LONG * 2).is_some())),
        check: |rest| {
            rest.sleeper("the permit is free")?;
            is_free_once(rest.shared)
        },
    },
    Scene {
        name: "release of a semaphore",
        begin: || with_semaphore(0),
        act: |shared, mark| {
            mark();
            semaphore(shared).release().unwrap();
            mark();
        },
        sleep: Some(|shared| {
            semaphore(shared).acquire();
            String::new()
        }),
        check: |rest| {
            // If the dead one has not released, this does; if it has, one permit is left.
            semaphore(rest.shared).release().unwrap();
            rest.sleeper("a permit is there")?;
            let left = semaphore(rest.shared).available();
            if left <= 1 { Ok(()) } else { Err(format!("{left} permits are left")) }
        },
    },
    Scene {
        name: "set of an event",
        begin: with_event,
        act: |shared, mark| {
            mark();
            event(shared).set();
            mark();
        },
        sleep: Some(|shared| {
            event(shared).wait();
            String::new()
        }),
        check: |rest| {
            if !event(rest.shared).is_set() {
                event(rest.shared).set();
            }
            rest.sleeper("the event is set").map(drop)
        },
    },
    Scene {
        name: "a barrier",
        begin: || Shared { barrier: Some(Barrier::new(2).unwrap()), ..Shared::default() },
        act: |shared, mark| {
            mark();
            let _ = shared.barrier.as_ref().unwrap().wait();
            mark();
        },
        sleep: Some(|shared| format!("{}", shared.barrier.as_ref().unwrap().wait().is_ok())),
        check: |rest| {
            let barrier = rest.shared.barrier.as_ref().unwrap();
            // A second party comes in the place of the dead one. If the round was over already, it ends the wait.
            std::thread::scope(|scope| {
                let own = scope.spawn(|| barrier.wait_timeout(LONG));
                let found = rest.sleeper("the other party has come or is dead");
                barrier.abort();
                let _ = own.join();
                found.map(drop)
            })
        },
    },
    Scene {
        name: "joining beside a sleeper",
        begin: with_event,
        act: |shared, mark| {
            mark();
            let joined = shared.events.as_ref().unwrap().try_get();
            mark();
            drop(joined);
        },
        sleep: Some(|shared| {
            event(shared).wait();
            String::new()
        }),
        check: |rest| {
            event(rest.shared).set();
            rest.sleeper("a living process has set the event").map(drop)
        },
    },
    Scene {
        name: "leaving beside a sleeper",
        begin: with_event,
        act: |shared, mark| {
            let own = shared.events.as_ref().unwrap().try_get().ok();
            mark();
            drop(own);
            mark();
        },
        sleep: Some(|shared| {
            event(shared).wait();
            String::new()
        }),
        check: |rest| {
            event(rest.shared).set();
            rest.sleeper("a living process has set the event").map(drop)
        },
    },
    Scene {
        name: "leaving with a permit",
        begin: || with_semaphore(1),
        act: |shared, mark| {
            std::mem::forget(semaphore(shared).permit());
            mark();
            shared.semaphore = None;
            mark();
        },
        sleep: Some(|shared| format!("{}", semaphore(shared).permit_timeout(LONG * 2).is_some())),
        check: |rest| {
            rest.sleeper("the permit's process is gone")?;
            is_free_once(rest.shared)
        },
    },
    Scene {
        name: "setting and clearing of an event",
        begin: with_event,
        act: |shared, mark| {
            mark();
            event(shared).set();
            event(shared).clear();
            mark();
        },
        sleep: Some(|shared| {
            event(shared).wait();
            String::new()
        }),
        check: |rest| {
            event(rest.shared).set();
            rest.sleeper("the event was set").map(drop)
        },
    },
];
