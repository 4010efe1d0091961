//! Processes: making, waiting, signalling, and what a child sets up for itself.

use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::poll;

mod child;

#[cfg_attr(loom, allow(unused_imports, reason = "the models start no processes"))]
pub(crate) use child::{end_by_pidfd, end_child};

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made it for this caller.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the C library keeps of its first thread where the kernel writes: needed to fork beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstThread {
    tid: u64,
    robust_list: usize,
    robust_len: usize,
}

impl FirstThread {
    /// Asks the kernel where the calling thread's id and list of robust locks are.
    pub(crate) fn of_caller() -> io::Result<Self> {
        const PR_GET_TID_ADDRESS: libc::c_int = 40;
        let mut tid = 0u64;
        // SAFETY: the kernel writes one pointer there.
        check(unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut tid, 0, 0, 0) })?;
        let (mut robust_list, mut robust_len) = (0usize, 0usize);
        let (list, len) = (&raw mut robust_list, &raw mut robust_len);
        // SAFETY: the kernel writes one pointer and one length.
        let got = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, list, len) };
        if got < 0 || tid == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { tid, robust_list, robust_len })
    }
}

/// One of the two sides after a fork.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The caller goes on; the pidfd is the new process's.
    Caller(u32, OwnedFd),
    /// The new process.
    Child,
}

/// Forks a process that is the caller's sibling: a child of the caller's parent, which waits for it.
///
/// # Safety
/// * The caller is the only thread of its process, and the one that `first` describes.
pub(crate) unsafe fn fork_sibling(first: FirstThread) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // The C library caches the thread's id: the kernel writes the new one there, as for a plain fork. Not `clone3`,
    // whose flags a filter cannot look at, so that containers refuse it; the older call takes all of these since 5.2.
    let flags =
        (libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID)
            .cast_unsigned();
    let (no_stack, no_locals) = (0usize, 0usize);
    let place = &raw mut pidfd;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: without shared memory the child has a copy of everything, and with one thread no lock is
    // held by a thread that it lacks.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags as usize, no_stack, place, first.tid as usize, no_locals)
    };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as above; most machines have the last two the other way round, see clone(2).
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags as usize, no_stack, place, no_locals, first.tid as usize)
    };
    match pid {
        0 => {
            let (list, len) = (first.robust_list, first.robust_len);
            // SAFETY: the list that the C library has registered for this thread before.
            unsafe { libc::syscall(libc::SYS_set_robust_list, list, len) };
            Ok(Forked::Child)
        }
        pid if pid > 0 => Ok(Forked::Caller(u32::try_from(pid).unwrap_or(0), owned(pidfd.into())?)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor for a process: readable when that has ended.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal to a child of this process that has the number `pid`; zero sends none and only looks. `ESRCH` if it
/// has ended.
///
/// Nobody may take the child's end in meanwhile: where a filter refuses `pidfd_send_signal`, the number is what counts.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, pid: u32, signal: i32) -> io::Result<()> {
    let none: *const libc::siginfo_t = core::ptr::null();
    // SAFETY: null asks for the usual siginfo.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    if sent >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A child keeps its number until its end is taken in. Where it is another user's now, `kill` answers EPERM too.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            // Where SIGCHLD is ignored, the kernel takes the end in: then the number may be another process's.
            if poll::wait(&mut [poll::want(pidfd, libc::POLLIN)], Some(Duration::ZERO))? {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // SAFETY: takes numbers only.
            check(unsafe { libc::kill(pid.cast_signed(), signal) })
        }
        error => Err(error),
    }
}

/// Takes the end of a child in, as `wait` would report it; `WouldBlock` while it runs.
pub(crate) fn pidfd_reap(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    let id = pidfd.as_raw_fd().cast_unsigned();
    // SAFETY: all zeros is a siginfo.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG) })?;
    // SAFETY: that of a child, or zeros.
    if unsafe { info.si_pid() } == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    })
}

/// Tells whether a child with that pid has ended, and nobody has taken that in.
pub(crate) fn is_ended_child(pid: u32) -> bool {
    // SAFETY: all zeros is a siginfo.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one siginfo.
    let looked = unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, look) };
    // SAFETY: that of a child, or zeros.
    looked == 0 && unsafe { info.si_pid() } != 0
}

/// Tells whether there is a process with that pid, of whichever user; one that has ended counts until it is taken in.
pub(crate) fn exists(pid: u32) -> bool {
    // SAFETY: takes numbers only; no signal is sent.
    let looked = unsafe { libc::kill(pid.cast_signed(), 0) };
    looked == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// The process that gets this one's end reported.
pub(crate) fn parent() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::getppid() }.cast_unsigned()
}

/// Lets the kernel kill the caller when the thread that has made it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Names the calling thread for `ps` and the like; what does not fit is cut.
pub(crate) fn set_name(name: &str) {
    let mut text = [0u8; 16];
    for (place, byte) in text[..15].iter_mut().zip(name.bytes().filter(|byte| *byte != 0)) {
        *place = byte;
    }
    // SAFETY: the text ends with a zero.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
}

/// Makes a folder the current one.
pub(crate) fn change_dir(folder: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a number only.
    check(unsafe { libc::fchdir(folder.as_raw_fd()) })
}

/// Opens the current folder, only to come back to it.
pub(crate) fn current_dir() -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path ends with a zero.
    owned(unsafe { libc::open(c".".as_ptr(), flags) }.into())
}

/// Puts a descriptor at a number, where an exec does not close it.
///
/// # Safety
/// * Nobody owns what is at that number now.
pub(crate) unsafe fn place(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: the caller's duty.
    check(unsafe { libc::dup2(fd.as_raw_fd(), at) })
}

