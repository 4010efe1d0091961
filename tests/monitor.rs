//! The monitor: what it says of a coroutine that does not come back, and what it does for the others.
#![allow(missing_docs, reason = "tests")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ropewalk::Runtime;
use ropewalk::coroutine::{Builder, Coroutine};

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        REPORTS.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn capture() {
    // The first test of the process sets it.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Warn);
}

/// Waits for the report of a runtime.
fn report(runtime: &str) -> String {
    let (end, name) = (Instant::now() + Duration::from_secs(30), format!("'{runtime}' has run"));
    loop {
        if let Some(found) = REPORTS.lock().unwrap().iter().find(|text| text.contains(&name)) {
            return found.clone();
        }
        assert!(Instant::now() < end, "no report of '{runtime}'");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[inline(never)]
fn a_function_that_computes_on(stop: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !stop.load(Ordering::Relaxed) {
        // Interrupted in the allocator as often as not.
        turns += std::hint::black_box(vec![turns; 40]).len() as u64;
    }
    turns
}

#[inline(never)]
fn the_caller_of_it(stop: &AtomicBool) -> u64 {
    a_function_that_computes_on(stop) + 1
}

fn stuck(name: &'static str, f: impl FnOnce(&'static AtomicBool) + Send + 'static) -> String {
    capture();
    let stop: &AtomicBool = Box::leak(Box::default());
    let runtime = Runtime::builder().workers(1).name(name).build().unwrap();
    let _released = Release(stop);
    let handle = Builder::new().name("grinder").spawn_in(&runtime, move || f(stop)).unwrap();
    let text = report(name);
    assert!(text.contains(&format!("coroutine 'grinder' (#{})", handle.id())), "{text}");
    stop.store(true, Ordering::Relaxed);
    handle.join().unwrap();
    text
}

/// Lets those that compute end when a test fails: the drop of their runtime waits for them.
struct Release(&'static AtomicBool);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_long_turn_is_reported_with_the_coroutine_and_its_backtrace() {
    let text = stuck("frames", |stop| {
        std::hint::black_box(the_caller_of_it(stop));
    });
    if cfg!(target_arch = "x86_64") {
        let (inner, outer) = (text.find("a_function_that_computes_on"), text.find("the_caller_of_it"));
        assert!(inner.unwrap() < outer.unwrap(), "{text}");
        assert!(!text.contains("sampled_frame"), "{text}");
    }
}

#[test]
fn a_report_comes_once_a_turn_and_changes_nothing_in_the_coroutine() {
    static SUM: AtomicUsize = AtomicUsize::new(0);
    let text = stuck("once", |stop| {
        let mut sum = 0usize;
        while !stop.load(Ordering::Relaxed) {
            // Floating-point and vector registers, and the red zone.
            let root = std::hint::black_box(2.0f64).sqrt();
            sum += usize::from((root * root - 2.0).abs() > 1e-9);
        }
        std::thread::sleep(Duration::from_millis(120));
        SUM.store(sum, Ordering::Relaxed);
    });
    assert_eq!(SUM.load(Ordering::Relaxed), 0);
    let reports = REPORTS.lock().unwrap();
    assert_eq!(reports.iter().filter(|text| text.contains("'once' has run")).count(), 1, "{text}");
}

#[test]
fn a_coroutine_that_blocks_in_the_kernel_is_reported_and_goes_on() {
    let text = stuck("kernel", |stop| {
        use std::io::Read;
        use std::os::unix::net::UnixStream;
        let (mut a, b) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(b);
        });
        // Restarted after the signal.
        assert_eq!(a.read(&mut [0]).unwrap(), 0);
        writer.join().unwrap();
    });
    assert!(cfg!(not(target_arch = "x86_64")) || text.contains("read"), "{text}");
}

#[test]
fn inside_a_hand_resumed_coroutine_too() {
    let text = stuck("nested", |stop| {
        let mut inner = Coroutine::<(), (), u64>::new(move |_, ()| the_caller_of_it(stop));
        assert!(inner.resume(()).returned().is_some());
    });
    assert!(cfg!(not(target_arch = "x86_64")) || text.contains("the_caller_of_it"), "{text}");
}

