//! Processes: values, errors, set-up, and what holds when one is killed.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{on_workers, watched};
use ropewalk::process::{
    self, Fd, Process, ProcessError, Resource, SpawnError, StartMethod, Stdio, children, current,
};
use serde::{Deserialize, Serialize};

const METHODS: [StartMethod; 2] = [StartMethod::Zygote, StartMethod::Exec];

static GLOBAL: AtomicU32 = AtomicU32::new(1);

fn sleep_long((): ()) {
    std::thread::sleep(Duration::from_secs(3600));
}

#[test]
fn a_value_comes_back_and_globals_are_not_shared() {
    watched(|| {
        for method in METHODS {
            let raise = |by: u32| GLOBAL.fetch_add(by, Ordering::SeqCst) + by;
            let child = Process::builder().start_method(method).spawn(raise, 41).unwrap();
            assert_ne!(child.pid(), std::process::id());
            assert_eq!(child.join().unwrap(), 42);
            assert_eq!(GLOBAL.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn waiting_leaves_the_worker_to_others() {
    on_workers(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        let wait_for_end = |fd: Fd| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::PipeReader::from(OwnedFd::from(fd)), &mut text)
                .unwrap();
            7
        };
        let child = Process::spawn(wait_for_end, Fd::from(OwnedFd::from(reader))).unwrap();
        let joiner = ropewalk::spawn(move || child.join().unwrap());
        ropewalk::yield_now();
        // On one worker this is reached only because the joiner has left it.
        drop(writer);
        assert_eq!(joiner.join().unwrap(), 7);
    });
}

#[test]
fn large_arguments_and_results_travel() {
    watched(|| {
        let double = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
        let child = Process::spawn(double, vec![7; 3_000_000]).unwrap();
        assert_eq!(child.join().unwrap().len(), 6_000_000);
    });
}

#[derive(Debug, Serialize, Deserialize)]
struct Picky(#[serde(serialize_with = "refuse")] u8);

fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("never"))
}

#[test]
fn every_way_to_fail_is_told() {
    watched(|| {
        let exited = Process::spawn(|()| std::process::exit(3), ()).unwrap().join();
        assert!(matches!(exited, Err::<(), _>(ProcessError::Exited(3))), "{exited:?}");
        let aborted = Process::spawn(|()| std::process::abort(), ()).unwrap().join();
        assert!(matches!(aborted, Err::<(), _>(ProcessError::Signalled(libc::SIGABRT))), "{aborted:?}");
        let panicked = Process::builder().stderr(Stdio::Null).spawn(|n: u8| assert_eq!(n, 2), 1).unwrap();
        let pid = panicked.pid();
        assert!(panicked.wait().is_ok() && panicked.exit_status().unwrap().code() == Some(101));
        let panicked = panicked.join().unwrap_err();
        assert!(matches!(&panicked, ProcessError::Panicked { message, .. } if message.contains("left: 1")));
        assert!(children().iter().all(|child| child.pid != pid));
        assert!(matches!(Process::spawn(|_: Picky| (), Picky(1)), Err(SpawnError::Encode(_))));
        let result = Process::spawn(|()| Picky(1), ()).unwrap().join();
        assert!(matches!(result, Err(ProcessError::Encode(_))), "{result:?}");
        let deep = Process::builder().stderr(Stdio::Null).spawn(|n: u64| overflow(n), 0).unwrap().join();
        assert!(matches!(deep, Err(ProcessError::Signalled(_))), "{deep:?}");
    });
}

#[inline(never)]
fn overflow(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    if n == u64::MAX { 0 } else { overflow(n + 1) + frame[(n % 64) as usize] }
}

#[test]
fn a_process_can_be_watched_and_ended() {
    watched(|| {
        let child = Process::builder().name("sleeper").spawn(sleep_long, ()).unwrap();
        assert!(child.is_alive() && child.try_wait().is_none() && child.name() == "sleeper");
        assert!(children().iter().any(|info| info.pid == child.pid() && info.name == "sleeper"));
        assert!(!child.wait_timeout(Duration::from_millis(1)).unwrap());
        assert!(!child.wait_deadline(Instant::now()).unwrap());
        let child = child.join_timeout(Duration::from_millis(1)).unwrap_err();
        child.terminate().unwrap();
        let ended = child.join();
        assert!(matches!(ended, Err(ProcessError::Signalled(libc::SIGTERM))), "{ended:?}");
        let child = Process::spawn(sleep_long, ()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        child.kill().unwrap();
        assert!(!child.is_alive());
        let limit = ropewalk::timeout(Duration::from_millis(5), || {
            let child = Process::spawn(sleep_long, ()).unwrap();
            let _ = child.wait();
        });
        assert!(limit.is_err());
    });
}

#[test]
fn the_builder_sets_the_child_up() {
    watched(|| {
        for method in METHODS {
            let look = |()| {
                let folder = std::env::current_dir().unwrap();
                let variables = (std::env::var("ROPE").ok(), std::env::var("CARGO_MANIFEST_DIR").ok());
                // SAFETY: takes a number only.
                let group = unsafe { libc::getpgid(0) }.cast_unsigned();
                (folder, variables, group == std::process::id(), current().name.map(str::to_owned))
            };
            let child = Process::builder()
                .start_method(method)
                .name("walker")
                .current_dir("/")
                .env("ROPE", "walk")
                .env_remove("CARGO_MANIFEST_DIR")
                .own_group(true)
                .limit(Resource::OpenFiles, 64)
                .spawn(look, ())
                .unwrap();
            let (folder, variables, leads, name) = child.join().unwrap();
            assert_eq!(folder.to_str(), Some("/"));
            assert_eq!(variables, (Some("walk".to_owned()), None));
            assert!(leads);
            assert_eq!(name.as_deref(), Some("walker"));
        }
        let wrong = Process::builder().current_dir("/nowhere").spawn(sleep_long, ());
        assert!(matches!(wrong, Err(SpawnError::Kernel { .. })));
    });
}

#[test]
fn a_child_has_no_descriptors_but_those_it_was_given() {
    watched(|| {
        let list = |()| {
            let mut links: Vec<String> = Vec::new();
            for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
                if let Ok(link) = std::fs::read_link(entry.path()) {
                    links.push(format!("{} {}", entry.file_name().display(), link.display()));
                }
            }
            links
        };
        let (_reader, leaky) = std::io::pipe().unwrap();
        // SAFETY: changes a flag of a descriptor of ours.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&leaky), libc::F_SETFD, 0) };
        for method in METHODS {
            let child = Process::builder().start_method(method).spawn(list, ()).unwrap();
            let links = child.join().unwrap();
            let others: Vec<_> = links.iter().filter(|link| !link.starts_with(['0', '1', '2'])).collect();
            // The channel to the parent, the folder that is read, and the start's own folder handle at most.
            let sockets = others.iter().filter(|link| link.contains("socket:")).count();
            assert!(sockets <= 1 && !others.iter().any(|link| link.contains("pipe:")), "{links:?}");
        }
    });
}

/// Tells whether a process lives, zombies not counted.
fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("not within 5 s: {what}");
}

