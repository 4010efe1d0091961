//! Coroutines resumed by hand, with both switchers.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use common::{on_workers, watched};
use ropewalk::coroutine::{Boost, Coroutine, CoroutineBuilder, DefaultSwitch, State, Suspender, Switch};

/// Sets its cell when dropped.
struct Note(Rc<Cell<u32>>);

impl Drop for Note {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn both(f: fn(), g: fn()) {
    watched(move || {
        f();
        g();
    });
    on_workers(f);
    on_workers(g);
}

fn values_go_in_and_out<S: Switch>() {
    let mut echo = Coroutine::<u64, u64, u64, S>::new(|out, mut n| {
        for _ in 0..1_000 {
            n = out.suspend(n * 2);
        }
        n
    });
    for n in 0..1_000 {
        assert_eq!(echo.resume(n), State::Yielded(n * 2));
    }
    assert_eq!(echo.resume(7), State::Returned(7));
    assert!(echo.is_done());
    assert_eq!(echo.try_resume(8), Err(8));
    assert!(catch_unwind(AssertUnwindSafe(|| echo.resume(9))).is_err());
}

#[test]
fn values_pass_through_both_switchers() {
    both(values_go_in_and_out::<DefaultSwitch>, values_go_in_and_out::<Boost>);
}

fn large_values<S: Switch>() {
    let mut large = Coroutine::<[u8; 9_000], [u8; 17], String, S>::new(|out, input| {
        let second = out.suspend([input[8_999]; 17]);
        format!("{}", second[0])
    });
    assert_eq!(large.resume([3; 9_000]), State::Yielded([3; 17]));
    assert_eq!(large.resume([4; 9_000]), State::Returned("4".to_owned()));
}

#[test]
fn values_of_any_size_pass() {
    both(large_values::<DefaultSwitch>, large_values::<Boost>);
}

fn panics_reach_the_resumer<S: Switch>() {
    let note = Rc::new(Cell::new(0));
    let inner = Note(Rc::clone(&note));
    let mut bad = Coroutine::<(), (), (), S>::new(move |out, ()| {
        let _inner = inner;
        out.suspend(());
        std::panic::panic_any(42u8);
    });
    bad.resume(());
    let payload = catch_unwind(AssertUnwindSafe(|| bad.resume(()))).unwrap_err();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&42));
    assert_eq!(note.get(), 1);
    assert!(bad.is_done());
}

#[test]
fn a_panic_goes_on_in_the_resumer() {
    both(panics_reach_the_resumer::<DefaultSwitch>, panics_reach_the_resumer::<Boost>);
}

fn drops_unwind<S: Switch>() {
    let note = Rc::new(Cell::new(0));
    let (a, b) = (Note(Rc::clone(&note)), Rc::clone(&note));
    let mut suspended = Coroutine::<(), u32, (), S>::new(move |out, ()| {
        let _a = a;
        let _b = Note(b);
        out.suspend(1);
        unreachable!("it is dropped before");
    });
    suspended.resume(());
    drop(suspended);
    assert_eq!(note.get(), 2);
    let c = Note(Rc::clone(&note));
    drop(Coroutine::<(), (), (), S>::new(move |_, ()| drop(c)));
    assert_eq!(note.get(), 3);
}

#[test]
fn dropping_runs_every_destructor() {
    both(drops_unwind::<DefaultSwitch>, drops_unwind::<Boost>);
}

#[test]
fn a_coroutine_that_catches_the_unwinding_and_suspends_again_is_still_finished() {
    struct Stubborn<'a>(&'a Suspender<(), u32>);
    impl Drop for Stubborn<'_> {
        fn drop(&mut self) {
            let _ = catch_unwind(AssertUnwindSafe(|| self.0.suspend(2)));
        }
    }
    let ended = Rc::new(Cell::new(false));
    let end = Rc::clone(&ended);
    let mut stubborn = Coroutine::<(), u32>::new(move |out, ()| {
        let _stubborn = Stubborn(out);
        for _ in 0..3 {
            let _ = catch_unwind(AssertUnwindSafe(|| out.suspend(1)));
        }
        end.set(true);
    });
    stubborn.resume(());
    drop(stubborn);
    assert!(ended.get());
}

#[test]
fn coroutines_nest_and_a_panic_goes_through_all() {
    on_workers(|| {
        let mut outer = Coroutine::<(), u32>::new(|out, ()| {
            let mut inner = Coroutine::<(), u32>::new(|out, ()| {
                out.suspend(1);
                out.suspend(2);
                panic!("deep");
            });
            while let State::Yielded(n) = inner.resume(()) {
                out.suspend(n * 10);
            }
        });
        assert_eq!(outer.resume(()), State::Yielded(10));
        assert_eq!(outer.resume(()), State::Yielded(20));
        let payload = catch_unwind(AssertUnwindSafe(|| outer.resume(()))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"deep"));
    });
}

