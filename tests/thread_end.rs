//! Coroutines by hand that are still suspended when their thread ends: unwound before its locals go, so that what
//! they have borrowed of those is there to the end.
#![allow(missing_docs, reason = "tests")]
#![forbid(unsafe_code)]

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{child, runtime, watched};
use ropewalk::coroutine::{Boost, Coroutine, DefaultSwitch, Suspender, Switch};

/// A thread-local that tells when it is destroyed.
struct Local(AtomicU32);

const ALIVE: u32 = 7;

impl Drop for Local {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

/// Looks at a borrowed local when it is dropped, and tells.
struct Looks<'a>(&'a Local, Sender<u32>);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.0.load(Ordering::SeqCst));
    }
}

thread_local! {
    static LOCAL: Local = const { Local(AtomicU32::new(ALIVE)) };
    static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) };
}

fn keep<S: Switch>(coroutine: Coroutine<(), u32, (), S>) {
    KEPT.with_borrow_mut(|kept| kept.push(Box::new(coroutine)));
}

/// Touches the local in its `rounds`-th turn only, and is suspended while it borrows.
fn borrower<S: Switch>(rounds: u32, tell: Sender<u32>) -> Coroutine<(), u32, (), S> {
    Coroutine::new(move |out, ()| {
        (1..rounds).for_each(|round| out.suspend(round));
        LOCAL.with(|local| {
            let _looks = Looks(local, tell);
            out.suspend(rounds);
        });
    })
}

fn kept_in_a_local<S: Switch>(rounds: u32, keep_first: bool) {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        // Which of the two locals is registered first decides which is destroyed first.
        if keep_first {
            KEPT.with_borrow(|kept| assert!(kept.is_empty()));
        }
        let mut coroutine = borrower::<S>(rounds, tell);
        assert_eq!(coroutine.by_ref().take(rounds as usize).last(), Some(rounds));
        keep(coroutine);
    })
    .join()
    .unwrap();
    assert_eq!(told.recv(), Ok(ALIVE));
}

#[test]
fn a_coroutine_kept_in_a_thread_local_sees_the_locals_it_borrows_alive() {
    for rounds in 1..4 {
        for keep_first in [true, false] {
            kept_in_a_local::<DefaultSwitch>(rounds, keep_first);
            kept_in_a_local::<Boost>(rounds, keep_first);
        }
    }
}

#[test]
fn a_forgotten_coroutine_does_not_lend_a_local_beyond_its_thread() {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut coroutine = Coroutine::<(), ()>::new(move |out, ()| {
            LOCAL.with(|local| {
                let done = AtomicBool::new(false);
                std::thread::scope(|s| {
                    s.spawn(|| {
                        while !done.load(Ordering::SeqCst) {
                            tell.send(local.0.load(Ordering::SeqCst)).unwrap();
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    });
                    struct Done<'a>(&'a AtomicBool);
                    impl Drop for Done<'_> {
                        fn drop(&mut self) {
                            self.0.store(true, Ordering::SeqCst);
                        }
                    }
                    let _done = Done(&done);
                    out.suspend(());
                });
            });
        });
        coroutine.resume(());
        std::mem::forget(coroutine);
    })
    .join()
    .unwrap();
    // The sender is dropped with the coroutine's closure, so this ends, and every look was at a living local.
    assert!(told.iter().all(|seen| seen == ALIVE));
}

#[test]
fn what_a_worker_keeps_in_a_local_ends_before_the_worker() {
    watched(|| {
        let (tell, told) = channel();
        let runtime = runtime(1);
        runtime.run(move || {
            KEPT.with_borrow(|kept| assert!(kept.is_empty()));
            let mut coroutine = borrower::<DefaultSwitch>(1, tell);
            assert_eq!(coroutine.next(), Some(1));
            keep(coroutine);
        });
        assert!(told.try_recv().is_err());
        drop(runtime);
        assert_eq!(told.recv(), Ok(ALIVE));
    });
}

