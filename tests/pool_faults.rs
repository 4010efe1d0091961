//! What tasks, values and initialisers may do to a pool: nothing beyond their own task.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::watched;
use ropewalk::process::{
    Fd, Pool, Process, ProcessError, Queue, Resource, Stdio, TaskError, children, current,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("once more");
    }
}

/// Goes wrong where its text says, in the process that is not the one with the number.
#[derive(Clone, Debug, PartialEq)]
struct Awkward(String, u32);

impl Awkward {
    fn new(how: &str) -> Self {
        Self(how.to_owned(), std::process::id())
    }

    fn is_away(&self) -> bool {
        std::process::id() != self.1
    }
}

impl Serialize for Awkward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_str() {
            "encode: refuse" if self.is_away() => Err(serde::ser::Error::custom("not this")),
            "encode: panic" if self.is_away() => panic!("while encoding"),
            "encode: abort" if self.is_away() => std::process::abort(),
            _ => (&self.0, self.1).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Awkward {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (how, home) = <(String, u32)>::deserialize(deserializer)?;
        let value = Self(how, home);
        match value.0.as_str() {
            "decode: refuse" if value.is_away() => Err(serde::de::Error::custom("not this")),
            "decode: panic" if value.is_away() => panic!("while decoding"),
            "home: refuse" if !value.is_away() => Err(serde::de::Error::custom("not this")),
            "home: panic" if !value.is_away() => panic!("while decoding at home"),
            _ => Ok(value),
        }
    }
}

#[inline(never)]
fn overflow(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == u64::MAX { 0 } else { overflow(n + 1) + frame[(n % 64) as usize] }
}

/// No core dumps, nothing on the terminal.
fn calm((): ()) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limits that live through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    // SAFETY: replaces the standard error stream.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), 2) };
}

fn calm_pool(workers: usize) -> Pool {
    Pool::builder(workers).initializer(calm, ()).build().unwrap()
}

