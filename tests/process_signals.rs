//! Stop signals, a terminal's signals, and a debugger: nobody hangs, and the terminal is as it was.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use common::{Random, watched};
use ropewalk::process::{
    Event, Fd, Mutex, Pool, Process, ProcessError, Queue, StartMethod, TryLockError, prepare,
};
use serde::{Deserialize, Serialize};

fn signal(pid: u32, number: i32) {
    // SAFETY: a process of this test's.
    unsafe { libc::kill(pid.cast_signed(), number) };
}

/// State letter and parent of a process.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn wait_for_state(pid: u32, wanted: char) {
    let end = Instant::now() + Duration::from_secs(10);
    while state(pid).is_none_or(|(now, _)| now != wanted) {
        assert!(Instant::now() < end, "{pid} is {:?}, not {wanted}", state(pid));
        std::thread::yield_now();
    }
}

/// The pid of this process's zygote.
fn zygote() -> u32 {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_ours = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "ropewalk-zygote"
            && state(*pid).is_some_and(|(now, parent)| parent == own && now != 'Z')
    };
    pids.find(is_ours).expect("there is a zygote")
}

fn in_child(work: fn(())) {
    watched(move || Process::builder().own_group(true).spawn(work, ()).unwrap().join().unwrap());
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[test]
fn a_stopped_zygote_is_replaced() {
    in_child(|()| {
        prepare().unwrap();
        let stopped = zygote();
        signal(stopped, libc::SIGSTOP);
        wait_for_state(stopped, 'T');
        // More than fit into its socket.
        let threads: Vec<_> = (0..8)
            .map(|n| std::thread::spawn(move || Process::spawn(|n: u32| n, n).unwrap().join().unwrap()))
            .collect();
        assert!(threads.into_iter().map(|thread| thread.join().unwrap()).eq(0..8));
        assert_ne!(zygote(), stopped);
    });
}

#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    queue: Queue<(u32, Vec<u8>)>,
    pair: Mutex<[u64; 2]>,
    there: Event,
}

fn churn(shared: Shared) {
    for n in 0.. {
        match shared.pair.lock() {
            Ok(mut pair) => {
                pair[0] += 1;
                shared.there.set();
                pair[1] += 1;
            }
            Err(died) => {
                let mut pair = died.into_guard();
                pair[1] = pair[0];
            }
        }
        if shared.queue.try_put((n, vec![n as u8; (n % 700) as usize])).is_err() {
            let _ = shared.queue.try_get();
        }
    }
}

#[test]
fn what_a_stopped_process_holds_is_waited_for_no_longer_than_asked_and_comes_back_with_it() {
    in_child(|()| {
        let mut random = Random::new();
        let shared = Shared {
            queue: Queue::with_ring(16, 4096).unwrap(),
            pair: Mutex::new([0; 2]).unwrap(),
            there: Event::new().unwrap(),
        };
        let mut child = Process::spawn(churn, shared.clone()).unwrap();
        shared.there.wait();
        let (mut held, mut inherited) = (0, 0);
        for round in 0..150 {
            std::thread::sleep(Duration::from_micros(random.below(1_500)));
            signal(child.pid(), libc::SIGSTOP);
            wait_for_state(child.pid(), 'T');
            // Deadlines hold, whatever the stopped one holds.
            let since = Instant::now();
            match shared.pair.lock_timeout(Duration::from_millis(5)) {
                Ok(pair) => assert_eq!(pair[0], pair[1]),
                Err(TryLockError::Held) => held += 1,
                Err(TryLockError::OwnerDied(_)) => panic!("it is stopped, not dead"),
            }
            match shared.queue.get_timeout(Duration::from_millis(5)) {
                Ok((n, bytes)) => assert!(bytes.iter().all(|byte| *byte == n as u8)),
                Err(error) => assert_eq!(error, ropewalk::process::queue::GetError::Empty),
            }
            let _ = shared.queue.put_timeout((7, vec![7; 70]), Duration::from_millis(5));
            // A stall of the whole machine aside; without a deadline it would be for ever.
            assert!(since.elapsed() < Duration::from_secs(20));
            if round % 5 == 4 {
                // A stopped process can be killed, and what it held is handed on.
                child.kill().unwrap();
                child.wait().unwrap();
                match shared.pair.lock() {
                    Ok(pair) => assert_eq!(pair[0], pair[1]),
                    Err(died) => {
                        inherited += 1;
                        let mut pair = died.into_guard();
                        pair[1] = pair[0];
                    }
                }
                shared.there.clear();
                child = Process::spawn(churn, shared.clone()).unwrap();
                shared.there.wait();
            } else {
                signal(child.pid(), libc::SIGCONT);
                // It goes on: the number grows.
                let before = shared.pair.lock().map_or_else(|died| died.into_guard()[0], |pair| pair[0]);
                while shared.pair.lock().map_or_else(|died| died.into_guard()[0], |pair| pair[0]) == before {
                    std::thread::yield_now();
                }
            }
        }
        println!(
            "{held} times held while stopped, {inherited} times inherited from one killed while stopped"
        );
        child.kill().unwrap();
    });
}

