//! Calls on files and names, on coroutines: made in place, or by a thread that does the same.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{child, on_one_worker};
use ropewalk::monkey;
use ropewalk::shm::Region;
use ropewalk::sync::Event;

/// A directory on a disk, if the machine has one at hand, that is removed with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn offloads(name: &str) -> u64 {
    monkey::status().iter().filter(|symbol| symbol.name() == name).map(|symbol| symbol.offloads()).sum()
}

fn passed(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
}

fn limit_length_of_files(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: reads a limit that lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn memory_beyond_the_limit_on_files_is_an_error_on_a_coroutine() {
    if let Some(output) = child("memory_beyond_the_limit_on_files_is_an_error_on_a_coroutine") {
        return passed(&output);
    }
    on_one_worker(|| {
        // A thread of the pool, which blocks no signal.
        fs::create_dir_all(std::env::temp_dir()).unwrap();
        limit_length_of_files(4096);
        assert_eq!(Region::new(1 << 20).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        let (here, _there) = ropewalk::process::pipe::<Vec<u8>, ()>().unwrap();
        assert!(here.send(&vec![0; 1 << 20]).is_err());
    });
}

#[test]
fn a_signal_that_the_caller_has_blocked_ends_nobody_and_waits_for_the_caller() {
    if let Some(output) = child("a_signal_that_the_caller_has_blocked_ends_nobody_and_waits_for_the_caller") {
        return passed(&output);
    }
    on_one_worker(|| {
        let scratch = Scratch::new("limit");
        let file = File::create(scratch.0.join("long")).unwrap();
        limit_length_of_files(4096);
        // SAFETY: all zeros is a set of signals.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: a set, and a signal.
        unsafe { libc::sigaddset(&raw mut set, libc::SIGXFSZ) };
        // SAFETY: a set that lives through the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        let before = offloads("ftruncate") + offloads("ftruncate64");
        assert_eq!(file.set_len(1 << 20).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        assert_eq!(offloads("ftruncate") + offloads("ftruncate64"), before + 1);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a set and a time that live through the call.
        let taken = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const now) };
        assert_eq!(taken, libc::SIGXFSZ);
    });
}

#[test]
fn a_buffered_write_is_made_in_place_and_a_synchronous_one_is_not() {
    let (buffered, synchronous, later) = on_one_worker(|| {
        let scratch = Scratch::new("log");
        let count = |f: &mut dyn FnMut()| {
            let before = offloads("write") + offloads("pwrite64") + offloads("writev");
            f();
            offloads("write") + offloads("pwrite64") + offloads("writev") - before
        };
        let mut log = OpenOptions::new().create(true).append(true).open(scratch.0.join("log")).unwrap();
        let mut safe = File::options();
        let mut safe =
            safe.create(true).write(true).custom_flags(libc::O_DSYNC).open(scratch.0.join("safe")).unwrap();
        let mut turned = File::create(scratch.0.join("turned")).unwrap();
        let buffered = count(&mut || {
            for _ in 0..200 {
                log.write_all(&[b'x'; 100]).unwrap();
                log.write_at(&[b'y'; 10], 5).unwrap();
                let both = [std::io::IoSlice::new(b"a"), std::io::IoSlice::new(b"b")];
                assert_eq!(log.write_vectored(&both).unwrap(), 2);
                turned.write_all(b"z").unwrap();
            }
        });
        let synchronous = count(&mut || safe.write_all(b"at once").unwrap());
        // SAFETY: an open file, and flags.
        unsafe { libc::fcntl(turned.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) };
        let later = count(&mut || drop(turned.write(b"no block")));
        assert_eq!(log.metadata().unwrap().len(), 200 * 112);
        (buffered, synchronous, later)
    });
    // A file system in memory never waits, whatever the flags. A slow write sends those of the next second away.
    let is_disk = synchronous > 0;
    println!("buffered {buffered}, synchronous {synchronous}, direct {later}");
    assert!(buffered < 800, "{buffered} of 800 writes were made by another thread");
    assert!(!is_disk || later > 0);
}

fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// What a user who is nobody may do with a private file and directory, and who owns what is made meanwhile.
fn as_nobody(folder: &std::path::Path, become_nobody: fn(), return_to_root: fn()) {
    let secret = folder.join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let private = folder.join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    become_nobody();
    let opened = File::open(&secret).map(drop);
    let listed = fs::read_dir(&private).map(drop);
    let looked = fs::metadata(private.join("x")).map(drop);
    let removed = fs::remove_dir(private.join("y"));
    let made = File::create(folder.join("new"));
    return_to_root();
    for refused in [opened, listed, looked, removed] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    assert_eq!(made.unwrap().metadata().unwrap().uid(), 65534);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}

#[test]
fn files_are_opened_with_the_file_system_user_of_the_calling_thread() {
    if !is_root() {
        println!("skipped: only root changes its user");
        return;
    }
    on_one_worker(|| {
        let scratch = Scratch::new("fsuid");
        fn user(user: u32) {
            // SAFETY: takes a number.
            unsafe { libc::setfsuid(user) };
        }
        as_nobody(&scratch.0, || user(65534), || user(0));
        // No other test makes a link.
        let before = offloads("link") + offloads("linkat");
        fs::hard_link(scratch.0.join("secret"), scratch.0.join("again")).unwrap();
        assert_eq!(
            offloads("link") + offloads("linkat"),
            before + 1,
            "with its own user again, a thread makes the call"
        );
    });
}

/// The file system users that as many jobs on threads of their own find, all at the same time.
fn users_of_jobs(count: usize) -> Vec<i32> {
    let (all, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::new()));
    let jobs: Vec<_> = (0..count)
        .map(|_| {
            let (all, go) = (Arc::clone(&all), Arc::clone(&go));
            ropewalk::thread::spawn_blocking(move || {
                all.fetch_add(1, Ordering::SeqCst);
                go.wait();
                // SAFETY: takes a number, which is no user, so that nothing changes.
                unsafe { libc::setfsuid(u32::MAX) }
            })
        })
        .collect();
    while all.load(Ordering::SeqCst) < count {
        ropewalk::yield_now();
    }
    go.set();
    jobs.into_iter().map(|job| job.get().unwrap()).collect()
}

