//! Which fresh coroutines a worker hands to another worker instead of starting them.
//!
//! A coroutine stays on the worker that starts it, so a server whose accept loop runs on one worker would keep every
//! connection there. The worker looks at the balance when it is about to start a fresh coroutine.
//!
//! | condition for a hand-over | why |
//! |---|---|
//! | the runtime has two regular workers or more | otherwise the look costs one load |
//! | the birth before this one still lives | a loop that spawns and joins, and a burst of short coroutines, hand nothing over |
//! | this worker has `MARGIN` more living coroutines than the other one | a few that talk to each other stay together |
//! | the other worker is a regular one, and no long turn holds it up | the coroutine would wait for the end of that turn |
//!
//! "The birth before this one lives" is a count: this worker's living coroutines have grown since then, or those of the
//! worker that got it. The counts of the other worker are a few turns old, which costs balance and nothing else.
//!
//! A coroutine that is handed over goes to `Worker::given`, an injector of that worker alone. Its worker takes it from
//! there; others do so while a long turn holds that worker up.
//!
//! The end of a runtime: a giver pushes, then looks at `ending`; a taker sees `ending`, then looks at `given` (all
//! SeqCst). So the giver sees the end and takes the coroutine back, or the taker sees the coroutine before it ends.
#![forbid(unsafe_code)]

use core::ptr;

use super::worker::Worker;

/// By how many living coroutines a worker exceeds the other one before it hands births over: more than a pair that
/// plays ping-pong, few against the connections of a server.
const MARGIN: usize = 4;

/// What a worker remembers of its last birth.
#[derive(Debug, Default)]
pub(crate) struct Births {
    /// Coroutines that lived on the worker when that was about to start.
    own: usize,
    /// The regular worker that was looked at last.
    heir: usize,
    /// Coroutines that lived on `heir` before it got the last birth; `None` if the worker kept that.
    given: Option<usize>,
}

impl Births {
    /// Chooses the worker that starts the next coroutine instead of `giver`, on which `own` coroutines live.
    #[inline]
    pub(crate) fn heir<'a>(&mut self, giver: &'a Worker, own: usize) -> Option<&'a Worker> {
        let workers = giver.core().regular();
        if workers.len() == 1 {
            return None;
        }
        let kept_lives = own > self.own;
        self.own = own;
        if self.given.is_none() && (!kept_lives || own < MARGIN) {
            return None;
        }
        self.weigh(workers, giver, own)
    }

    fn weigh<'a>(&mut self, workers: &'a [Worker], giver: &Worker, own: usize) -> Option<&'a Worker> {
        if let Some(before) = self.given.take()
            && workers[self.heir].living() <= before
        {
            return None;
        }
        self.heir = (self.heir + 1) % workers.len();
        if ptr::eq(&raw const workers[self.heir], giver) {
            self.heir = (self.heir + 1) % workers.len();
        }
        let heir = &workers[self.heir];
        let living = heir.living();
        if living + MARGIN > own || heir.is_stuck() || giver.core().is_ending() {
            return None;
        }
        self.given = Some(living);
        Some(heir)
    }
}
