//! Rounds, dice, and the storm: many victims, each cancelled at a random moment.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ropewalk::{JoinError, JoinHandle, Runtime};

use crate::watchdog;

/// One round of a subject.
pub struct Round {
    pub seed: u64,
    pub workers: usize,
    pub runtime: Arc<Runtime>,
}

impl Round {
    /// The dice of actor `n`.
    pub fn dice(&self, n: usize) -> Dice {
        let mixed = self.seed.wrapping_add((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Dice((mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    /// Spawns into the round's runtime.
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(f)
    }

    /// Spawns `count` victims, cancels each at a random moment, in a random order, and joins them all.
    ///
    /// Half of the rounds cancel from a plain thread, half from a coroutine. Returns how many had to be
    /// cancelled.
    pub fn storm(&self, count: usize, victim: impl Fn(usize, Dice) + Clone + Send + 'static) -> usize {
        let handles: Vec<_> = (0..count)
            .map(|n| {
                let (victim, dice) = (victim.clone(), self.dice(n));
                self.spawn(move || victim(n, dice))
            })
            .collect();
        let mut dice = self.dice(1_000_000);
        let mut order: Vec<usize> = (0..count).collect();
        dice.shuffle(&mut order);
        let cancellers: Vec<_> = order.into_iter().map(|n| handles[n].canceller()).collect();
        let on_coroutine = dice.chance(2);
        let cancel = move || {
            for canceller in cancellers {
                dice.nap();
                canceller.cancel();
            }
        };
        if on_coroutine {
            self.spawn(cancel).join().unwrap()
        } else {
            cancel()
        }
        handles.into_iter().map(|handle| usize::from(ended(handle.join()).is_none())).sum()
    }
}

/// The value of a coroutine, `None` if it was cancelled; its panic goes on.
pub fn ended<T>(result: Result<T, JoinError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(JoinError::Cancelled) => None,
        Err(JoinError::Panicked(payload)) => resume_unwind(payload),
    }
}

/// A small generator (xorshift64), one for each actor.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True once in `n` times.
    pub fn chance(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn micros(&mut self, limit: usize) -> Duration {
        Duration::from_micros(self.below(limit) as u64)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    /// Lets a little time pass, in one of several ways; all but two are cancellation points.
    pub fn nap(&mut self) {
        match self.below(8) {
            0 => (),
            1 => (0..self.below(200)).for_each(|_| std::hint::spin_loop()),
            2 => ropewalk::sleep(self.micros(150)),
            _ => ropewalk::yield_now(),
        }
    }
}

/// Says that nobody else is inside, as long as it lives.
pub struct Alone<'a>(&'a AtomicUsize);

impl<'a> Alone<'a> {
    pub fn enter(inside: &'a AtomicUsize) -> Self {
        assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two are inside at once");
        Self(inside)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        assert_eq!(self.0.fetch_sub(1, Ordering::AcqRel), 1, "two were inside at once");
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a subject in rounds, with 1, 2 and 8 workers.
pub fn rounds(name: &'static str, subject: fn(&Round)) {
    let clock = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    };
    let mut seed = setting("SEED").unwrap_or_else(clock);
    let length = Duration::from_millis(setting("STRESS_MS").unwrap_or(250));
    let mut played = [0; 3];
    for (at, workers) in [1, 2, 8].into_iter().enumerate() {
        let runtime = Runtime::builder().name(name).workers(workers).monitor_threshold(None).build();
        let runtime = Arc::new(runtime.expect("a runtime starts"));
        let began = Instant::now();
        while played[at] == 0 || began.elapsed() < length {
            let round = Round { seed, workers, runtime: Arc::clone(&runtime) };
            let _watch = watchdog::watch(name, &round);
            let result = catch_unwind(AssertUnwindSafe(|| {
                subject(&round);
                settled(&round);
            }));
            if let Err(payload) = result {
                eprintln!("{name} failed with {workers} workers: SEED={seed}");
                resume_unwind(payload);
            }
            seed = seed.wrapping_add(1);
            played[at] += 1;
        }
    }
    println!(
        "{name}: SEED={} and on, rounds with 1, 2, 8 workers: {played:?}",
        seed.wrapping_sub(played.iter().sum())
    );
}

/// Keeps the panics that a subject makes on purpose out of the output.
pub fn hush(name: &'static str) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !std::thread::current().name().is_some_and(|thread| thread.starts_with(name)) {
            before(info);
        }
    }));
}

/// Waits until the runtime has nothing left; a coroutine is joined a moment before it has retired.
fn settled(round: &Round) {
    let mut nap = Duration::from_micros(20);
    loop {
        let total = round.runtime.metrics().total;
        if total.spawned == total.finished && total.parked == 0 && total.stacks_in_use == 0 {
            return;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(5));
    }
}
