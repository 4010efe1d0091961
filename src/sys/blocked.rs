//! The system call that another thread of this process is blocked in, as `/proc` shows it.
//!
//! The kernel tells it of threads that sleep in it, and says `running` of one that has a processor or waits for
//! one, wherever it is. A thread that sleeps outside of a call (a page that comes from disk) has the number -1.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

use libc::c_long;

/// A call that has not returned. Two looks that find equal ones have, as a rule, found the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) number: c_long,
    pub(crate) args: [u64; 6],
    /// Stack pointer and instruction pointer.
    place: [u64; 2],
}

/// The call in which `thread` is blocked. `None`: it is not.
pub(crate) fn look(thread: u32) -> io::Result<Option<Call>> {
    let place = format!("/proc/self/task/{thread}/syscall");
    let text = fs::read_to_string(&place)
        .map_err(|error| io::Error::new(error.kind(), format!("{place} cannot be read: {error}")))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Option<Call> {
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
    let mut next = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut all = [0; 8];
    for word in &mut all {
        *word = next()?;
    }
    let [a, b, c, d, e, f, stack, instruction] = all;
    Some(Call { number, args: [a, b, c, d, e, f], place: [stack, instruction] })
}

macro_rules! names {
    ($($(#[$only:meta])? $constant:ident $name:literal,)*) => {
        /// The name of a call that is likely to block; `None` for others.
        pub(crate) fn name(number: c_long) -> Option<&'static str> {
            match number {
                $($(#[$only])? libc::$constant => Some($name),)*
                _ => None,
            }
        }
    };
}

names! {
    SYS_read "read",
    SYS_write "write",
    SYS_readv "readv",
    SYS_writev "writev",
    SYS_pread64 "pread64",
    SYS_pwrite64 "pwrite64",
    SYS_preadv "preadv",
    SYS_pwritev "pwritev",
    SYS_preadv2 "preadv2",
    SYS_pwritev2 "pwritev2",
    #[cfg(target_arch = "x86_64")] SYS_open "open",
    #[cfg(target_arch = "x86_64")] SYS_stat "stat",
    #[cfg(target_arch = "x86_64")] SYS_lstat "lstat",
    #[cfg(target_arch = "x86_64")] SYS_poll "poll",
    #[cfg(target_arch = "x86_64")] SYS_select "select",
    #[cfg(target_arch = "x86_64")] SYS_epoll_wait "epoll_wait",
    #[cfg(target_arch = "x86_64")] SYS_pause "pause",
    #[cfg(target_arch = "x86_64")] SYS_vfork "vfork",
    #[cfg(target_arch = "x86_64")] SYS_getdents "getdents",
    #[cfg(target_arch = "x86_64")] SYS_unlink "unlink",
    #[cfg(target_arch = "x86_64")] SYS_rename "rename",
    #[cfg(target_arch = "x86_64")] SYS_mkdir "mkdir",
    SYS_openat "openat",
    SYS_openat2 "openat2",
    SYS_newfstatat "newfstatat",
    SYS_statx "statx",
    SYS_fstat "fstat",
    SYS_close "close",
    SYS_getdents64 "getdents64",
    SYS_unlinkat "unlinkat",
    SYS_renameat2 "renameat2",
    SYS_mkdirat "mkdirat",
    SYS_ftruncate "ftruncate",
    SYS_fallocate "fallocate",
    SYS_fsync "fsync",
    SYS_fdatasync "fdatasync",
    SYS_msync "msync",
    SYS_sync "sync",
    SYS_syncfs "syncfs",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_sync_file_range "sync_file_range",
    SYS_fcntl "fcntl",
    SYS_flock "flock",
    SYS_ioctl "ioctl",
    SYS_ppoll "ppoll",
    SYS_pselect6 "pselect6",
    SYS_epoll_pwait "epoll_pwait",
    SYS_epoll_pwait2 "epoll_pwait2",
    SYS_connect "connect",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_accept "accept",
    SYS_accept4 "accept4",
    SYS_sendto "sendto",
    SYS_recvfrom "recvfrom",
    SYS_sendmsg "sendmsg",
    SYS_recvmsg "recvmsg",
    SYS_sendmmsg "sendmmsg",
    SYS_recvmmsg "recvmmsg",
    SYS_sendfile "sendfile",
    SYS_splice "splice",
    SYS_tee "tee",
    SYS_vmsplice "vmsplice",
    SYS_copy_file_range "copy_file_range",
    SYS_io_uring_enter "io_uring_enter",
    SYS_io_getevents "io_getevents",
    SYS_nanosleep "nanosleep",
    SYS_clock_nanosleep "clock_nanosleep",
    SYS_restart_syscall "restart_syscall",
    SYS_futex "futex",
    SYS_futex_waitv "futex_waitv",
    SYS_wait4 "wait4",
    SYS_waitid "waitid",
    SYS_clone "clone",
    SYS_clone3 "clone3",
    SYS_execve "execve",
    SYS_rt_sigtimedwait "rt_sigtimedwait",
    SYS_rt_sigsuspend "rt_sigsuspend",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_msgsnd "msgsnd",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_msgrcv "msgrcv",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_semop "semop",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] SYS_semtimedop "semtimedop",
    SYS_mq_timedsend "mq_timedsend",
    SYS_mq_timedreceive "mq_timedreceive",
    SYS_getrandom "getrandom",
    SYS_mmap "mmap",
    SYS_munmap "munmap",
    SYS_mprotect "mprotect",
    SYS_madvise "madvise",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_call_is_read() {
        let call = parse("202 0x7f0 0x80 0x0 0x0 0x0 0xffffffffffffffff 0x7ffd 0x55aa\n").unwrap();
        assert_eq!((call.number, call.args), (202, [0x7f0, 0x80, 0, 0, 0, u64::MAX]));
        assert_eq!(call.place, [0x7ffd, 0x55aa]);
    }

    #[test]
    fn what_is_no_call_is_none() {
        for text in ["running\n", "-1 0x7ffd 0x55aa\n", "", "202 0x1 0x2\n", "202 1 2 3 4 5 6 7 8\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_thread_that_sleeps_is_found_in_its_call() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (go, end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            sender.send(crate::sys::thread::id().unsigned_abs()).unwrap();
            let _ = end.recv();
        });
        let id = receiver.recv().unwrap();
        let call = loop {
            // It is on its way to the wait, maybe by way of other calls.
            if let Some(call) = look(id).unwrap().filter(|call| call.number == libc::SYS_futex) {
                break call;
            }
            std::thread::yield_now();
        };
        assert_eq!(name(call.number), Some("futex"));
        drop(go);
        thread.join().unwrap();
        assert!(look(u32::MAX).unwrap_err().to_string().contains("/proc/self/task/4294967295/syscall"));
    }
}