/// Makes the calling process the leader of a process group of its own.
pub(crate) fn own_group() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setpgid(0, 0) })
}

/// Limits a resource of the calling process, softly and hard.
pub(crate) fn limit(resource: u32, most: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: most as libc::rlim_t, rlim_max: most as libc::rlim_t };
    // SAFETY: the limit lives through the call. The cast is to the type the C library gives resources.
    check(unsafe { libc::setrlimit(resource as _, &raw const limit) })
}

/// Blocks all signals of the calling thread that can be blocked, or none.
pub(crate) fn block_signals(block: bool) {
    // SAFETY: all zeros is a set, and is written below.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    if block {
        // SAFETY: a set.
        unsafe { libc::sigfillset(&raw mut set) };
    } else {
        // SAFETY: a set.
        unsafe { libc::sigemptyset(&raw mut set) };
    }
    // SAFETY: a set; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, core::ptr::null_mut()) };
}

/// Lets a write to a closed pipe fail instead of ending the process, as std does before `main`.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: replaces no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Tells whether an exec would close it; an error if it is not open.
pub(crate) fn closes_on_exec(fd: RawFd) -> io::Result<bool> {
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    check(flags)?;
    Ok(flags & libc::FD_CLOEXEC != 0)
}

/// Tells whether a number is the same open file in another process and in this one.
pub(crate) fn shares_file(other: u32, fd: RawFd) -> io::Result<bool> {
    const KCMP_FILE: libc::c_int = 0;
    let own = std::process::id();
    // SAFETY: takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, other, own, KCMP_FILE, fd, fd) };
    match order {
        0 => Ok(true),
        order if order > 0 => Ok(false),
        _ => match io::Error::last_os_error() {
            // The other has nothing at that number.
            error if error.raw_os_error() == Some(libc::EBADF) => Ok(false),
            error => Err(error),
        },
    }
}

/// Closes a descriptor by number.
///
/// # Safety
/// * Nobody owns it.
pub(crate) unsafe fn close(fd: RawFd) {
    // SAFETY: the caller's duty.
    unsafe { libc::close(fd) };
}

/// The number of the file behind a descriptor, if it is a socket.
pub(crate) fn socket_number(fd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: all zeros is a stat.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one stat.
    let got = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut found) };
    (got == 0 && found.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(found.st_ino)
}

/// Who has made a pair of sockets, as the kernel has noted it then.
pub(crate) struct Maker {
    pub(crate) pid: u32,
    pub(crate) user: u32,
}

/// Who has made a pair of sockets; `None` if the descriptor is not one of such a pair.
pub(crate) fn maker_of_socket(fd: BorrowedFd<'_>) -> Option<Maker> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of_val(&found) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to a place of that length.
    let got = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    // Zero stands for a process that this one cannot see.
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid != 0)?;
    (got == 0).then_some(Maker { pid, user: found.uid })
}

/// Whose rights a process has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    users: [libc::uid_t; 3],
    groups: [libc::gid_t; 3],
    further: Vec<libc::gid_t>,
}

/// The rights of the calling thread, which are the process's unless something has been changed by raw system calls.
pub(crate) fn credentials() -> Credentials {
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let [real, effective, saved] = &mut users;
    // SAFETY: the kernel writes one number to each place, and cannot fail.
    unsafe { libc::getresuid(real, effective, saved) };
    let [real, effective, saved] = &mut groups;
    // SAFETY: as above.
    unsafe { libc::getresgid(real, effective, saved) };
    // SAFETY: without room the call only tells how many there are.
    let count = unsafe { libc::getgroups(0, core::ptr::null_mut()) };
    let mut further = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the kernel writes at most `count` numbers.
    let count = unsafe { libc::getgroups(count.max(0), further.as_mut_ptr()) };
    further.truncate(usize::try_from(count).unwrap_or(0));
    Credentials { users, groups, further }
}

impl Credentials {
    /// Tells whether the real users or groups are others than the effective ones. The kernel then says of the next exec,
    /// whatever its program, that it gains rights (`AT_SECURE`, see getauxval(3)).
    pub(crate) fn differ(&self) -> bool {
        self.users[0] != self.users[1] || self.groups[0] != self.groups[1]
    }
}

/// Tells whether a filter judges the system calls of the calling thread.
pub(crate) fn is_filtered() -> bool {
    // SAFETY: takes numbers only. In a strict mode, the other answer than zero, the caller would be ended.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) != 0 }
}

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Tells whether the start of this program has given it rights that its caller does not have (`AT_SECURE`, see
/// getauxval(3)): setuid, setgid, file capabilities, or the word of a security module.
pub(crate) fn has_gained_rights() -> bool {
    // SAFETY: looks a number up.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Tells whether an exec of this program's file would give rights that this process does not have now.
pub(crate) fn own_file_gives_rights() -> bool {
    let path = c"/proc/self/exe";
    // SAFETY: all zeros is a stat.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: a path, and a place for one stat.
    let got = unsafe { libc::stat(path.as_ptr(), &raw mut found) };
    // SAFETY: takes nothing, and cannot fail.
    let user = unsafe { libc::getuid() };
    // SAFETY: as above.
    let group = unsafe { libc::getgid() };
    let gives_user = found.st_mode & libc::S_ISUID != 0 && found.st_uid != user;
    let gives_group = found.st_mode & libc::S_ISGID != 0 && found.st_gid != group;
    // SAFETY: a path and a name; without a place the call only tells the length.
    let capabilities =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), core::ptr::null_mut(), 0) };
    got == 0 && (gives_user || gives_group || (capabilities > 0 && user != 0))
}

/// Ends the process at once: no destructors, no handlers.
pub(crate) fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}
