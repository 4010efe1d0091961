//! A hand-resumed coroutine: one resume and one suspend.

use std::time::Instant;

use context::stack::ProtectedFixedSizeStack;
use context::{Context, Transfer};
use corosensei::{Coroutine as Corosensei, CoroutineResult};
use generator::{Generator, Gn};
use ropewalk::coroutine::{Assembly, Boost, Coroutine, CoroutineBuilder, Switch};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};

pub static GROUPS: &[Group] = &[Group {
    name: "switch",
    cpus: 1,
    rounds: 9,
    rows: &[Row {
        title: "resume + suspend pair",
        unit: Unit::Nanos,
        targets: &[Target::Times(1.0, "corosensei")],
    }],
    contenders: &[
        Contender { name: "ropewalk", run: ropewalk::<Assembly> },
        Contender { name: "ropewalk-boost", run: ropewalk::<Boost> },
        Contender { name: "corosensei", run: corosensei },
        Contender { name: "context", run: context },
        Contender { name: "generator", run: generator },
    ],
}];

fn pairs(scale: Scale, mut pair: impl FnMut()) -> Vec<f64> {
    let batch = |count| {
        let begin = Instant::now();
        for _ in 0..count {
            pair();
        }
        begin.elapsed()
    };
    vec![per_operation(scale, batch)]
}

fn ropewalk<S: Switch>(scale: Scale) -> Vec<f64> {
    let built = CoroutineBuilder::new().build_with(|suspender, mut value: usize| {
        loop {
            value = suspender.suspend(value);
        }
    });
    let mut coroutine: Coroutine<usize, usize, (), S> = built.expect("there is room for a stack");
    let figures = pairs(scale, || {
        std::hint::black_box(coroutine.resume(1));
    });
    std::mem::forget(coroutine);
    figures
}

fn corosensei(scale: Scale) -> Vec<f64> {
    let mut coroutine: Corosensei<usize, usize, ()> = Corosensei::new(|yielder, mut value: usize| {
        loop {
            value = yielder.suspend(value);
        }
    });
    let figures = pairs(scale, || match coroutine.resume(1) {
        CoroutineResult::Yield(value) => {
            std::hint::black_box(value);
        }
        CoroutineResult::Return(()) => unreachable!("it loops for ever"),
    });
    std::mem::forget(coroutine);
    figures
}

fn generator(scale: Scale) -> Vec<f64> {
    let mut generator: Generator<'_, usize, usize> = Gn::<usize>::new_scoped(|mut scope| {
        let mut value = 0;
        loop {
            value = scope.yield_(value).unwrap_or(0);
        }
    });
    generator.raw_send(None);
    let figures = pairs(scale, || {
        std::hint::black_box(generator.raw_send(Some(1)));
    });
    std::mem::forget(generator);
    figures
}

extern "C" fn bounce(mut other: Transfer) -> ! {
    loop {
        // SAFETY: the context is the one that resumed this one just now.
        other = unsafe { other.context.resume(other.data) };
    }
}

fn context(scale: Scale) -> Vec<f64> {
    let stack = ProtectedFixedSizeStack::new(256 * 1024).expect("there is room for a stack");
    // SAFETY: the stack outlives the context, which is never resumed after the measurement.
    let mut context = Some(unsafe { Context::new(&stack, bounce) });
    let figures = pairs(scale, || {
        let suspended = context.take().expect("put back below");
        // SAFETY: it is suspended: new, or come back from its last resume.
        context = Some(unsafe { suspended.resume(1) }.context);
    });
    std::mem::forget((context, stack));
    figures
}