#[test]
fn children_and_zygote_end_with_a_parent_that_is_killed() {
    watched(|| {
        let family = |fd: Fd| {
            let first = Process::spawn(sleep_long, ()).unwrap();
            let exec = Process::builder().start_method(StartMethod::Exec).spawn(sleep_long, ()).unwrap();
            let kept = Process::builder().kept(true).spawn(sleep_long, ()).unwrap();
            let own = std::process::id();
            let tasks =
                std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
            let text = format!("{} {} {} {tasks}", kept.pid(), first.pid(), exec.pid());
            let mut pipe = std::io::PipeWriter::from(OwnedFd::from(fd));
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
            drop(pipe);
            sleep_long(())
        };
        let (mut reader, writer) = std::io::pipe().unwrap();
        let parent = Process::spawn(family, Fd::from(OwnedFd::from(writer))).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let pids: Vec<u32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_until("the children end", || !pids[1..].iter().any(|pid| lives(*pid)));
        assert!(lives(pids[0]), "the kept one lives on");
        // SAFETY: a process of this test's.
        unsafe { libc::kill(pids[0].cast_signed(), libc::SIGKILL) };
    });
}

/// The pid of this process's zygote.
fn zygote() -> Option<u32> {
    let own = std::process::id();
    let is_ours = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("Name:\tropewalk-zygote") && status.contains(&format!("PPid:\t{own}\n"))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours)
}

#[test]
fn a_killed_zygote_is_replaced() {
    // In a process of its own, because the tests of this file share a zygote.
    let work = |()| {
        let mut before = 0;
        for round in 0..20u32 {
            // The one that was killed may still be about to end.
            let pid = loop {
                process::prepare().unwrap();
                match zygote() {
                    Some(pid) if pid != before => break pid,
                    _ => std::thread::yield_now(),
                }
            };
            before = pid;
            let spawner = ropewalk::spawn(move || {
                (0..5).map(|n| Process::spawn(|n: u32| n, n + round).unwrap().join().unwrap()).sum::<u32>()
            });
            // SAFETY: a process of this test's.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            assert_eq!(spawner.join().unwrap(), 10 + 5 * round);
        }
        let own = std::process::id();
        let is_zombie = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("State:\tZ") && status.contains(&format!("PPid:\t{own}\n"))
        };
        wait_until("no zombie is left", || {
            let entries = std::fs::read_dir("/proc").unwrap().flatten();
            !entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .any(|pid: u32| is_zombie(&pid))
        });
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}

