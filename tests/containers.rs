//! What containers and old kernels refuse: each system call younger than Linux 5.4, by a seccomp filter, in a child.
//!
//! A filter is for ever, and for all that the process starts, so each case is a process of its own.
#![allow(missing_docs, reason = "tests")]

mod common;
#[path = "common/refusal.rs"]
mod refusal;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::watched;
use refusal::Refused::{self, Call, Flag, From, With};
use refusal::{refuse, refuse_here};
use ropewalk::process::{Pool, Process, Queue};

const FUTEX_WAITV: i64 = 449;
/// The first call that is younger than Linux 5.4; from there on all machines have the same numbers.
const FIRST_YOUNGER: i64 = 436;
const MADV_GUARD_INSTALL: u32 = 102;
const CLONE_NEW: u32 = 0x7e02_0000;
const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;

/// Names for the calls that are refused, and the word in an error where there is no other way.
const CALLS: &[(&str, &[Refused], Option<&str>)] = &[
    ("clone3", &[Call(libc::SYS_clone3)], None),
    ("a clone for the parent", &[Flag(libc::SYS_clone, 0, libc::CLONE_PARENT as u32)], None),
    ("kcmp", &[Call(libc::SYS_kcmp)], None),
    ("epoll_pwait2", &[Call(libc::SYS_epoll_pwait2)], None),
    ("preadv2", &[Call(libc::SYS_preadv2), Call(libc::SYS_pwritev2)], None),
    ("pidfd_open", &[Call(libc::SYS_pidfd_open)], Some("pidfd_open")),
    ("pidfd_send_signal", &[Call(libc::SYS_pidfd_send_signal)], None),
    ("futex_waitv", &[Call(FUTEX_WAITV)], None),
    ("close_range", &[Call(libc::SYS_close_range)], None),
    ("openat2", &[Call(libc::SYS_openat2)], None),
    ("statx", &[Call(libc::SYS_statx)], None),
    ("faccessat2", &[Call(libc::SYS_faccessat2)], None),
    ("copy_file_range", &[Call(libc::SYS_copy_file_range)], None),
    ("process_madvise", &[Call(libc::SYS_process_madvise)], None),
    ("guards by madvise", &[With(libc::SYS_madvise, 2, MADV_GUARD_INSTALL)], None),
    ("memory wiped at a fork", &[With(libc::SYS_madvise, 2, libc::MADV_WIPEONFORK as u32)], None),
    ("get_robust_list", &[Call(libc::SYS_get_robust_list)], None),
];

/// Docker's default profile for a program without capabilities, as far as a program on this machine may meet it: flags of
/// `clone3` cannot be looked at, so it does not exist.
const DOCKER: &[(Refused, i32)] = &[
    (Call(libc::SYS_clone3), ENOSYS),
    (Flag(libc::SYS_clone, 0, CLONE_NEW), EPERM),
    (Call(libc::SYS_kcmp), EPERM),
    (Call(libc::SYS_pidfd_getfd), EPERM),
    (Call(libc::SYS_process_madvise), EPERM),
    (Call(libc::SYS_io_uring_setup), EPERM),
    (Call(libc::SYS_io_uring_enter), EPERM),
    (Call(libc::SYS_io_uring_register), EPERM),
    (Call(libc::SYS_add_key), EPERM),
    (Call(libc::SYS_request_key), EPERM),
    (Call(libc::SYS_keyctl), EPERM),
    (Call(libc::SYS_unshare), EPERM),
    (Call(libc::SYS_setns), EPERM),
    (Call(libc::SYS_mount), EPERM),
    (Call(libc::SYS_bpf), EPERM),
    (Call(libc::SYS_perf_event_open), EPERM),
    (Call(libc::SYS_userfaultfd), EPERM),
    (Call(libc::SYS_mbind), EPERM),
    (Call(libc::SYS_get_mempolicy), EPERM),
    (Call(libc::SYS_set_mempolicy), EPERM),
];

/// A profile that is older than what it refuses: all calls that it does not know.
const OLD_PROFILE: &[(Refused, i32)] = &[
    (Call(libc::SYS_clone3), ENOSYS),
    (Call(libc::SYS_kcmp), EPERM),
    (Call(libc::SYS_statx), EPERM),
    (From(FIRST_YOUNGER), EPERM),
];

/// Linux 5.4, as far as a filter can be it.
const OLD_KERNEL: &[(Refused, i32)] =
    &[(From(FIRST_YOUNGER), ENOSYS), (With(libc::SYS_madvise, 2, MADV_GUARD_INSTALL), libc::EINVAL)];

