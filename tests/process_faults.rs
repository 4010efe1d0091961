//! Whoever is killed, and however a parent ends: nobody hangs, nothing is left behind.
//!
//! Each case runs in a process of its own, the leader of a process group: what it leaves behind is found by
//! that group.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{Random, watched};
use ropewalk::process::{
    Fd, Pool, Process, ProcessError, Resource, SpawnError, StartMethod, Stdio, TaskError, children, prepare,
};

fn signal(pid: u32, number: i32) {
    // SAFETY: a process of this test's, or a number that is not in use.
    unsafe { libc::kill(pid.cast_signed(), number) };
}

/// The processes of a group, zombies not counted: pid and name.
fn group(leader: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let member = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let lives = !matches!(fields[0], "Z" | "X");
        (lives && fields[2].parse() == Ok(leader)).then(|| (pid, name.to_owned()))
    };
    pids.filter_map(member).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("not within 10 s: {what}");
}

fn nap(micros: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(micros));
    micros
}

/// A parent with a busy pool, two single children and a zygote; says when they are there, and ends as told.
fn busy_parent((ready, end): (Fd, String)) {
    let pool = Pool::new(2).unwrap();
    let _sleepers = [StartMethod::Zygote, StartMethod::Exec]
        .map(|method| Process::builder().start_method(method).spawn(nap, 3_600_000_000).unwrap());
    pool.apply(nap, 1).unwrap();
    std::io::Write::write_all(&mut std::io::PipeWriter::from(OwnedFd::from(ready)), b"!").unwrap();
    let tasks: Vec<_> = (0..100_000).map(|n| pool.apply_async(nap, n % 300).unwrap()).collect();
    match end.as_str() {
        "return" => {}
        "exit" => std::process::exit(4),
        "panic" => panic!("on purpose"),
        "abort" => std::process::abort(),
        _ => tasks.into_iter().for_each(|task| drop(task.get())),
    }
}

fn start_busy_parent(end: &str) -> Process<()> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let parent = Process::builder()
        .own_group(true)
        .stderr(Stdio::Null)
        .spawn(busy_parent, (Fd::from(OwnedFd::from(writer)), end.to_owned()))
        .unwrap();
    let mut ready = [0];
    std::io::Read::read_exact(&mut reader, &mut ready).unwrap();
    parent
}

#[test]
fn nothing_is_left_behind_however_a_parent_ends() {
    watched(|| {
        for end in ["return", "exit", "panic", "abort"] {
            let parent = start_busy_parent(end);
            let leader = parent.pid();
            parent.wait().unwrap();
            wait_until(end, || group(leader).is_empty());
        }
        for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let parent = start_busy_parent("never");
            let leader = parent.pid();
            // The parent is ready when one worker is; the other may still be on its way.
            wait_until("all six are there", || group(leader).len() >= 6);
            // To the whole group, as a terminal does it.
            // SAFETY: the group of a process of this test's.
            unsafe { libc::kill(-leader.cast_signed(), number) };
            let ended = parent.join();
            assert!(matches!(ended, Err(ProcessError::Signalled(by)) if by == number), "{ended:?}");
            wait_until("a signal of the terminal", || group(leader).is_empty());
        }
    });
}

#[test]
fn nothing_is_left_behind_when_a_parent_is_killed_at_a_random_moment() {
    watched(|| {
        let mut random = Random::new();
        for _ in 0..25 {
            let parent = start_busy_parent("never");
            let leader = parent.pid();
            std::thread::sleep(Duration::from_micros(random.below(8_000)));
            parent.kill().unwrap();
            parent.wait().unwrap();
            wait_until("a killed parent", || group(leader).is_empty());
        }
    });
}