#[test]
fn a_handle_that_outlives_the_locals_finds_its_coroutine_ended() {
    struct Resumes(Cell<Option<Coroutine<(), u32>>>, Sender<(bool, Option<u32>, bool)>);
    impl Drop for Resumes {
        fn drop(&mut self) {
            let mut coroutine = self.0.take().unwrap();
            let (done, seen) = (coroutine.is_done(), coroutine.snapshot().is_some());
            self.1.send((done, coroutine.next(), seen)).unwrap();
        }
    }
    thread_local!(static LATE: RefCell<Option<Resumes>> = const { RefCell::new(None) });
    let ((tell, told), (answer, answered)) = (channel(), channel());
    std::thread::spawn(move || {
        LATE.with_borrow(|late| assert!(late.is_none()));
        let mut coroutine = borrower(1, tell);
        coroutine.next();
        LATE.set(Some(Resumes(Cell::new(Some(coroutine)), answer)));
    })
    .join()
    .unwrap();
    assert_eq!((told.recv(), answered.recv()), (Ok(ALIVE), Ok((true, None, false))));
}

type Kept<S> = Rc<RefCell<Option<Coroutine<(), Touches<S>, (), S>>>>;

/// Does something with the handle of its coroutine when it is dropped, and tells.
struct Touches<S: Switch>(Kept<S>, fn(&Kept<S>) -> u32, Sender<u32>);

impl<S: Switch> Drop for Touches<S> {
    fn drop(&mut self) {
        self.2.send((self.1)(&self.0)).unwrap();
    }
}

/// Each bit stands for one thing that a handle says of a coroutine which has not ended.
fn looks<S: Switch>(kept: &Kept<S>) -> u32 {
    let mut slot = kept.borrow_mut();
    let Some(coroutine) = slot.as_mut() else { return 8 };
    let resumed = catch_unwind(AssertUnwindSafe(|| coroutine.resume(()))).is_ok();
    u32::from(!coroutine.is_done())
        + 2 * u32::from(coroutine.snapshot().is_some())
        + 4 * u32::from(coroutine.try_resume(()).is_ok() || resumed)
}

fn drops<S: Switch>(kept: &Kept<S>) -> u32 {
    u32::from(kept.borrow_mut().take().is_none())
}

/// Leaves behind a suspended coroutine whose destructors touch its handle, and gives what they tell.
fn touched_while_it_is_unwound<S: Switch>(touch: fn(&Kept<S>) -> u32, on_worker: bool) -> Vec<u32> {
    let (tell, told) = channel();
    let leave = move || {
        let kept: Kept<S> = Rc::default();
        let inner = Rc::clone(&kept);
        let mut coroutine = Coroutine::new(move |out: &Suspender<(), Touches<S>, (), S>, ()| {
            struct Yields<'a, S: Switch>(&'a Suspender<(), Touches<S>, (), S>, Option<Touches<S>>);
            impl<S: Switch> Drop for Yields<'_, S> {
                fn drop(&mut self) {
                    // What it yields is dropped by the one that unwinds it.
                    let touches = self.1.take().unwrap();
                    drop(catch_unwind(AssertUnwindSafe(|| self.0.suspend(touches))));
                }
            }
            let touches = || Touches(Rc::clone(&inner), touch, tell.clone());
            // Dropped in the opposite order, the last one with the closure.
            let (_last, first) = (touches(), touches());
            let _yields = Yields(out, Some(touches()));
            let _alive = touches();
            out.suspend(first);
        });
        // Dropped while the coroutine is suspended, and alive.
        std::mem::forget(coroutine.resume(()));
        *kept.borrow_mut() = Some(coroutine);
        KEPT.with_borrow_mut(|all| all.push(Box::new(kept)));
    };
    if on_worker {
        let runtime = runtime(1);
        runtime.run(leave);
        drop(runtime);
    } else {
        std::thread::spawn(leave).join().unwrap();
    }
    told.try_iter().collect()
}