#[test]
fn a_deep_stack_is_shown_from_its_inner_end() {
    #[inline(never)]
    fn deep(n: u32, stop: &AtomicBool) -> u64 {
        let room = std::hint::black_box([0u8; 200]);
        if n == 0 { a_function_that_computes_on(stop) } else { deep(n - 1, stop) + u64::from(room[3]) }
    }
    let text = stuck("deep", |stop| {
        std::hint::black_box(deep(500, stop));
    });
    assert!(cfg!(not(target_arch = "x86_64")) || text.contains("a_function_that_computes_on"), "{text}");
}

#[test]
fn switching_all_the_time_is_sampled_safely() {
    // The samples hit the switch itself, whose frames no table describes.
    for round in 0..20 {
        let name: &'static str = format!("switching-{round}").leak();
        capture();
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let _released = Release(stop);
        let threshold = Duration::from_millis(10);
        let runtime = Runtime::builder().workers(1).name(name).monitor_threshold(threshold).build().unwrap();
        let handle = runtime.spawn(move || {
            let mut inner = Coroutine::<(), ()>::new(|out, ()| {
                loop {
                    out.suspend(());
                }
            });
            while !stop.load(Ordering::Relaxed) {
                inner.resume(());
            }
        });
        report(name);
        stop.store(true, Ordering::Relaxed);
        handle.join().unwrap();
    }
}

#[test]
fn without_a_signal_the_worker_is_named() {
    capture();
    let runtime = Runtime::builder().workers(1).name("mute").monitor_signal(None).build().unwrap();
    let stop: &'static AtomicBool = Box::leak(Box::default());
    let _released = Release(stop);
    let handle = runtime.spawn(move || {
        std::hint::black_box(a_function_that_computes_on(stop));
    });
    assert!(report("mute").contains("worker 0 of runtime 'mute' has run one coroutine"));
    stop.store(true, Ordering::Relaxed);
    handle.join().unwrap();
    for signal in [0, -1, 65, libc::SIGKILL, libc::SIGSEGV] {
        let error = Runtime::builder().name("odd").monitor_signal(signal).build().unwrap_err();
        assert!(error.to_string().contains("runtime 'odd'"), "{error}");
    }
}

#[test]
fn a_signal_of_others_reaches_their_handler() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn theirs(_: libc::c_int) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    capture();
    // SAFETY: the handler adds to an atomic; the signal is used by this test alone.
    unsafe { libc::signal(libc::SIGUSR2, theirs as *const () as libc::sighandler_t) };
    let runtime = Runtime::builder().workers(1).name("shared").monitor_signal(libc::SIGUSR2).build().unwrap();
    let stop: &'static AtomicBool = Box::leak(Box::default());
    let _released = Release(stop);
    let handle = runtime.spawn(move || {
        std::hint::black_box(a_function_that_computes_on(stop));
    });
    report("shared");
    assert_eq!(SEEN.load(Ordering::Relaxed), 0);
    // SAFETY: sends the signal to this thread.
    unsafe { libc::raise(libc::SIGUSR2) };
    assert_eq!(SEEN.load(Ordering::Relaxed), 1);
    stop.store(true, Ordering::Relaxed);
    handle.join().unwrap();
}

#[test]
fn others_go_on_while_all_workers_are_held_up() {
    let runtime = Runtime::builder().workers(2).name("full").monitor_threshold(None).build().unwrap();
    let stop: &'static AtomicBool = Box::leak(Box::default());
    let _released = Release(stop);
    let grinders: Vec<_> = (0..2)
        .map(|_| {
            runtime.spawn(move || {
                std::hint::black_box(a_function_that_computes_on(stop));
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(30));
    // A spare worker starts for it.
    assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
    assert!(runtime.workers() > 2);
    stop.store(true, Ordering::Relaxed);
    grinders.into_iter().for_each(|grinder| grinder.join().unwrap());
}

#[test]
fn children_run_although_their_parent_only_spawns_and_never_waits() {
    let runtime = Runtime::builder().workers(1).name("flood").monitor_threshold(None).build().unwrap();
    let ran: &'static AtomicBool = Box::leak(Box::default());
    let parent = runtime.spawn(move || {
        let mut children = 0;
        while !ran.load(Ordering::Relaxed) {
            drop(ropewalk::spawn(|| ran.store(true, Ordering::Relaxed)));
            children += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        children
    });
    assert!(parent.join().unwrap() > 0);
    assert!(runtime.workers() > 1, "a spare worker has run them");
}
