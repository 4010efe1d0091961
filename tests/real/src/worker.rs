//! One worker, every libc function replaced, and what the run has shown.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::{Runtime, monkey};

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if text.contains("runtime '") {
            eprintln!("{text}");
            REPORTS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    fn flush(&self) {}
}

/// What a run on one worker has shown.
#[derive(Debug)]
pub struct Shown {
    /// How long it took.
    pub took: Duration,
    /// What the monitor has said of the worker.
    pub reports: Vec<String>,
    counted: Vec<(&'static str, [u64; 3])>,
}

impl Shown {
    fn count(&self, names: &[&str], which: usize) -> u64 {
        let wanted = self.counted.iter().filter(|(name, _)| names.contains(name));
        wanted.map(|(_, counts)| counts[which]).sum()
    }

    /// How often calls of these functions gave the worker to others.
    pub fn parks(&self, names: &[&str]) -> u64 {
        self.count(names, 0)
    }

    /// How often these functions were called by coroutines.
    pub fn calls(&self, names: &[&str]) -> u64 {
        self.count(names, 2)
    }

    /// How often calls of these functions were made by another thread.
    pub fn offloads(&self, names: &[&str]) -> u64 {
        self.count(names, 1)
    }

    /// Says what was seen, and fails if the worker was kept for long by any coroutine, or if all took as long as `one`
    /// at a time would have: `one` is what each waits at least.
    pub fn check(&self, what: &str, count: u32, one: Duration) {
        println!("{what}: {count} on one worker, {one:?} each at least, took {:?}", self.took);
        for (name, [parks, offloads, _]) in &self.counted {
            if parks + offloads > 0 {
                println!("    {name}: {parks} parks, {offloads} offloads");
            }
        }
        assert!(self.reports.is_empty(), "{what}: the worker was kept: {:?}", self.reports);
        let in_turn = one * count;
        assert!(self.took < in_turn / 2, "{what}: took {:?}, one after the other {in_turn:?}", self.took);
    }
}

fn counts() -> Vec<(&'static str, [u64; 3])> {
    monkey::status()
        .iter()
        .map(|symbol| (symbol.name(), [symbol.parks(), symbol.offloads(), symbol.calls()]))
        .collect()
}

/// Runs `f` as a coroutine of a runtime with one worker, and says what happened. One run at a time, so that what
/// was counted is the run's own. A run that does not end in two minutes ends the process.
///
/// # Panics
/// Those of `f`, and if functions of libc do not arrive.
pub fn on_one_worker<T: Send + 'static>(
    name: &'static str,
    f: impl FnOnce() -> T + Send + 'static,
) -> (T, Shown) {
    // What a runtime has by itself.
    on_one_worker_with(name, 256 << 10, f)
}

/// As [`on_one_worker`], with stacks of another size.
///
/// # Panics
/// As [`on_one_worker`].
pub fn on_one_worker_with<T: Send + 'static>(
    name: &'static str,
    stack: usize,
    f: impl FnOnce() -> T + Send + 'static,
) -> (T, Shown) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Warn);
    monkey::patch_all().unwrap_or_else(|error| panic!("{error}"));
    let before = counts();
    let (tell, told) = mpsc::channel();
    let running = thread::spawn(move || {
        // A turn is measured by the clock; on a machine that does other things it may be long for no fault of its own.
        let threshold = Duration::from_millis(250);
        let builder = Runtime::builder().workers(1).name(name).stack_size(stack);
        let runtime = builder.monitor_threshold(threshold).build().unwrap();
        let began = Instant::now();
        let value = runtime.run(f);
        let took = began.elapsed();
        drop(runtime);
        let _ = tell.send(());
        (value, took)
    });
    if told.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("{name} hangs");
        for symbol in monkey::status().iter().filter(|symbol| symbol.calls() > 0) {
            eprintln!("{symbol}");
        }
        std::process::abort();
    }
    let (value, took) = running.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    let counted = counts()
        .into_iter()
        .zip(before)
        .map(|((name, after), (_, before))| (name, std::array::from_fn(|at| after[at] - before[at])))
        .collect();
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    // Not that of all workers in turns of more than 10 ms, after which the runtime adds one: any that computes is.
    let own = |text: &mut String| {
        text.contains(&format!("runtime '{name}'")) && text.contains("without a wait or a yield")
    };
    let reports = reports.extract_if(.., own).collect();
    (value, Shown { took, reports, counted })
}
