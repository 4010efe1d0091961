//! What the kernel knows of a process: where it may run, how much it uses, how often it woke up.

use std::fs;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::Duration;

/// The processors this process may use.
pub fn processors() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is as large as is said, and all zeros is an empty one.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    assert_eq!(result, 0, "cannot ask which processors may be used: {}", std::io::Error::last_os_error());
    // SAFETY: filled by the kernel, and valid before.
    let set = unsafe { set.assume_init() };
    // SAFETY: the index is within the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Binds the calling thread, and all it starts from now on, to `cpus`.
pub fn pin(cpus: &[usize]) {
    let set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all zeros is an empty set.
    let mut set = unsafe { set.assume_init() };
    for cpu in cpus {
        // SAFETY: the index is within the set; it came from one.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: the set is as large as is said.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(result, 0, "cannot bind to processors {cpus:?}: {}", std::io::Error::last_os_error());
}

/// Binds the calling thread to one of the processors that it may use: threads of different numbers to
/// different ones, where there are so many.
pub fn pin_thread(number: usize) {
    let processors = processors();
    pin(&[processors[number % processors.len()]]);
}

/// The processor time that all threads of a process have used, user and system.
pub fn processor_time(process: u32) -> Duration {
    let mut clock = 0;
    // SAFETY: the clock is a place for the answer.
    let error = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
    assert_eq!(error, 0, "process {process} has no clock");
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is a place for the answer.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "cannot ask for the processor time: {}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises the limit of open descriptors as far as is allowed, for this process and its children.
pub fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a place for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit lives through the call; if it is refused, what needs more will say so.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

fn number(status: &str, field: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(field));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("the kernel does not tell {field}"))
}

/// KiB of memory that this process occupies: pages and page tables.
pub fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    number(&status, "VmRSS:") + number(&status, "VmPTE:")
}

/// The folders in `/proc` of the threads of this process, the calling one aside.
fn other_threads() -> impl Iterator<Item = PathBuf> {
    let own = fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let paths = tasks.filter_map(Result::ok).map(|task| task.path());
    paths.filter(move |path| path.file_name() != own.file_name())
}

/// How often the other threads of this process have gone to sleep.
pub fn sleeps_of_others() -> u64 {
    let statuses = other_threads().filter_map(|path| fs::read_to_string(path.join("status")).ok());
    statuses.map(|status| number(&status, "voluntary_ctxt_switches:")).sum()
}

/// The processor time that the other threads of this process have used.
pub fn time_of_others() -> Duration {
    let stats = other_threads().filter_map(|path| fs::read_to_string(path.join("schedstat")).ok());
    let nanos = stats.filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// The processor time of all threads of a process, and how often they have gone to sleep.
pub fn usage_of(pid: u32) -> (Duration, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let (mut nanos, mut sleeps) = (0, 0);
    for path in tasks.filter_map(Result::ok).map(|task| task.path()) {
        let stat = read(path.join("schedstat"));
        nanos += stat.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        sleeps += number(&read(path.join("status")), "voluntary_ctxt_switches:");
    }
    (Duration::from_nanos(nanos), sleeps)
}

/// Ends the process at once, without unwinding what is still in it.
pub fn exit_now() -> ! {
    // SAFETY: nothing of the process is needed any more.
    unsafe { libc::_exit(0) }
}