#[test]
fn a_coroutine_that_touches_its_own_handle_while_its_thread_ends_it_finds_it_ended() {
    watched(|| {
        for on_worker in [false, true] {
            assert_eq!(touched_while_it_is_unwound::<DefaultSwitch>(looks, on_worker), [0; 3]);
            assert_eq!(touched_while_it_is_unwound::<Boost>(looks, on_worker), [0; 3]);
        }
    });
}

#[test]
fn a_coroutine_that_drops_its_own_handle_while_its_thread_ends_it_is_freed_once() {
    watched(|| {
        for on_worker in [false, true] {
            assert_eq!(touched_while_it_is_unwound::<DefaultSwitch>(drops, on_worker), [0, 1, 1]);
            assert_eq!(touched_while_it_is_unwound::<Boost>(drops, on_worker), [0, 1, 1]);
        }
    });
}

#[test]
fn a_panic_whose_payload_drops_the_handle_is_dropped_after_the_coroutine() {
    struct Takes(Rc<RefCell<Option<Coroutine<(), ()>>>>);
    // Only this thread ever has it.
    struct Payload(Cell<u32>);
    thread_local!(static SLOT: RefCell<Option<Takes>> = const { RefCell::new(None) });
    impl Drop for Payload {
        fn drop(&mut self) {
            let slot = SLOT.with_borrow(|slot| Rc::clone(&slot.as_ref().unwrap().0));
            drop(slot.borrow_mut().take());
            self.0.set(1);
        }
    }
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            // The unwinding that ends the coroutine is caught below, so this one goes on.
            std::panic::resume_unwind(Box::new(Payload(Cell::new(0))));
        }
    }
    std::thread::spawn(|| {
        let slot = Rc::<RefCell<_>>::default();
        SLOT.set(Some(Takes(Rc::clone(&slot))));
        let mut coroutine = Coroutine::<(), ()>::new(|out, ()| {
            let panics = Panics;
            drop(catch_unwind(AssertUnwindSafe(|| out.suspend(()))));
            drop(panics);
        });
        coroutine.resume(());
        *slot.borrow_mut() = Some(coroutine);
    })
    .join()
    .unwrap();
}

#[test]
fn a_coroutine_begun_by_the_destructor_of_a_local_ends_before_the_next_one() {
    struct Begins(Sender<u32>);
    impl Drop for Begins {
        fn drop(&mut self) {
            let mut coroutine = borrower::<DefaultSwitch>(1, self.0.clone());
            coroutine.next();
            std::mem::forget(coroutine);
        }
    }
    thread_local!(static BEGINS: RefCell<Option<Begins>> = const { RefCell::new(None) });
    let (tell, told) = channel();
    std::thread::spawn(move || {
        // Destroyed after the one that begins the coroutine.
        LOCAL.with(|local| assert_eq!(local.0.load(Ordering::SeqCst), ALIVE));
        // This thread has had coroutines before.
        assert_eq!(borrower::<DefaultSwitch>(1, tell.clone()).count(), 1);
        BEGINS.set(Some(Begins(tell)));
    })
    .join()
    .unwrap();
    assert_eq!(told.iter().collect::<Vec<_>>(), [ALIVE, ALIVE]);
}

#[test]
fn the_end_of_the_program_unwinds_what_its_first_thread_has_forgotten() {
    struct Tells;
    impl Drop for Tells {
        fn drop(&mut self) {
            eprintln!("unwound at the end");
        }
    }
    if let Some(output) = child("the_end_of_the_program_unwinds_what_its_first_thread_has_forgotten") {
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("unwound at the end"), "{output:?}");
        return;
    }
    let mut coroutine = Coroutine::<(), ()>::new(|out, ()| {
        let _tells = Tells;
        out.suspend(());
    });
    coroutine.resume(());
    std::mem::forget(coroutine);
    std::process::exit(3);
}
