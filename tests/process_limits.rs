//! At a limit (processes, descriptors, memory, length of files) there are errors that say so, in parent and child;
//! and a pool goes on when times are better.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::watched;
use ropewalk::process::queue::GetError;
use ropewalk::process::{
    Fd, Mutex, Pool, Process, ProcessError, Queue, Resource, SpawnError, StartMethod, Stdio, TaskError,
    children, pipe, prepare,
};
use ropewalk::shm::Region;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Processes of the calling one, by pid and name; with the dead ones that nobody has taken in, named `zombie`.
fn own_children() -> Vec<(u32, String)> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let child = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let name = if fields[0] == "Z" { "zombie" } else { name };
        (fields[1].parse() == Ok(own)).then(|| (pid, name.to_owned()))
    };
    pids.filter_map(child).collect()
}

/// Waits until there is no child but the zygote, nor a dead one.
fn wait_for_children() {
    let others =
        || own_children().into_iter().filter(|(_, name)| name != "ropewalk-zygote").collect::<Vec<_>>();
    let end = Instant::now() + Duration::from_secs(10);
    while !others().is_empty() {
        assert!(Instant::now() < end, "{:?}", others());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sets a soft limit of a process, 0 for the calling one, and gives the one before.
fn set_limit(pid: u32, resource: u32, most: u64) -> u64 {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes limits that live through the call.
    let read = unsafe { libc::prlimit(pid.cast_signed(), resource as _, std::ptr::null(), &raw mut before) };
    assert_eq!(read, 0, "{}", std::io::Error::last_os_error());
    let after = libc::rlimit { rlim_cur: most.min(before.rlim_max), rlim_max: before.rlim_max };
    // SAFETY: reads limits that live through the call.
    let set =
        unsafe { libc::prlimit(pid.cast_signed(), resource as _, &raw const after, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    before.rlim_cur
}

/// Root may have any number of processes, so nobody of that number does.
fn stop_being_root() {
    const NOBODY: u32 = 61_234;
    // SAFETY: asks only.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: takes a number only.
        assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
        // SAFETY: takes a number only.
        assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
    }
}

fn take_all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn in_child(limit: Option<(Resource, u64)>, work: fn(())) {
    watched(move || {
        let mut builder = Process::builder().limit(Resource::CoreSize, 0);
        if let Some((resource, most)) = limit {
            builder = builder.limit(resource, most);
        }
        builder.spawn(work, ()).unwrap().join().unwrap();
    });
}

fn zygote() -> u32 {
    let of_name = |(pid, name): (u32, String)| (name == "ropewalk-zygote").then_some(pid);
    own_children().into_iter().find_map(of_name).expect("there is a zygote")
}

fn is_process_limit<T>(result: &Result<T, SpawnError>) -> bool {
    matches!(result, Err(SpawnError::Kernel { error, .. }) if error.raw_os_error() == Some(libc::EAGAIN))
}

#[test]
fn at_the_limit_of_processes_starts_fail_with_the_kernels_word_and_a_pool_waits_for_better_times() {
    in_child(None, |()| {
        stop_being_root();
        let before = set_limit(0, libc::RLIMIT_NPROC, 0);
        for method in [StartMethod::Zygote, StartMethod::Exec] {
            let refused = Process::builder().start_method(method).spawn(|n: u32| n, 1);
            assert!(is_process_limit(&refused), "{refused:?}");
        }
        assert!(is_process_limit(&Pool::new(1)));
        set_limit(0, libc::RLIMIT_NPROC, before);
        // Now the one that forks has reached the limit.
        let pool = Pool::new(2).unwrap();
        let pids = pool.map_chunked(|_: u32| std::process::id(), 0..20, 1).unwrap();
        set_limit(zygote(), libc::RLIMIT_NPROC, 0);
        let refused = Process::spawn(|n: u32| n, 1);
        assert!(is_process_limit(&refused), "{refused:?}");
        pool.workers().iter().for_each(|worker| kill(worker.pid));
        let waiting: Vec<_> = (0..10).map(|n| pool.apply_async(|n: u32| n, n).unwrap()).collect();
        assert!(!waiting[9].wait_timeout(Duration::from_millis(400)));
        set_limit(zygote(), libc::RLIMIT_NPROC, before);
        for (n, task) in (0..).zip(waiting) {
            // A worker that was killed may have had one in its hands already.
            match task.get() {
                Ok(value) => assert_eq!(value, n),
                Err(TaskError::WorkerDied { pid, .. }) => assert!(pids.contains(&pid)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(Process::spawn(|n: u32| n, 1).unwrap().join().unwrap(), 1);
    });
}

fn kill(pid: u32) {
    // SAFETY: a process of this test's.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

#[test]
fn a_pool_whose_parent_has_no_descriptors_left_replaces_its_workers_later() {
    in_child(Some((Resource::OpenFiles, 60)), |()| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.map(|n: u32| n, 0..4).unwrap().len(), 4);
        while pool.workers().len() < 2 {
            std::thread::yield_now();
        }
        let taken = take_all_descriptors();
        pool.workers().iter().for_each(|worker| kill(worker.pid));
        while !pool.workers().is_empty() {
            std::thread::yield_now();
        }
        // What a dead worker has left behind is enough for one start, or none.
        let more = take_all_descriptors();
        let waiting: Vec<_> = (0..10).map(|n| pool.apply_async(|n: u32| n + 1, n).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(400));
        drop((taken, more));
        for (n, task) in (0..).zip(waiting) {
            assert_eq!(task.get().unwrap(), n + 1);
        }
        pool.close();
        pool.join().unwrap();
        wait_for_children();
    });
}

#[test]
fn starts_that_fail_for_want_of_descriptors_leave_nothing_behind() {
    in_child(Some((Resource::OpenFiles, 60)), |()| {
        prepare().unwrap();
        assert_eq!(Process::spawn(|n: u32| n, 1).unwrap().join().unwrap(), 1);
        let mut taken = take_all_descriptors();
        let (mut refused, mut done) = (0, 0);
        // From none free to more than enough: a start fails at each of its steps.
        while let Some(file) = taken.pop() {
            drop(file);
            for (method, len) in [
                (StartMethod::Zygote, 1),
                (StartMethod::Exec, 1),
                // Such arguments need a descriptor of their own.
                (StartMethod::Zygote, 100_000),
                (StartMethod::Exec, 100_000),
            ] {
                match Process::builder()
                    .start_method(method)
                    .spawn(|text: String| text.len(), "x".repeat(len))
                {
                    Ok(child) => {
                        assert_eq!(child.join().unwrap(), len);
                        done += 1;
                    }
                    Err(SpawnError::Kernel { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(refused > 4 && done > 4, "{refused} refused, {done} done");
        assert!(children().is_empty());
        wait_for_children();
    });
}

#[test]
fn a_worker_without_descriptors_says_so_and_lives_on() {
    fn leak((): ()) -> usize {
        let taken = take_all_descriptors();
        let count = taken.len();
        std::mem::forget(taken);
        count
    }
    in_child(Some((Resource::OpenFiles, 60)), |()| {
        let pool = Pool::builder(1).initializer(leak, ()).build().unwrap();
        let own = |()| std::process::id();
        let worker = pool.apply(own, ()).unwrap();
        // Large arguments and handles take a descriptor, in the worker as well.
        let large = pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1; 100_000]).unwrap_err();
        assert!(matches!(&large, TaskError::Transfer(text) if text.contains("ulimit")), "{large:?}");
        let (reader, _writer) = std::io::pipe().unwrap();
        let handle = pool.apply(|fd: Fd| drop(fd), Fd::from(OwnedFd::from(reader))).unwrap_err();
        assert!(matches!(&handle, TaskError::Transfer(text) if text.contains("ulimit")), "{handle:?}");
        let queue = Queue::<u32>::bounded(4).unwrap();
        let handle = pool.apply(|queue: Queue<u32>| queue.put(1).unwrap(), queue.clone()).unwrap_err();
        assert!(matches!(&handle, TaskError::Transfer(_)), "{handle:?}");
        let result = pool.apply(|len: usize| vec![1u8; len], 100_000).unwrap_err();
        assert!(matches!(&result, TaskError::Encode(text) if text.contains("open files")), "{result:?}");
        assert_eq!(pool.apply(own, ()).unwrap(), worker, "it was replaced");
        assert!(queue.is_empty());
    });
    watched(|| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let child = Process::builder()
            .limit(Resource::OpenFiles, 5)
            .spawn(
                |fds: Vec<Fd>| fds.len(),
                vec![Fd::from(OwnedFd::from(reader.try_clone().unwrap())), reader.into_fd()],
            )
            .unwrap();
        let ended = child.join();
        assert!(matches!(&ended, Err(ProcessError::SetUp(text)) if text.contains("ulimit")), "{ended:?}");
    });
}

trait IntoFd {
    fn into_fd(self) -> Fd;
}

impl<T: Into<OwnedFd>> IntoFd for T {
    fn into_fd(self) -> Fd {
        Fd::from(self.into())
    }
}

#[test]
fn a_queue_whose_getter_has_no_descriptors_left_gives_an_error_and_the_next_message() {
    in_child(Some((Resource::OpenFiles, 60)), |()| {
        let queue = Queue::<(u32, Option<Queue<u32>>)>::bounded(8).unwrap();
        let inner = Queue::<u32>::bounded(4).unwrap();
        queue.put((1, Some(inner.clone()))).unwrap();
        queue.put((2, None)).unwrap();
        queue.put((3, Some(inner.clone()))).unwrap();
        let taken = take_all_descriptors();
        let error = queue.get().unwrap_err();
        assert!(error.to_string().contains("descriptor"), "{error}");
        assert_eq!(queue.get().unwrap().0, 2);
        drop(taken);
        let (number, handle) = queue.get().unwrap();
        handle.unwrap().put(9).unwrap();
        assert_eq!((number, inner.get()), (3, Ok(9)));
    });
}

/// Is sent as a mutex and a descriptor, and received as bytes and, at first, as a plain descriptor.
enum Disguised {
    Sent(Mutex<u64>, Fd),
    Come(Result<Fd, String>, Vec<u8>),
}

impl Serialize for Disguised {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sent(mutex, fd) => (mutex, fd).serialize(serializer),
            Self::Come(..) => Err(serde::ser::Error::custom("it is sent once")),
        }
    }
}

impl<'de> Deserialize<'de> for Disguised {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Disguised;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Disguised, A::Error> {
                let fd = parts.next_element::<Fd>().map_err(|error| error.to_string());
                let fd = fd.and_then(|fd| fd.ok_or_else(|| "nothing came".to_owned()));
                let bytes = std::iter::from_fn(|| parts.next_element::<u8>().ok().flatten()).collect();
                Ok(Disguised::Come(fd, bytes))
            }
        }
        deserializer.deserialize_tuple(6, Parts)
    }
}

#[test]
fn a_queues_message_whose_descriptors_came_in_part_is_no_value_of_any_type() {
    in_child(Some((Resource::OpenFiles, 60)), |()| {
        let queue = Queue::<Disguised>::bounded(8).unwrap();
        let mutex = Mutex::new(7).unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        for left in 0..3 {
            let fd = reader.try_clone().unwrap().into_fd();
            queue.put(Disguised::Sent(mutex.clone(), fd)).unwrap_or_else(|error| panic!("{error}"));
            let mut taken = take_all_descriptors();
            taken.truncate(taken.len() - left);
            let got = queue.get();
            drop(taken);
            match got {
                Err(GetError::Decode(error)) => {
                    assert!(left < 2 && error.to_string().contains("ulimit -n"), "{left} left: {error}");
                }
                // The mutex's memory is no plain descriptor.
                Ok(Disguised::Come(Err(_), _)) if left == 2 => {}
                Ok(Disguised::Come(fd, bytes)) => panic!("{left} left: {fd:?} {bytes:?}"),
                other => panic!("{left} left: {:?}", other.map(drop)),
            }
        }
    });
}

#[test]
fn without_memory_objects_are_refused_with_an_error() {
    in_child(None, |()| {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let used: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        let room = used * 4096 + (64 << 20);
        let before = set_limit(0, libc::RLIMIT_AS, room);
        let queue = Queue::<u32>::with_ring(4, 256 << 20);
        assert_eq!(queue.unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        assert!(Region::new(256 << 20).is_err());
        let small = Queue::<u32>::bounded(4).unwrap();
        small.put(1).unwrap();
        set_limit(0, libc::RLIMIT_AS, before);
        assert_eq!(Queue::<u32>::with_ring(4, 32 << 20).unwrap().len(), 0);
        // More than any machine has: refused before all memory is taken.
        let error = Region::new(1 << 46).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory, "{error}");
        let error = Queue::<u32>::with_ring(4, 1 << 36).map(|queue| queue.len());
        assert!(matches!(&error, Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory), "{error:?}");
    });
}

#[test]
fn a_parent_that_has_no_memory_for_a_result_gets_an_error_for_that_task() {
    in_child(None, |()| {
        let pool = Pool::new(1).unwrap();
        let large = |len: usize| "7".repeat(len);
        assert_eq!(pool.apply(large, 1_000_000).unwrap().len(), 1_000_000);
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let used: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        let before = set_limit(0, libc::RLIMIT_AS, used * 4096 + (40 << 20));
        let error = pool.apply(large, 60 << 20).unwrap_err();
        assert!(matches!(error, TaskError::Transfer(_)), "{error:?}");
        assert_eq!(pool.apply(large, 10).unwrap().len(), 10);
        set_limit(0, libc::RLIMIT_AS, before);
        assert_eq!(pool.apply(large, 1_000_000).unwrap().len(), 1_000_000);
    });
}

#[test]
fn a_limit_on_the_length_of_files_is_an_error_and_no_signal() {
    in_child(None, |()| {
        let pool = Pool::new(1).unwrap();
        let (here, _there) = pipe::<Vec<u8>, ()>().unwrap();
        let before = set_limit(0, libc::RLIMIT_FSIZE, 100_000);
        let too_large = |error: std::io::Error| error.raw_os_error() == Some(libc::EFBIG);
        assert!(too_large(Queue::<u32>::with_ring(4, 1 << 20).map(drop).unwrap_err()));
        assert!(too_large(Region::new(1 << 20).map(drop).unwrap_err()));
        assert!(here.send(&vec![1; 200_000]).is_err());
        let unsent = pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1; 200_000]);
        assert!(matches!(unsent, Err(TaskError::Transfer(_))), "{unsent:?}");
        assert_eq!(pool.apply(|n: u32| n, 3).unwrap(), 3);
        set_limit(0, libc::RLIMIT_FSIZE, before);
        assert_eq!(pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1; 200_000]).unwrap(), 200_000);
    });
    watched(|| {
        let child = Process::builder()
            .limit(Resource::FileSize, 1_000)
            .spawn(|len: usize| vec![1u8; len], 200_000)
            .unwrap();
        let ended = child.join();
        assert!(matches!(ended, Err(ProcessError::Encode(_))), "{ended:?}");
        // A file of the child's own is another matter: the kernel's signal is the user's wish.
        let write = |()| {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .open("/dev/shm/ropewalk-limit");
            let file = file.unwrap();
            std::fs::remove_file("/dev/shm/ropewalk-limit").unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 2_000], 0).unwrap();
        };
        let child = Process::builder()
            .limit(Resource::FileSize, 1_000)
            .limit(Resource::CoreSize, 0)
            .stderr(Stdio::Null)
            .spawn(write, ())
            .unwrap();
        let ended = child.join();
        // A part is written first, the rest is refused.
        assert!(matches!(ended, Err(ProcessError::Signalled(libc::SIGXFSZ))), "{ended:?}");
    });
}