#[test]
fn dropped_handles_leave_no_zombie() {
    watched(|| {
        let pids: Vec<_> = (0..5).map(|n: u32| Process::spawn(|n: u32| n, n).unwrap().pid()).collect();
        wait_until("all are taken in", || {
            pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        });
    });
}

#[test]
fn many_start_at_once_from_threads_and_coroutines() {
    on_workers(|| {
        let square = |n: u64| Process::spawn(|n: u64| n * n, n).unwrap().join().unwrap();
        let handles: Vec<_> = (0..16).map(|n| ropewalk::spawn(move || square(n))).collect();
        let threads: Vec<_> = (16..24).map(|n| std::thread::spawn(move || square(n))).collect();
        let sum: u64 = ropewalk::join_all(handles).into_iter().map(Result::unwrap).sum();
        let rest: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum + rest, (0..24).map(|n| n * n).sum());
    });
}

#[test]
fn a_child_runs_coroutines_of_its_own() {
    watched(|| {
        let work = |count: u64| {
            let handles: Vec<_> = (0..count).map(|n| ropewalk::spawn(move || n)).collect();
            ropewalk::join_all(handles).into_iter().map(Result::unwrap).sum::<u64>()
        };
        assert_eq!(Process::spawn(work, 100).unwrap().join().unwrap(), 4950);
    });
}

#[test]
fn the_ends_of_pipes_are_on_the_handle() {
    use std::io::{Read, Write};
    watched(|| {
        for method in METHODS {
            let speak = |()| {
                let text = std::io::read_to_string(std::io::stdin()).unwrap();
                print!("{text}, said it");
                eprint!("{} bytes", text.len());
            };
            let builder = Process::builder().start_method(method).stdin(Stdio::Piped);
            let builder = builder.stdout(Stdio::Piped).stderr(Stdio::Piped);
            let mut child = builder.spawn(speak, ()).unwrap();
            child.stdin.as_mut().unwrap().write_all(b"rope").unwrap();
            child.stdin = None;
            let (mut out, mut err) = (String::new(), String::new());
            child.stdout.as_mut().unwrap().read_to_string(&mut out).unwrap();
            child.stderr.as_mut().unwrap().read_to_string(&mut err).unwrap();
            assert_eq!((&*out, &*err), ("rope, said it", "4 bytes"));
            child.join().unwrap();
        }
        // A join ends the input that the child waits for.
        let drain = |()| std::io::read_to_string(std::io::stdin()).unwrap().len();
        let child = Process::builder().stdin(Stdio::Piped).spawn(drain, ()).unwrap();
        assert_eq!(child.join().unwrap(), 0);
        let child = Process::builder().spawn(|()| (), ()).unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    });
}

#[test]
fn processes_that_wait_are_taken_replaced_and_let_go() {
    let check = || {
        for method in METHODS {
            let warm = Process::builder().name("warm").start_method(method).warm(2).unwrap();
            let waiting =
                || children().into_iter().filter(|child| child.name == "warm").map(|child| child.pid);
            let first: Vec<u32> = waiting().collect();
            assert_eq!((first.len(), warm.ready()), (2, 2));
            let child = warm.spawn(|()| current().pid, ()).unwrap();
            assert!(first.contains(&child.join().unwrap()));
            // One that is killed while it waits is passed over; none is missing for long.
            for pid in waiting() {
                // SAFETY: a process of this test's.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            }
            let children: Vec<_> = (0..5u32).map(|n| warm.spawn(|n: u32| n * 2, n).unwrap()).collect();
            let values: Vec<_> = children.into_iter().map(|child| child.join()).collect();
            for (n, value) in (0..).zip(values) {
                // The kill may have come after it was given its function.
                assert!(
                    matches!(value, Err(ProcessError::Signalled(libc::SIGKILL))) || value.unwrap() == 2 * n
                );
            }
            while warm.ready() < 2 {
                ropewalk::yield_now();
            }
            drop(warm);
            while waiting().next().is_some() {
                ropewalk::yield_now();
            }
        }
    };
    watched(check);
    watched(move || common::runtime(2).run(check));
}