/// A pool with work, as a shell's job; says on its standard output when tasks run, and when they are done.
fn job(end: String) {
    use std::io::Write;
    let pool = Pool::new(2).unwrap();
    let _single = Process::builder().start_method(StartMethod::Exec).spawn(nap, 3_600_000).unwrap();
    assert_eq!(pool.map(nap, [0; 8]).unwrap().len(), 8);
    let tasks: Vec<_> = (0..40).map(|_| pool.apply_async(nap, 5).unwrap()).collect();
    std::io::stdout().write_all(b"running\n").unwrap();
    assert!(tasks.into_iter().all(|task| task.get().is_ok()));
    std::io::stdout().write_all(b"done\n").unwrap();
    if end == "stays" {
        nap(3_600_000);
    }
}

/// The two ends of a new terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut here, mut there) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: writes two numbers.
    let made = unsafe { libc::openpty(&raw mut here, &raw mut there, none, none.cast(), none.cast()) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    [here, there]
        // SAFETY: both made for this caller.
        .map(|end| unsafe { OwnedFd::from_raw_fd(end) })
        .into()
}

fn settings(terminal: &OwnedFd) -> (u32, u32, u32, u32, Vec<u8>) {
    // SAFETY: all zeros is one.
    let mut now: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: writes one.
    assert_eq!(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut now) }, 0);
    (now.c_iflag, now.c_oflag, now.c_cflag, now.c_lflag, now.c_cc.to_vec())
}

/// A shell with a terminal: runs jobs in front, as shells do, and tells what has become of terminal and group.
fn shell((terminal, screen): (Fd, Fd)) {
    let terminal = OwnedFd::from(terminal);
    // SAFETY: begins a session.
    assert!(unsafe { libc::setsid() } > 0);
    // SAFETY: makes this its terminal.
    assert_eq!(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }, 0);
    // SAFETY: ignores a signal, as shells do.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
    let before = settings(&terminal);
    let screen = OwnedFd::from(screen);
    let mut typed = std::fs::File::from(screen.try_clone().unwrap());
    for (key, number) in [(3u8, libc::SIGINT), (28, libc::SIGQUIT), (26, libc::SIGTSTP)] {
        let (reader, writer) = std::io::pipe().unwrap();
        let job = Process::builder()
            .own_group(true)
            .limit(ropewalk::process::Resource::CoreSize, 0)
            .stdin(terminal.try_clone().unwrap())
            .stdout(writer)
            .spawn(job, "stays".to_owned())
            .unwrap();
        let leader = job.pid().cast_signed();
        // SAFETY: puts the job in front.
        assert_eq!(unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), leader) }, 0);
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        assert_eq!(lines.next().unwrap().unwrap(), "running");
        std::io::Write::write_all(&mut typed, &[key]).unwrap();
        if number == libc::SIGTSTP {
            wait_for_state(job.pid(), 'T');
            assert_eq!(settings(&terminal), before);
            // SAFETY: to the job's group.
            unsafe { libc::kill(-leader, libc::SIGCONT) };
            assert_eq!(lines.next().unwrap().unwrap(), "done");
            std::io::Write::write_all(&mut typed, &[3]).unwrap();
        }
        let ended = job.join();
        let by = if number == libc::SIGTSTP { libc::SIGINT } else { number };
        assert!(matches!(ended, Err(ProcessError::Signalled(ended)) if ended == by), "{ended:?}");
        // Nobody of the job's group is left.
        let end = Instant::now() + Duration::from_secs(10);
        // SAFETY: asks only.
        while unsafe { libc::kill(-leader, 0) } == 0 {
            assert!(Instant::now() < end, "somebody of the job is left");
            std::thread::yield_now();
        }
        // SAFETY: asks only.
        let front = unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) };
        assert_eq!(front, leader, "somebody else has come to the front");
        // SAFETY: asks only.
        let own = unsafe { libc::getpgrp() };
        // SAFETY: puts the shell in front again.
        assert_eq!(unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), own) }, 0);
        assert_eq!(settings(&terminal), before, "the terminal has other settings");
    }
}

