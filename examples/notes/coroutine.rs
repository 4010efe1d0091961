//! Section 10: a coroutine by hand, what is saved of it, and what a switch costs.

use ropewalk::coroutine::{Boost, Coroutine, DefaultSwitch, State, Switch};

use crate::Outcome;
use crate::show::{each, timed};

const SWITCHES: u32 = 2_000_000;

fn pair<S: Switch>() -> String {
    let mut looping = Coroutine::<(), (), (), S>::new(|out, ()| {
        loop {
            out.suspend(());
        }
    });
    let ((), took) = timed(|| (0..SWITCHES).for_each(|_| assert!(looping.resume(()) == State::Yielded(()))));
    each(took, SWITCHES)
}

pub(crate) fn run(_: &[String]) -> Outcome {
    let mut coroutine = Coroutine::<u32, u32, &str>::new(|out, first| {
        let second = out.suspend(first * 10);
        let third = out.suspend(second * 10);
        if third > 0 { "done" } else { "nothing" }
    });
    println!("resume(1) ─▶ {:?}", coroutine.resume(1));
    if let Some(seen) = coroutine.snapshot() {
        println!("suspended; its registers are on its own stack:");
        let hex = |value: Option<usize>| value.map_or("-".into(), |value| format!("{value:#x}"));
        println!("  ┌ {:#014x}  top", seen.stack_top);
        println!("  │   {} bytes used", seen.bytes_used);
        println!(
            "  ├ {:#014x}  saved rsp   rip {}  rbp {}  rbx {}",
            seen.registers.sp,
            hex(seen.registers.ip),
            hex(seen.registers.bp),
            hex(seen.registers.bx)
        );
        println!("  │   {} KiB free", (seen.registers.sp - seen.stack_bottom) / 1024);
        println!("  └ {:#014x}  bottom, and a guard below", seen.stack_bottom);
    }
    println!("resume(2) ─▶ {:?}", coroutine.resume(2));
    println!("resume(3) ─▶ {:?}", coroutine.resume(3));

    println!(
        "There and back: {} ({}), {} ({})",
        pair::<DefaultSwitch>(),
        DefaultSwitch::NAME,
        pair::<Boost>(),
        Boost::NAME
    );
    let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    let ((), yields) = timed(|| {
        runtime.run(|| {
            let spin = || (0..SWITCHES / 2).for_each(|_| ropewalk::yield_now());
            let other = ropewalk::spawn(spin);
            spin();
            other.join().expect("it does not panic");
        });
    });
    println!("Scheduled, two coroutines that yield to each other: {} a switch", each(yields, SWITCHES));
    let metrics = runtime.metrics().total;
    println!("  spawned {}, finished {}, switches {}", metrics.spawned, metrics.finished, metrics.switches);
    Ok(())
}