#[test]
fn a_thread_that_is_started_with_rights_of_its_own_serves_nobody_else() {
    if !is_root() {
        println!("skipped: only root changes its user");
        return;
    }
    on_one_worker(|| {
        // SAFETY: takes a number.
        unsafe { libc::setfsuid(65534) };
        let meanwhile = users_of_jobs(40);
        // SAFETY: as above.
        unsafe { libc::setfsuid(0) };
        assert_eq!(meanwhile, [65534; 40], "jobs have the rights of whoever gives them");
        assert_eq!(users_of_jobs(60), [0; 60], "rights were passed on");
    });
}

#[test]
fn what_the_only_thread_has_changed_for_good_holds_for_all() {
    if let Some(output) = child("what_the_only_thread_has_changed_for_good_holds_for_all") {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    if fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        println!("skipped: this test program has more threads");
        return;
    }
    // SAFETY: takes flags.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_FS) }, 0);
    monkey::patch_all().unwrap();
    let scratch = Scratch::new("alone");
    let path = scratch.0.join("made");
    // Made by this thread, and so by one that is like it.
    let made = common::runtime(1).run(move || {
        let before = offloads("mkdir");
        fs::create_dir(path).unwrap();
        offloads("mkdir") - before
    });
    assert_eq!(made, 1, "the worker makes the call itself");
}

#[test]
fn the_workers_of_a_runtime_have_the_rights_of_the_thread_that_makes_it() {
    if !is_root() {
        println!("skipped: only root changes its user");
        return;
    }
    let scratch = Scratch::new("workers");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
    let first = scratch.0.join("first");
    // By a thread that is there when the other runtime needs one.
    on_one_worker(move || File::create(first).map(drop).unwrap());
    let made = scratch.0.join("made");
    let own = made.clone();
    let makes = move || {
        // SAFETY: takes a number.
        unsafe { libc::setfsuid(65534) };
        common::runtime(1).run(move || File::create(own).map(drop).unwrap());
    };
    std::thread::spawn(makes).join().unwrap();
    assert_eq!(fs::metadata(made).unwrap().uid(), 65534);
}

#[test]
fn files_are_opened_with_the_user_that_a_system_call_has_set() {
    if !is_root() {
        println!("skipped: only root changes its user");
        return;
    }
    on_one_worker(|| {
        let scratch = Scratch::new("resuid");
        fn user(effective: u32) {
            const SAME: u32 = u32::MAX;
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, SAME, effective, SAME) }, 0);
        }
        as_nobody(&scratch.0, || user(65534), || user(0));
    });
}