/// Kills anything below this process at random, but the workers' tasks are tried again: all must be done.
fn survive(seed: u64) {
    let mut random = Random::from(seed);
    // A worker for each few tasks, so that the zygote is always needed.
    let pool = Pool::builder(3).max_tasks_per_child(5).retries(1_000).build().unwrap();
    let own = std::process::id();
    for _ in 0..40 {
        let tasks: Vec<_> = (0..40).map(|n| pool.apply_async(nap, n).unwrap()).collect();
        let single = Process::spawn(nap, 100);
        let below: Vec<_> = group(own).into_iter().filter(|(pid, _)| *pid != own).collect();
        for _ in 0..2 {
            if let Some((pid, _)) = below.get(random.below(below.len().max(1) as u64) as usize) {
                signal(*pid, libc::SIGKILL);
            }
        }
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.get().unwrap(), n);
        }
        match single.unwrap().join() {
            Ok(100) | Err(ProcessError::Signalled(libc::SIGKILL)) => {}
            other => panic!("{other:?}"),
        }
    }
    pool.close();
    pool.join().unwrap();
    wait_until("only the zygote is left", || {
        group(own).iter().all(|(pid, name)| *pid == own || name == "ropewalk-zygote") && children().is_empty()
    });
}

#[test]
fn workers_and_zygote_may_be_killed_at_any_moment() {
    watched(|| {
        let seed = Random::new().next();
        let child = Process::builder().own_group(true).name("survivor").spawn(survive, seed).unwrap();
        let leader = child.pid();
        child.join().unwrap();
        wait_until("the zygote ends", || group(leader).is_empty());
    });
}