fn core() {
    let (sender, receiver) = ropewalk::channel::bounded(2);
    let naps = (0..20u64).map(|n| {
        let sender = sender.clone();
        ropewalk::spawn(move || {
            ropewalk::sleep(Duration::from_micros(300));
            sender.send(n).unwrap();
        })
    });
    let naps: Vec<_> = naps.collect();
    assert_eq!(receiver.iter().take(20).sum::<u64>(), 190);
    ropewalk::join_all(naps).into_iter().for_each(|nap| nap.unwrap());
    let began = Instant::now();
    assert!(ropewalk::timeout(Duration::from_millis(5), ropewalk::park).is_err());
    assert!(began.elapsed() >= Duration::from_millis(5));
}

fn sockets() {
    let listener = ropewalk::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ropewalk::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            ropewalk::sleep(Duration::from_millis(2));
            stream.write_all(b"native").unwrap();
        });
        let mut text = String::new();
        ropewalk::net::TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "native");
    });
}

fn replaced_calls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = ropewalk::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        stream.write_all(b"plain").unwrap();
    });
    let mut text = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "plain");
    server.join().unwrap();
    let output = Command::new("echo").arg("word").output().unwrap();
    assert_eq!(output.stdout, b"word\n");
    assert!(Command::new("true").status().unwrap().success());
    let name = std::env::temp_dir().join(format!("ropewalk-containers-{}", std::process::id()));
    std::fs::write(&name, "text").unwrap();
    assert_eq!(std::fs::metadata(&name).unwrap().len(), 4);
    let copy = name.with_extension("copy");
    std::fs::copy(&name, &copy).unwrap();
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "text");
    std::fs::remove_file(&copy).unwrap();
    std::fs::remove_file(&name).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let writes = ropewalk::spawn(move || {
        std::thread::sleep(Duration::from_millis(2));
        writer.write_all(b"piped").unwrap();
    });
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "piped");
    writes.join().unwrap();
    let (mut reader, _writer) = std::io::pipe().unwrap();
    let late = ropewalk::timeout(Duration::from_millis(5), move || reader.read(&mut [0; 4]));
    assert!(late.is_err(), "{late:?}");
}

/// Names that lead to proc without beginning there are the calling thread's own. Runs on the only worker.
fn hidden_names() {
    // SAFETY: takes nothing.
    let own = unsafe { libc::gettid() };
    let link = std::env::temp_dir().join(format!("ropewalk-link-{}", std::process::id()));
    std::os::unix::fs::symlink("/proc/thread-self/stat", &link).unwrap();
    let stat = std::fs::read_to_string(&link);
    std::fs::remove_file(&link).unwrap();
    let stat = stat.unwrap();
    assert_eq!(stat.split(' ').next(), Some(&*own.to_string()), "another thread's: {stat}");
}

/// Starts processes in each way; what went wrong first.
fn processes() -> Result<(), String> {
    fn text(error: impl ToString) -> String {
        error.to_string()
    }
    let child = Process::spawn(|n: u32| n + 1, 1).map_err(text)?;
    assert_eq!(child.join().map_err(text)?, 2);
    let child = Process::spawn(|()| std::thread::park(), ()).map_err(text)?;
    child.kill().map_err(text)?;
    assert!(child.join().is_err());
    let pool = Pool::builder(2).start_timeout(Duration::from_secs(20)).build().map_err(text)?;
    assert_eq!(pool.map(|n: u32| n * 2, 0..50).map_err(text)?.iter().sum::<u32>(), 2450);
    pool.terminate();
    let queue = Queue::<u32>::bounded(4).map_err(text)?;
    let puts = |queue: Queue<u32>| (0..100).for_each(|n| queue.put(n).unwrap());
    let child = Process::spawn(puts, queue.clone()).map_err(text)?;
    // By coroutines, which wait for shared memory in another way than threads.
    let gets = ropewalk::spawn(move || (0..100).map(|_| queue.get().unwrap()).sum::<u32>());
    assert_eq!(gets.join().unwrap(), 4950);
    child.join().map_err(text)?;
    Ok(())
}

/// In a child: tries everything that is not refused.
fn try_all(expected: Option<&str>) {
    watched(core);
    watched(sockets);
    watched(|| ropewalk::spawn(core).join().unwrap());
    watched(|| ropewalk::spawn(sockets).join().unwrap());
    let outcome = watched(processes);
    match (&outcome, expected) {
        (Ok(()), None) => {}
        (Err(text), Some(word)) if text.contains(word) => {}
        _ => panic!("processes: {outcome:?}, expected {expected:?}"),
    }
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        ropewalk::spawn(replaced_calls).join().unwrap();
    });
    watched(|| ropewalk::Runtime::builder().workers(1).build().unwrap().run(hidden_names));
}