#[test]
fn a_thread_with_a_directory_of_its_own_resolves_names_from_there() {
    if !is_root() {
        println!("skipped: a working directory of its own is tried as root");
        return;
    }
    on_one_worker(|| {
        let scratch = Scratch::new("unshare");
        fs::write(scratch.0.join("here"), "here").unwrap();
        // SAFETY: takes flags.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FS) }, 0);
        std::env::set_current_dir(&scratch.0).unwrap();
        fs::create_dir("made").unwrap();
        assert_eq!(fs::read_to_string("here").unwrap(), "here");
        assert!(scratch.0.join("made").is_dir());
    });
}

#[test]
fn an_open_that_waits_for_the_other_end_of_a_pipe_holds_nobody_up() {
    on_one_worker(|| {
        let scratch = Scratch::new("fifo");
        let path = scratch.0.join("pipe");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a name that lives through the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(fs::metadata(&path).is_ok());
        let reader = ropewalk::spawn({
            let path = path.clone();
            move || fs::read_to_string(path).unwrap()
        });
        ropewalk::yield_now();
        fs::write(&path, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
    });
}

#[test]
fn names_of_the_calling_thread_are_those_of_the_worker() {
    on_one_worker(|| {
        // SAFETY: takes nothing.
        let own = unsafe { libc::syscall(libc::SYS_gettid) };
        let pid = |path: &str| -> i64 {
            let text = fs::read_to_string(path).unwrap();
            text.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().parse().unwrap()
        };
        for _ in 0..2 {
            assert_eq!(pid("/proc/thread-self/status"), own);
            assert_eq!(pid("//proc/./thread-self/status"), own);
            assert!(fs::read_link("/proc/thread-self").unwrap().ends_with(own.to_string()));
            let real = fs::canonicalize("/proc/thread-self").unwrap();
            assert!(real.ends_with(own.to_string()), "{real:?}");
            let files = fs::read_dir("/proc/thread-self/task").map(drop);
            assert!(files.is_err(), "a thread has no threads");
            assert!(fs::metadata(format!("/proc/self/task/{own}/status")).is_ok());
        }
        fs::write("/proc/thread-self/comm", "renamed").unwrap();
        let name = fs::read_to_string(format!("/proc/self/task/{own}/comm")).unwrap();
        assert_eq!(name, "renamed\n");
        let scratch = Scratch::new("thread-self");
        std::os::unix::fs::symlink("/proc/thread-self", scratch.0.join("me")).unwrap();
        let path = scratch.0.join("me/status");
        assert_eq!(pid(path.to_str().unwrap()), own, "through a link in another file system");
        std::env::set_current_dir("/proc").unwrap();
        assert_eq!(pid("thread-self/status"), own);
        std::env::set_current_dir("/").unwrap();
        assert_eq!(pid("proc/thread-self/status"), own);
    });
}

#[test]
fn what_is_cached_is_looked_up_in_place() {
    let count = |name: &'static str, f: &dyn Fn()| {
        let before = offloads(name);
        f();
        offloads(name) - before
    };
    on_one_worker(move || {
        let scratch = Scratch::new("cached");
        let path = scratch.0.join("file");
        fs::write(&path, "text").unwrap();
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink("file", &link).unwrap();
        let warm = || {
            fs::metadata(&path).unwrap();
            fs::read_to_string(&path).unwrap();
            fs::read_link(&link).unwrap();
        };
        warm();
        let stats = count("statx", &|| {
            for _ in 0..100 {
                assert_eq!(fs::metadata(&path).unwrap().len(), 4);
                assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            }
        });
        let opens = count("open64", &|| {
            for _ in 0..100 {
                assert_eq!(fs::read_to_string(&path).unwrap(), "text");
                assert_eq!(fs::read_to_string(&link).unwrap(), "text");
            }
        });
        let links = count("readlink", &|| {
            for _ in 0..100 {
                assert_eq!(fs::read_link(&link).unwrap(), std::path::Path::new("file"));
            }
        });
        println!("by another thread: {stats} of 200 stats, {opens} of 200 opens, {links} of 100 links");
        // A kernel before 5.12 has no such look-up. The cache may lose an entry at any moment.
        assert!(!has_cached_lookup() || (stats < 20 && opens < 20 && links < 20));
        let file = File::open(&path).unwrap();
        // SAFETY: an open file.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "the user has not asked for it");
    });
}

fn has_cached_lookup() -> bool {
    let how = [(libc::O_PATH | libc::O_CLOEXEC) as u64, 0, 0x20];
    // SAFETY: a name and three words that live through the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), how.as_ptr(), 24) };
    if fd >= 0 {
        // SAFETY: opened above.
        unsafe { libc::close(fd as i32) };
    }
    fd >= 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}