#[test]
fn a_suspender_of_another_coroutine_is_refused() {
    let mut outer = Coroutine::<(), u32>::new(|outer_out, ()| {
        // Smuggles the outer suspender in as a number: safe code cannot do better than this with a cell.
        thread_local!(static SLOT: RefCell<Option<Box<dyn Fn()>>> = RefCell::default());
        let outer_out: &'static Suspender<(), u32> = Box::leak(Box::new(leak(outer_out)));
        SLOT.set(Some(Box::new(move || {
            outer_out.suspend(9);
        })));
        let mut inner = Coroutine::<(), u32>::new(|_, ()| SLOT.with_borrow(|f| f.as_ref().unwrap()()));
        let payload = catch_unwind(AssertUnwindSafe(|| inner.resume(()))).unwrap_err();
        assert!(payload.downcast_ref::<&str>().unwrap().contains("only the coroutine itself"));
        outer_out.suspend(1);
    });
    assert_eq!(outer.resume(()), State::Yielded(1));
    drop(outer);

    fn leak(suspender: &Suspender<(), u32>) -> Suspender<(), u32> {
        // SAFETY: a bitwise copy of a handle without a destructor, used while the coroutine lives.
        unsafe { std::ptr::read(suspender) }
    }
}

#[test]
fn waiting_inside_a_hand_resumed_coroutine_leaves_the_worker_to_others() {
    on_workers(|| {
        let handles: Vec<_> = (0..10)
            .map(|n| {
                ropewalk::spawn(move || {
                    let mut inner = Coroutine::<(), u64>::new(move |out, ()| {
                        for round in 0..10 {
                            ropewalk::sleep(std::time::Duration::from_micros(n * 50));
                            ropewalk::yield_now();
                            out.suspend(round);
                        }
                    });
                    inner.by_ref().sum::<u64>()
                })
            })
            .collect();
        for handle in handles {
            assert_eq!(handle.join().unwrap(), 45);
        }
    });
}

#[test]
fn a_cancelled_coroutine_unwinds_through_the_one_it_resumes() {
    on_workers(|| {
        let handle = ropewalk::spawn(|| {
            let mut inner = Coroutine::<(), ()>::new(|_, ()| ropewalk::park());
            inner.resume(());
        });
        ropewalk::yield_now();
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_suspended_one_can_be_inspected() {
    let mut one = CoroutineBuilder::new().stack_size(32 * 1024).build(|out: &Suspender<(), usize>, ()| {
        let local = 5u8;
        out.suspend(std::ptr::from_ref(&local).addr());
    });
    let one = one.as_mut().unwrap();
    let address = one.resume(()).yielded().unwrap();
    let seen = one.snapshot().unwrap();
    assert!(seen.stack_bottom <= seen.registers.sp && seen.registers.sp < seen.stack_top);
    assert!((seen.registers.sp..seen.stack_top).contains(&address));
    assert_eq!(seen.bytes_used, seen.stack_top - seen.registers.sp);
    assert!(seen.stack_top - seen.stack_bottom <= 32 * 1024);
    assert!(one.next().is_none() && one.snapshot().is_none());
}

#[test]
fn impossible_stacks_are_errors() {
    for bytes in [0, usize::MAX, 1 << 40] {
        let made = CoroutineBuilder::new().stack_size(bytes).build(|_: &Suspender<(), ()>, ()| ());
        assert!(made.unwrap_err().to_string().contains("KiB"));
    }
}

#[cfg(all(target_arch = "x86_64", not(feature = "boost")))]
#[test]
fn a_backtrace_from_inside_reaches_the_resumer() {
    type Tracer = Coroutine<(), String>;
    #[inline(never)]
    fn the_first_resumer(one: &mut Tracer) -> String {
        std::hint::black_box(one.resume(()).yielded().unwrap())
    }
    #[inline(never)]
    fn another_resumer(one: &mut Tracer) -> String {
        std::hint::black_box(one.resume(()).yielded().unwrap())
    }
    let mut one = Tracer::new(|out, ()| {
        loop {
            out.suspend(std::backtrace::Backtrace::force_capture().to_string());
        }
    });
    let (first, second) = (the_first_resumer(&mut one), another_resumer(&mut one));
    assert!(first.contains("the_first_resumer"), "{first}");
    assert!(second.contains("another_resumer") && !second.contains("the_first_resumer"), "{second}");
}