/// Runs a test of this program again as a child, which finds `name` in `REFUSED`, where system calls are refused.
fn run_refusing(test: &str, name: &str, refused: &[(Refused, i32)]) -> Result<(), String> {
    let set = |command: &mut Command| {
        command.env("REFUSED", name);
        refuse(command, refused);
    };
    let output = common::child_with(test, set).expect("the parent runs this");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn each_is_survived(test: &str, error: i32) {
    if let Ok(name) = std::env::var("REFUSED") {
        let (.., expected) = CALLS.iter().find(|(known, ..)| *known == name).expect("a known call");
        return try_all(*expected);
    }
    let run = |(name, refused, _): &(&str, &[Refused], _)| {
        let refused: Vec<_> = refused.iter().map(|what| (*what, error)).collect();
        run_refusing(test, name, &refused).err()
    };
    // glibc goes on to the older call after ENOSYS only: see the test of threads below.
    let calls = CALLS.iter().filter(|(name, ..)| (*name, error) != ("clone3", EPERM));
    let failed: Vec<_> = calls.filter_map(run).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Runs a test of this program again where system calls are refused; true in the program that is to do the test's work.
fn is_refused(test: &str, refused: &[(Refused, i32)]) -> bool {
    let is_child = std::env::var_os("REFUSED").is_some();
    if !is_child {
        run_refusing(test, "all", refused).unwrap_or_else(|failed| panic!("{failed}"));
    }
    is_child
}

#[test]
fn a_call_that_does_not_exist_is_replaced_or_named() {
    each_is_survived("a_call_that_does_not_exist_is_replaced_or_named", ENOSYS);
}

#[test]
fn a_call_that_is_not_permitted_is_replaced_or_named() {
    each_is_survived("a_call_that_is_not_permitted_is_replaced_or_named", EPERM);
}

#[test]
fn all_works_under_the_default_profile_of_docker() {
    if is_refused("all_works_under_the_default_profile_of_docker", DOCKER) {
        try_all(None);
    }
}

#[test]
fn all_works_under_a_profile_that_is_older_than_the_kernel() {
    if is_refused("all_works_under_a_profile_that_is_older_than_the_kernel", OLD_PROFILE) {
        try_all(None);
    }
}

#[test]
fn all_works_on_the_oldest_kernel() {
    if is_refused("all_works_on_the_oldest_kernel", OLD_KERNEL) {
        try_all(None);
    }
}

#[test]
fn where_the_c_library_can_start_no_thread_the_error_says_what_the_filter_has_to_answer() {
    let test = "where_the_c_library_can_start_no_thread_the_error_says_what_the_filter_has_to_answer";
    if !is_refused(test, &[]) {
        return;
    }
    // The test harness has started a thread for this.
    refuse_here(&[(Call(libc::SYS_clone3), EPERM)]);
    if std::thread::Builder::new().spawn(|| ()).is_ok() {
        // A C library that does not use it.
        return try_all(None);
    }
    let runtime = ropewalk::Runtime::builder().workers(1).build().map(drop).unwrap_err();
    assert!(runtime.to_string().contains("clone3"), "{runtime}");
    let process = Process::spawn(|n: u32| n, 1).map(drop).unwrap_err();
    assert!(process.to_string().contains("clone3"), "{process}");
}

#[test]
fn a_template_that_is_stopped_is_replaced_where_only_its_number_can_be_signalled() {
    let test = "a_template_that_is_stopped_is_replaced_where_only_its_number_can_be_signalled";
    if !is_refused(test, &[(Call(libc::SYS_pidfd_send_signal), EPERM)]) {
        return;
    }
    watched(|| {
        let parent = |()| std::os::unix::process::parent_id();
        assert_eq!(Process::spawn(parent, ()).unwrap().join().unwrap(), std::process::id());
        let name_of = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let task = format!("/proc/self/task/{}/children", keeper());
        let children = std::fs::read_to_string(task).unwrap();
        let mut children = children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap());
        let template =
            children.find(|pid| name_of(*pid) == "ropewalk-zygote\n").expect("there is a template");
        // SAFETY: a process of this test's.
        assert_eq!(unsafe { libc::kill(template.cast_signed(), libc::SIGSTOP) }, 0);
        assert_eq!(Process::spawn(parent, ()).unwrap().join().unwrap(), std::process::id());
        assert!(!std::path::Path::new(&format!("/proc/{template}")).exists());
    });
}

/// The thread that starts processes.
fn keeper() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap();
    let keeper = tasks.into_iter().find(|task| name(task) == "ropewalk-keeper\n").expect("there is a keeper");
    keeper.file_name().into_string().unwrap()
}
