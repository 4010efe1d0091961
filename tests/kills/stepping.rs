//! A process that goes on by single instructions, and is killed after one of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A process that sleeps in the kernel for so long is over with what it was to do.
const BLOCKED: Duration = Duration::from_millis(30);

/// How a step has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// The process has stopped itself.
    Stopped,
    /// The instruction is a system call that does not return.
    Blocked,
}

/// Stops the calling thread until it is traced.
pub(crate) fn stop() {
    // SAFETY: takes numbers only.
    let thread = unsafe { libc::gettid() };
    // SAFETY: a signal to the calling thread, which a tracer continues.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGSTOP) };
}

fn state(pid: u32) -> u8 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.as_bytes()[0]
}

/// Waits until a process has stopped itself.
pub(crate) fn await_stop(pid: u32) {
    while state(pid) != b'T' {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// A process under the calling thread's control, killed when this is dropped.
pub(crate) struct Traced {
    pid: i32,
    /// Steps that were done.
    pub(crate) steps: u64,
    /// What was to be watched is over.
    pub(crate) is_over: bool,
    may_block: bool,
}

impl Traced {
    /// Stops a process, which may be in a system call, and takes control of it. One that `may_block` is over when
    /// it sleeps; another one when it stops itself.
    pub(crate) fn new(pid: u32, may_block: bool) -> Self {
        let pid = pid.cast_signed();
        // SAFETY: takes numbers only; the process is a child of this test.
        let attached = unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0) };
        assert_eq!(attached, 0, "{}", std::io::Error::last_os_error());
        let traced = Self { pid, steps: 0, is_over: false, may_block };
        let mut status = 0;
        // SAFETY: the kernel writes one number.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        assert_eq!(waited, pid);
        traced
    }

    fn wait(&self) -> Option<i32> {
        let mut status = 0;
        let flags = if self.may_block { libc::__WALL | libc::WNOHANG } else { libc::__WALL };
        let mut began = None;
        loop {
            // SAFETY: the kernel writes one number.
            let waited = unsafe { libc::waitpid(self.pid, &raw mut status, flags) };
            if waited == self.pid {
                return Some(status);
            }
            assert_eq!(waited, 0, "{}", std::io::Error::last_os_error());
            let began = began.get_or_insert_with(Instant::now);
            // A running process may only wait for its turn on a processor.
            if began.elapsed() > BLOCKED && state(self.pid.cast_unsigned()) == b'S' {
                return None;
            }
            std::thread::yield_now();
        }
    }

    fn step(&mut self) -> Step {
        loop {
            // SAFETY: takes numbers only; the process is stopped, and this thread traces it.
            let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid, 0, 0) };
            assert_eq!(stepped, 0, "{}", std::io::Error::last_os_error());
            let Some(status) = self.wait() else { return Step::Blocked };
            assert!(libc::WIFSTOPPED(status), "it ends with {status:#x} after {} steps", self.steps);
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP => return Step::Done,
                // The stop of the attachment comes late if the process had stopped itself before.
                libc::SIGSTOP if self.steps < 5 => {}
                libc::SIGSTOP => return Step::Stopped,
                // Not passed on: a child that ends, a timer.
                _ => {}
            }
        }
    }

    /// Lets it do that many instructions, or fewer if it is over before.
    pub(crate) fn run(&mut self, steps: u64) {
        while self.steps < steps && !self.is_over {
            match self.step() {
                Step::Done => self.steps += 1,
                Step::Stopped | Step::Blocked => self.is_over = true,
            }
        }
    }

    /// Lets it run until it is over; the steps before which an instruction stands that other processes may notice.
    pub(crate) fn run_and_note(&mut self) -> Vec<u64> {
        let (mut noted, mut known) = (Vec::new(), HashMap::new());
        while !self.is_over {
            if self.is_at_a_shared_instruction(&mut known) {
                noted.push(self.steps);
            }
            self.run(self.steps + 1);
        }
        noted
    }

    /// Tells whether the next instruction is a system call, or is atomic. `known` are those that were looked at.
    #[cfg(target_arch = "x86_64")]
    fn is_at_a_shared_instruction(&self, known: &mut HashMap<i64, bool>) -> bool {
        let at = std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);
        // SAFETY: the process is stopped; reads one of its registers.
        let place = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.pid, at, 0) };
        *known.entry(place).or_insert_with(|| {
            // SAFETY: the process is stopped; reads a word of its memory.
            let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, place, 0) };
            matches!(
                word.to_le_bytes(),
                [0xf0, ..] | [0x0f, 0x05, ..] | [0x86 | 0x87, ..] | [0x40..=0x4f | 0x66, 0x86 | 0x87, ..]
            )
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_at_a_shared_instruction(&self, _: &mut HashMap<i64, bool>) -> bool {
        self.steps % 16 == 0
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: takes numbers only; nobody has taken the child's end in.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }
}
