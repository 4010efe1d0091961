//! What containers and old kernels refuse: each system call younger than Linux 5.4, by a seccomp filter, in a child.
//!
//! A filter is for ever, and for all that the process starts, so each case is a process of its own.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::watched;
use ropewalk::process::{Pool, Process, Queue};

const FUTEX_WAITV: i64 = 449;

/// Names for the calls that are refused, and the word in an error where there is no other way.
const CALLS: &[(&str, &[i64], Option<&str>)] = &[
    ("clone3", &[libc::SYS_clone3], None),
    ("kcmp", &[libc::SYS_kcmp], None),
    ("epoll_pwait2", &[libc::SYS_epoll_pwait2], None),
    ("preadv2", &[libc::SYS_preadv2, libc::SYS_pwritev2], None),
    ("pidfd_open", &[libc::SYS_pidfd_open], Some("pidfd_open")),
    ("pidfd_send_signal", &[libc::SYS_pidfd_send_signal], None),
    ("futex_waitv", &[FUTEX_WAITV], None),
    ("close_range", &[libc::SYS_close_range], None),
    ("openat2", &[libc::SYS_openat2], None),
    ("faccessat2", &[libc::SYS_faccessat2], None),
    ("copy_file_range", &[libc::SYS_copy_file_range], None),
];

/// Refuses system calls of this process, and of all that it starts, with an error number.
fn refuse(calls: &[i64], error: i32) {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for number in calls {
        filter.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *number as u32));
        filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program lives through the call, which copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

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

/// In a child: refuses what the environment says, and tries everything.
fn try_all(name: &str) {
    let error = std::env::var("REFUSE_WITH").unwrap().parse().unwrap();
    let by_name = |name: &str| CALLS.iter().find(|(known, ..)| *known == name).expect("a known call");
    if name == "docker" {
        // Its profile for users without rights: the flags of clone3 cannot be looked at, so it does not exist.
        refuse(by_name("clone3").1, libc::ENOSYS);
        refuse(by_name("kcmp").1, libc::EPERM);
    } else {
        refuse(by_name(name).1, error);
    }
    watched(core);
    watched(sockets);
    watched(|| ropewalk::spawn(core).join().unwrap());
    watched(|| ropewalk::spawn(sockets).join().unwrap());
    let expected = if name == "docker" { None } else { by_name(name).2 };
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
}

fn each_is_survived(test: &str, error: i32) {
    if let Ok(name) = std::env::var("REFUSE") {
        return try_all(&name);
    }
    let mut failed = Vec::new();
    for (name, ..) in CALLS {
        if (*name, error) == ("clone3", libc::EPERM) {
            // glibc itself goes on with the older call after ENOSYS only: no program starts a thread there.
            continue;
        }
        let set =
            |command: &mut Command| _ = command.env("REFUSE", name).env("REFUSE_WITH", error.to_string());
        let output = common::child_with(test, set).expect("the parent runs this");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            failed.push(format!("{name}: {}\n{said}", output.status));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_call_that_does_not_exist_is_replaced_or_named() {
    each_is_survived("a_call_that_does_not_exist_is_replaced_or_named", libc::ENOSYS);
}

#[test]
fn a_call_that_is_not_permitted_is_replaced_or_named() {
    each_is_survived("a_call_that_is_not_permitted_is_replaced_or_named", libc::EPERM);
}

#[test]
fn all_works_under_the_default_profile_of_docker() {
    let test = "all_works_under_the_default_profile_of_docker";
    if std::env::var_os("REFUSE").is_some() {
        return try_all("docker");
    }
    let set = |command: &mut Command| _ = command.env("REFUSE", "docker").env("REFUSE_WITH", "0");
    let output = common::child_with(test, set).expect("the parent runs this");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