#[test]
fn keys_of_the_terminal_end_or_stop_a_job_as_a_whole_and_leave_the_terminal_as_it_was() {
    watched(|| {
        let (screen, terminal) = terminal();
        // The screen stays: a terminal without one hangs up.
        let other = Fd::from(screen.try_clone().unwrap());
        Process::spawn(shell, (Fd::from(terminal), other)).unwrap().join().unwrap();
        drop(screen);
    });
}

/// Waits for what happens to the processes that this thread traces, and lets them go on, until the first has ended;
/// its status, and how many there were. What debuggers and tracers do that follow all.
#[cfg(target_os = "linux")]
fn trace(first: libc::pid_t) -> (i32, usize) {
    let all = libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    let mut status = 0;
    // SAFETY: waits for the one that is stopped at its exec.
    assert_eq!(unsafe { libc::waitpid(first, &raw mut status, 0) }, first);
    // SAFETY: it is stopped.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, first, 0, all) }, 0);
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_CONT, first, 0, 0) };
    let mut known = std::collections::HashSet::from([first]);
    loop {
        // SAFETY: waits for any that this thread traces.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        let is_new = known.insert(pid);
        if libc::WIFSTOPPED(status) {
            let number = libc::WSTOPSIG(status);
            // Its own first stop, or an event; all else is a signal that it is to get.
            let pass =
                if number == libc::SIGTRAP || (is_new && number == libc::SIGSTOP) { 0 } else { number };
            // SAFETY: it is stopped, or has been killed since.
            unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, pass) };
        } else if pid == first {
            return (status, known.len());
        }
    }
}

#[test]
fn processes_start_and_pools_work_under_a_debugger_that_follows_all_of_them() {
    const TEST: &str = "processes_start_and_pools_work_under_a_debugger_that_follows_all_of_them";
    if std::env::var_os("ROPEWALK_TRACED").is_some() {
        for method in [StartMethod::Zygote, StartMethod::Exec] {
            assert_eq!(Process::builder().start_method(method).spawn(nap, 1).unwrap().join().unwrap(), 1);
            let abort = |()| -> () { std::process::abort() };
            let child = Process::builder().start_method(method).spawn(abort, ()).unwrap();
            assert!(matches!(child.join(), Err(ProcessError::Signalled(libc::SIGABRT))));
            let pool = Pool::builder(2).start_method(method).build().unwrap();
            assert_eq!(pool.map(nap, [1; 20]).unwrap(), [1; 20]);
            signal(pool.workers()[0].pid, libc::SIGKILL);
            assert_eq!(pool.map_chunked(nap, [0; 20], 1).map_or(20, |values| values.len()), 20);
            pool.close();
            pool.join().unwrap();
        }
        return;
    }
    watched(|| {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--test-threads=1"]).env("ROPEWALK_TRACED", "1");
        command.stdout(std::process::Stdio::null());
        let follow = || {
            // SAFETY: asks to be traced by the parent.
            match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: makes one system call.
        let command = unsafe { command.pre_exec(follow) };
        #[allow(clippy::zombie_processes, reason = "its tracer waits for it")]
        let child = command.spawn().unwrap();
        let (status, count) = trace(child.id().cast_signed());
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:x}");
        assert!(count > 10, "only {count} threads and processes were traced");
    });
}