#[test]
fn a_task_that_overflows_its_stack_runs_out_of_memory_or_ends_its_process_fails_alone() {
    watched(|| {
        let pool = calm_pool(2);
        let ways: [fn(u64) -> u64; 6] = [
            overflow,
            // In a coroutine.
            |n| ropewalk::spawn(move || overflow(n)).join().unwrap(),
            // In a thread.
            |n| std::thread::spawn(move || overflow(n)).join().unwrap(),
            |_| {
                let most = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
                // SAFETY: limits that live through the call.
                unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) };
                std::hint::black_box(vec![1u8; 2 << 30]).len() as u64
            },
            |_| std::process::abort(),
            // SAFETY: reads where nothing is.
            |n| unsafe { std::ptr::with_exposed_provenance::<u64>(8 + n as usize).read_volatile() },
        ];
        for way in ways {
            let bad = pool.apply_async(way, 0).unwrap();
            let good: Vec<_> = (0..50).map(|n| pool.apply_async(|n: u32| n, n).unwrap()).collect();
            let ended = bad.get();
            assert!(matches!(ended, Err(TaskError::WorkerDied { signal: Some(_), .. })), "{ended:?}");
            assert!(good.into_iter().map(|task| task.get().unwrap()).eq(0..50));
        }
        for code in [0, 3] {
            let ended = pool.apply(|code: i32| -> () { std::process::exit(code) }, code);
            assert!(matches!(ended, Err(TaskError::WorkerDied { code: Some(got), .. }) if got == code));
        }
        assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
        // One may still be on its way.
        while pool.workers().len() < 2 {
            std::thread::yield_now();
        }
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn a_panic_with_a_strange_payload_fails_its_task_and_leaves_its_worker_alone() {
    watched(|| {
        let pool = calm_pool(1);
        let worker = pool.apply(|()| current().pid, ()).unwrap();
        let ways: [fn(()) -> (); 5] = [
            |()| std::panic::panic_any(Bomb),
            |()| std::panic::panic_any(7u8),
            |()| std::panic::panic_any(vec![Box::new(1)]),
            |()| std::panic::resume_unwind(Box::new("quiet".to_owned())),
            |()| ropewalk::spawn(|| panic!("in a coroutine")).join().unwrap(),
        ];
        for way in ways {
            let ended = pool.apply(way, ());
            assert!(matches!(ended, Err(TaskError::Panicked { .. })), "{ended:?}");
            assert_eq!(pool.apply(|()| current().pid, ()).unwrap(), worker);
        }
        for way in ways {
            let child = Process::builder().stderr(Stdio::Null).spawn(way, ()).unwrap();
            assert!(matches!(child.join(), Err(ProcessError::Panicked { .. })));
        }
    });
}

#[test]
fn what_cannot_be_encoded_or_decoded_fails_its_task_only() {
    watched(|| {
        let pool = calm_pool(1);
        let worker = pool.apply(|()| current().pid, ()).unwrap();
        let same = |value: Awkward| value;
        let outcome = |how: &str| pool.apply(same, Awkward::new(how));
        assert!(matches!(outcome("encode: refuse"), Err(TaskError::Encode(_))));
        assert!(matches!(outcome("encode: panic"), Err(TaskError::Panicked { .. })));
        assert!(matches!(outcome("decode: refuse"), Err(TaskError::Arguments(_))));
        assert!(matches!(outcome("decode: panic"), Err(TaskError::Panicked { .. })));
        assert!(matches!(outcome("home: refuse"), Err(TaskError::Decode(_))));
        // The caller's own code panics where the caller asks for the value.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| outcome("home: panic")));
        assert!(caught.is_err());
        assert_eq!(pool.apply(|()| current().pid, ()).unwrap(), worker);
        assert!(matches!(outcome("encode: abort"), Err(TaskError::WorkerDied { .. })));
        assert_eq!(outcome("nothing").unwrap().0, "nothing");
        // In a callback, and in chunks.
        let (sender, receiver) = std::sync::mpsc::channel();
        pool.apply_callback(same, Awkward::new("home: panic"), move |_| sender.send(()).unwrap()).unwrap();
        assert!(receiver.recv().is_err(), "the callback was called with a value that there is not");
        let mixed = ["nothing", "encode: panic", "nothing"].map(Awkward::new);
        assert!(pool.map_chunked(same, mixed.clone(), 1).is_err());
        assert_eq!(pool.imap(same, mixed).filter(Result::is_ok).count(), 2);
        pool.close();
        pool.join().unwrap();
        assert_eq!(pool.unfinished(), 0);
        // The same for single processes.
        let single = |how| {
            Process::builder()
                .stderr(Stdio::Null)
                .spawn(|value: Awkward| value, Awkward::new(how))
                .unwrap()
                .join()
        };
        assert!(matches!(single("encode: refuse"), Err(ProcessError::Encode(_))));
        assert!(matches!(single("encode: panic"), Err(ProcessError::Panicked { .. })));
        assert!(matches!(single("decode: refuse"), Err(ProcessError::Arguments(_))));
        assert!(matches!(single("decode: panic"), Err(ProcessError::Panicked { .. })));
        assert!(matches!(single("home: refuse"), Err(ProcessError::Decode(_))));
        // And for queues: the message is gone, and the next one comes.
        let queue = Queue::<Awkward>::bounded(4).unwrap();
        let away = |how: &str| Awkward(how.to_owned(), 0);
        let put = |how: &str| std::panic::catch_unwind(|| queue.put(away(how)));
        assert!(put("encode: refuse").unwrap().is_err() && put("encode: panic").is_err());
        assert!(put("decode: refuse").unwrap().is_ok() && put("decode: panic").unwrap().is_ok());
        queue.put(away("nothing")).unwrap();
        assert!(queue.get().is_err());
        assert!(std::panic::catch_unwind(|| queue.get()).is_err());
        assert_eq!((queue.get().unwrap().0.as_str(), queue.len()), ("nothing", 0));
    });
}

/// Notes a start in a file, and fails in one of four ways.
fn fail((way, file): (u32, std::path::PathBuf)) {
    let mut starts = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    std::io::Write::write_all(&mut starts, b".").unwrap();
    calm(());
    match way {
        0 => panic!("no database"),
        1 => std::process::exit(9),
        2 => std::process::abort(),
        _ => assert!(overflow(0) > 0),
    }
}

#[test]
fn an_initialiser_that_never_succeeds_breaks_the_pool_after_few_starts_in_whatever_way_it_fails() {
    watched(|| {
        let file = std::env::temp_dir().join(format!("ropewalk-starts-{}", std::process::id()));
        for (way, cause) in [(0, "no database"), (1, "code 9"), (2, "SIGABRT"), (3, "SIG")] {
            std::fs::write(&file, "").unwrap();
            let pool =
                Pool::builder(2).name("failing").initializer(fail, (way, file.clone())).build().unwrap();
            let text = match pool.apply(|n: u32| n, 1) {
                Err(error) => error.to_string(),
                Ok(_) => panic!("it has worked"),
            };
            assert!(text.contains("broken") && text.contains(cause), "{text}");
            pool.close();
            pool.join().unwrap();
            // Three that fail, and those that had begun by then.
            let starts = std::fs::metadata(&file).unwrap().len();
            assert!((3..=5).contains(&starts), "{starts} starts");
        }
        std::fs::remove_file(file).unwrap();
        // Other tests of this process have children of their own.
        assert!(!children().iter().any(|child| child.name.starts_with("failing")));
    });
}

/// What is left in the group of a process that has ended.
fn group_of(leader: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let member = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        fields.len() > 2 && fields[0] != "Z" && fields[2].parse() == Ok(leader)
    };
    pids.filter(member).collect()
}

#[test]
fn tasks_may_have_pools_of_their_own_which_end_with_their_worker() {
    fn grand(depth: u32) -> u32 {
        let pool = Pool::new(2).unwrap();
        let below = |depth: u32| if depth == 0 { 1 } else { grand(depth - 1) };
        pool.map_chunked(below, [depth; 2], 1).unwrap().into_iter().sum()
    }
    fn for_ever(fd: Fd) {
        let pool = Pool::new(2).unwrap();
        let sleep = |()| std::thread::sleep(Duration::from_secs(3600));
        let _tasks: Vec<_> = (0..4).map(|_| pool.apply_async(sleep, ()).unwrap()).collect();
        while pool.workers().iter().filter(|worker| worker.task.is_some()).count() < 2 {
            std::thread::yield_now();
        }
        let mut there = std::io::PipeWriter::from(std::os::fd::OwnedFd::from(fd));
        std::io::Write::write_all(&mut there, b"!").unwrap();
        sleep(());
    }
    let work = |()| {
        let pool = Pool::new(1).unwrap();
        assert_eq!(pool.apply(grand, 2).unwrap(), 8);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let task = pool.apply_async(for_ever, Fd::from(std::os::fd::OwnedFd::from(writer))).unwrap();
        std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
        let worker = pool.workers()[0].pid;
        // SAFETY: a process of this test's.
        unsafe { libc::kill(worker.cast_signed(), libc::SIGKILL) };
        assert!(matches!(task.get(), Err(TaskError::WorkerDied { .. })));
        pool.close();
        pool.join().unwrap();
        // This process and its zygote.
        while group_of(std::process::id()).len() > 2 {
            std::thread::yield_now();
        }
    };
    watched(move || {
        let child = Process::builder().own_group(true).limit(Resource::CoreSize, 0).spawn(work, ()).unwrap();
        child.join().unwrap();
    });
}