#[test]
fn a_stopped_worker_holds_up_its_task_only() {
    let work = |()| {
        let pool = Pool::new(2).unwrap();
        let held = pool.apply_async(nap, 200_000).unwrap();
        let worker = loop {
            if let Some(worker) = pool.workers().into_iter().find(|worker| worker.task == Some(1)) {
                break worker.pid;
            }
        };
        signal(worker, libc::SIGSTOP);
        assert_eq!(pool.map(nap, 0..200).unwrap().len(), 200);
        assert!(!held.is_ready());
        signal(worker, libc::SIGCONT);
        assert_eq!(held.get().unwrap(), 200_000);
        let again = pool.apply_async(nap, 3_600_000_000).unwrap();
        pool.workers().iter().for_each(|worker| signal(worker.pid, libc::SIGSTOP));
        pool.terminate();
        pool.join().unwrap();
        assert!(matches!(again.get(), Err(TaskError::Terminated { .. })));
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}

#[test]
fn without_descriptors_a_start_is_an_error_and_a_pool_waits_for_better_times() {
    let work = |()| {
        prepare().unwrap();
        let pool = Pool::builder(1).retries(3).build().unwrap();
        assert_eq!(pool.apply(nap, 1).unwrap(), 1);
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let refused = Process::spawn(nap, 1);
        assert!(matches!(refused, Err(SpawnError::Kernel { .. })), "{refused:?}");
        // The pool's worker is there still, and needs nothing new.
        assert_eq!(pool.apply(nap, 2).unwrap(), 2);
        drop(taken);
        assert_eq!(Process::spawn(nap, 3).unwrap().join().unwrap(), 3);
    };
    watched(move || {
        let child = Process::builder().limit(Resource::OpenFiles, 60).spawn(work, ()).unwrap();
        child.join().unwrap();
    });
}

#[test]
fn without_descriptors_a_result_that_needs_one_fails_its_task_only() {
    let work = |()| {
        let pool = Pool::new(1).unwrap();
        let large = |len: usize| vec![7u8; len];
        assert_eq!(pool.apply(large, 100_000).unwrap().len(), 100_000);
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let lost = pool.apply_async(large, 100_000).unwrap();
        assert!(lost.wait_timeout(Duration::from_secs(5)), "the task waits for ever");
        let error = lost.get().unwrap_err();
        assert!(error.to_string().contains("ulimit"), "{error}");
        assert_eq!(pool.apply(large, 10).unwrap().len(), 10);
        let unsent = pool.apply_async(|bytes: Vec<u8>| bytes.len(), vec![1; 100_000]).unwrap();
        assert!(unsent.wait_timeout(Duration::from_secs(5)), "the arguments are waited for for ever");
        assert!(matches!(unsent.get(), Err(TaskError::Transfer(_))));
        assert_eq!(pool.apply(large, 10).unwrap().len(), 10);
        drop(taken);
        assert_eq!(pool.apply(large, 100_000).unwrap().len(), 100_000);
        pool.close();
        pool.join().unwrap();
    };
    watched(move || {
        let child = Process::builder().limit(Resource::OpenFiles, 60).spawn(work, ()).unwrap();
        child.join().unwrap();
    });
}

#[test]
fn without_memory_a_child_ends_and_its_parent_is_told() {
    watched(|| {
        let eat = |()| std::hint::black_box(vec![1u8; 4 << 30]).len();
        let child = Process::builder()
            .limit(Resource::Memory, 1 << 30)
            .limit(Resource::CoreSize, 0)
            .stderr(Stdio::Null)
            .spawn(eat, ())
            .unwrap();
        let ended = child.join();
        assert!(matches!(ended, Err(ProcessError::Signalled(libc::SIGABRT))), "{ended:?}");
    });
}

#[test]
fn a_program_whose_file_was_replaced_still_starts_children() {
    const NAME: &str = "a_program_whose_file_was_replaced_still_starts_children";
    let Some(copy) = std::env::var_os("ROPEWALK_COPY") else {
        let folder = std::env::temp_dir().join(format!("ropewalk-faults-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let copy = folder.join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let mut command = std::process::Command::new(&copy);
        let output = command.args([NAME, "--exact"]).env("ROPEWALK_COPY", &copy).output().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let other = std::path::Path::new(&copy).with_extension("new");
    std::fs::write(&other, "no program at all").unwrap();
    std::fs::rename(other, copy).unwrap();
    for method in [StartMethod::Zygote, StartMethod::Exec] {
        assert_eq!(Process::builder().start_method(method).spawn(nap, 5).unwrap().join().unwrap(), 5);
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn where_something_else_is_executed_in_the_programs_place_a_start_is_a_clear_error() {
    const NAME: &str = "where_something_else_is_executed_in_the_programs_place_a_start_is_a_clear_error";
    if std::env::var_os("ROPEWALK_LOADED").is_none() {
        // The loader as a command: the program that the kernel knows is the loader then.
        let mut command = std::process::Command::new("/lib64/ld-linux-x86-64.so.2");
        command.arg(std::env::current_exe().unwrap()).args([NAME, "--exact"]).env("ROPEWALK_LOADED", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    for method in [StartMethod::Zygote, StartMethod::Exec] {
        let error = Process::builder().start_method(method).spawn(nap, 1).unwrap_err();
        assert!(matches!(&error, SpawnError::Program(text) if text.contains("not this program")), "{error}");
    }
    assert!(Pool::new(1).is_err() && children().is_empty());
}

#[test]
#[cfg(target_env = "gnu")]
fn a_program_without_a_build_id_starts_children() {
    const NAME: &str = "a_program_without_a_build_id_starts_children";
    if std::env::var_os("ROPEWALK_COPY").is_none() {
        let copy = std::env::temp_dir().join(format!("ropewalk-plain-{}", std::process::id()));
        // It comes with the linker that Rust programs are built with.
        let mut strip = std::process::Command::new("objcopy");
        strip
            .args(["--remove-section", ".note.gnu.build-id"])
            .arg(std::env::current_exe().unwrap())
            .arg(&copy);
        assert!(strip.status().unwrap().success());
        let mut command = std::process::Command::new(&copy);
        let output = command.args([NAME, "--exact"]).env("ROPEWALK_COPY", &copy).output().unwrap();
        std::fs::remove_file(copy).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    for method in [StartMethod::Zygote, StartMethod::Exec] {
        assert_eq!(Process::builder().start_method(method).spawn(nap, 5).unwrap().join().unwrap(), 5);
    }
}

#[test]
fn a_program_that_forks_and_waits_for_any_child_disturbs_only_the_status() {
    let work = |()| {
        let child = Process::spawn(|n: u32| n + 1, 1).unwrap();
        // SAFETY: waits for any child; this takes the status from ropewalk.
        while unsafe { libc::waitpid(child.pid().cast_signed(), std::ptr::null_mut(), 0) } < 0 {}
        assert_eq!(child.join().unwrap(), 2);
        let lost = Process::spawn(|()| std::process::exit(3), ()).map(|child: Process<()>| {
            // SAFETY: as above.
            while unsafe { libc::waitpid(child.pid().cast_signed(), std::ptr::null_mut(), 0) } < 0 {}
            child.join()
        });
        assert!(matches!(lost, Ok(Err(ProcessError::StatusLost))), "{lost:?}");
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}
