//! All replaced functions: name, groups, address, and what they have counted.
//!
//! The table refers to every function by its address, so whoever refers to the table (`patch` does) has them all
//! linked in.

use core::sync::atomic::{AtomicU64, Ordering};

use super::patch::group::{CHILDREN, FILES, LOCKS, NAMES, PIPES, SOCKETS, TIME, WAITING};
use super::{
    accept, between, by_name, c_lock, child, connect, descriptor, devices, epoll, files, fortified, inner,
    loader, made, message, message_queue, names, old_names, poll, record_lock, signal, spawn, stream,
    syscall, thread, thread_state, time, tried_again, turn,
};
use crate::runtime::worker_index;

/// Calls that keep the table of descriptors true.
pub(super) const EVERY: u32 = SOCKETS | TIME | WAITING | PIPES | FILES | NAMES | CHILDREN | LOCKS;

/// Sets of counters, one for each worker up to this many; those above share.
const SHARDS: usize = 16;

/// What one symbol has counted, for some of the workers.
#[repr(align(64))]
struct Counts {
    calls: AtomicU64,
    parks: AtomicU64,
    offloads: AtomicU64,
}

/// An address that may stand in a static.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) *const ());

// SAFETY: it is compared and printed, never followed.
unsafe impl Sync for Address {}

macro_rules! symbols {
    ($($symbol:ident: $name:literal, $groups:expr, $function:path;)*) => {
        /// A replaced function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Symbol {
            $(#[doc = $name] $symbol),*
        }

        /// All of them.
        pub(super) const ALL: &[Symbol] = &[$(Symbol::$symbol),*];

        static ADDRESSES: [Address; ALL.len()] = [$(Address($function as *const ())),*];

        impl Symbol {
            /// libc's name, as C has it.
            pub(super) const fn name(self) -> &'static core::ffi::CStr {
                match self { $(Self::$symbol => {
                    match core::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a name has no zero inside"),
                    }
                }),* }
            }

            /// As [`name`](Self::name), as text.
            pub(super) const fn text(self) -> &'static str {
                match self { $(Self::$symbol => $name),* }
            }

            /// The groups it belongs to: with any of them patched in, it waits like a coroutine.
            #[inline(always)]
            pub(super) const fn groups(self) -> u32 {
                match self { $(Self::$symbol => $groups),* }
            }
        }
    };
}

symbols! {
    ClockNanosleep: "clock_nanosleep", TIME, time::clock_nanosleep;
    Nanosleep: "nanosleep", TIME, time::nanosleep;
    Usleep: "usleep", TIME, time::usleep;
    Sleep: "sleep", TIME, time::sleep;
    SchedYield: "sched_yield", TIME, turn::sched_yield;
    ThrdYield: "thrd_yield", TIME, turn::thrd_yield;
    Read: "read", SOCKETS | PIPES | FILES, stream::read;
    Write: "write", SOCKETS | PIPES | FILES, stream::write;
    Readv: "readv", SOCKETS | PIPES | FILES, stream::readv;
    Writev: "writev", SOCKETS | PIPES | FILES, stream::writev;
    Recv: "recv", SOCKETS, message::recv;
    Recvfrom: "recvfrom", SOCKETS, message::recvfrom;
    Recvmsg: "recvmsg", SOCKETS, message::recvmsg;
    Recvmmsg: "recvmmsg", SOCKETS, message::recvmmsg;
    Send: "send", SOCKETS, message::send;
    Sendto: "sendto", SOCKETS, message::sendto;
    Sendmsg: "sendmsg", SOCKETS, message::sendmsg;
    Sendmmsg: "sendmmsg", SOCKETS, message::sendmmsg;
    Connect: "connect", SOCKETS, connect::connect;
    Accept: "accept", SOCKETS, accept::accept;
    Accept4: "accept4", SOCKETS, accept::accept4;
    Poll: "poll", WAITING, poll::poll;
    Ppoll: "ppoll", WAITING, poll::ppoll;
    Select: "select", WAITING, poll::select;
    Pselect: "pselect", WAITING, poll::pselect;
    EpollWait: "epoll_wait", WAITING, epoll::epoll_wait;
    EpollPwait: "epoll_pwait", WAITING, epoll::epoll_pwait;
    EpollPwait2: "epoll_pwait2", WAITING, epoll::epoll_pwait2;
    Sigwait: "sigwait", WAITING, tried_again::sigwait;
    Sigwaitinfo: "sigwaitinfo", WAITING, tried_again::sigwaitinfo;
    Sigtimedwait: "sigtimedwait", WAITING, tried_again::sigtimedwait;
    Syscall: "syscall", LOCKS, syscall::syscall;
    PthreadMutexLock: "pthread_mutex_lock", LOCKS, c_lock::pthread_mutex_lock;
    PthreadJoin: "pthread_join", LOCKS, thread::pthread_join;
    SemWait: "sem_wait", LOCKS, tried_again::sem_wait;
    SemTimedwait: "sem_timedwait", LOCKS, tried_again::sem_timedwait;
    SemClockwait: "sem_clockwait", LOCKS, tried_again::sem_clockwait;
    Semop: "semop", LOCKS, tried_again::semop;
    Semtimedop: "semtimedop", LOCKS, tried_again::semtimedop;
    Waitpid: "waitpid", CHILDREN, child::waitpid;
    Wait: "wait", CHILDREN, child::wait;
    Wait3: "wait3", CHILDREN, child::wait3;
    Wait4: "wait4", CHILDREN, child::wait4;
    Waitid: "waitid", CHILDREN, child::waitid;
    Getaddrinfo: "getaddrinfo", NAMES, names::getaddrinfo;
    Getnameinfo: "getnameinfo", NAMES, names::getnameinfo;
    Gethostbyname: "gethostbyname", NAMES, old_names::gethostbyname;
    Gethostbyname2: "gethostbyname2", NAMES, old_names::gethostbyname2;
    Gethostbyaddr: "gethostbyaddr", NAMES, old_names::gethostbyaddr;
    GethostbynameR: "gethostbyname_r", NAMES, old_names::gethostbyname_r;
    Gethostbyname2R: "gethostbyname2_r", NAMES, old_names::gethostbyname2_r;
    GethostbyaddrR: "gethostbyaddr_r", NAMES, old_names::gethostbyaddr_r;
    Pread: "pread", FILES, files::pread;
    Pread64: "pread64", FILES, files::pread64;
    Pwrite: "pwrite", FILES, files::pwrite;
    Pwrite64: "pwrite64", FILES, files::pwrite64;
    Preadv: "preadv", FILES, files::preadv;
    Preadv64: "preadv64", FILES, files::preadv64;
    Pwritev: "pwritev", FILES, files::pwritev;
    Pwritev64: "pwritev64", FILES, files::pwritev64;
    Fsync: "fsync", FILES, files::fsync;
    Fdatasync: "fdatasync", FILES, files::fdatasync;
    Open: "open", FILES, files::open;
    Open64: "open64", FILES, files::open64;
    Openat: "openat", FILES, files::openat;
    Openat64: "openat64", FILES, files::openat64;
    Stat: "stat", FILES, files::stat;
    Stat64: "stat64", FILES, files::stat64;
    Lstat: "lstat", FILES, files::lstat;
    Lstat64: "lstat64", FILES, files::lstat64;
    Fstatat: "fstatat", FILES, files::fstatat;
    Fstatat64: "fstatat64", FILES, files::fstatat64;
    Statx: "statx", FILES, files::statx;
    Mkdir: "mkdir", FILES, by_name::mkdir;
    Mkdirat: "mkdirat", FILES, by_name::mkdirat;
    Rmdir: "rmdir", FILES, by_name::rmdir;
    Unlink: "unlink", FILES, by_name::unlink;
    Unlinkat: "unlinkat", FILES, by_name::unlinkat;
    Rename: "rename", FILES, by_name::rename;
    Renameat: "renameat", FILES, by_name::renameat;
    Renameat2: "renameat2", FILES, by_name::renameat2;
    Link: "link", FILES, by_name::link;
    Linkat: "linkat", FILES, by_name::linkat;
    Symlink: "symlink", FILES, by_name::symlink;
    Symlinkat: "symlinkat", FILES, by_name::symlinkat;
    Readlink: "readlink", FILES, by_name::readlink;
    Readlinkat: "readlinkat", FILES, by_name::readlinkat;
    Access: "access", FILES, by_name::access;
    Chmod: "chmod", FILES, by_name::chmod;
    Chown: "chown", FILES, by_name::chown;
    Lchown: "lchown", FILES, by_name::lchown;
    Fchownat: "fchownat", FILES, by_name::fchownat;
    Utimensat: "utimensat", FILES, by_name::utimensat;
    Statfs: "statfs", FILES, by_name::statfs;
    Statfs64: "statfs64", FILES, by_name::statfs64;
    Getdents64: "getdents64", FILES, by_name::getdents64;
    Truncate: "truncate", FILES, by_name::truncate;
    Truncate64: "truncate64", FILES, by_name::truncate64;
    Ftruncate: "ftruncate", FILES, by_name::ftruncate;
    Ftruncate64: "ftruncate64", FILES, by_name::ftruncate64;
    Fallocate: "fallocate", FILES, by_name::fallocate;
    Fallocate64: "fallocate64", FILES, by_name::fallocate64;
    Sync: "sync", FILES, by_name::sync;
    Syncfs: "syncfs", FILES, by_name::syncfs;
    SyncFileRange: "sync_file_range", FILES, by_name::sync_file_range;
    Msync: "msync", FILES, by_name::msync;
    Opendir: "opendir", FILES, inner::opendir;
    Realpath: "realpath", FILES, inner::realpath;
    Remove: "remove", FILES, inner::remove;
    Faccessat: "faccessat", FILES, inner::faccessat;
    Fchmodat: "fchmodat", FILES, inner::fchmodat;
    Statvfs: "statvfs", FILES, inner::statvfs;
    Statvfs64: "statvfs64", FILES, inner::statvfs64;
    PosixFallocate: "posix_fallocate", FILES, inner::posix_fallocate;
    PosixFallocate64: "posix_fallocate64", FILES, inner::posix_fallocate64;
    Sendfile: "sendfile", SOCKETS | FILES, between::sendfile;
    Sendfile64: "sendfile64", SOCKETS | FILES, between::sendfile64;
    Splice: "splice", SOCKETS | PIPES, between::splice;
    Tee: "tee", PIPES, between::tee;
    Vmsplice: "vmsplice", PIPES, between::vmsplice;
    CopyFileRange: "copy_file_range", FILES, between::copy_file_range;
    Preadv2: "preadv2", SOCKETS | PIPES | FILES, files::preadv2;
    Preadv64v2: "preadv64v2", SOCKETS | PIPES | FILES, files::preadv64v2;
    Pwritev2: "pwritev2", SOCKETS | PIPES | FILES, files::pwritev2;
    Pwritev64v2: "pwritev64v2", SOCKETS | PIPES | FILES, files::pwritev64v2;
    Creat: "creat", FILES, made::creat;
    Creat64: "creat64", FILES, made::creat64;
    ReadChk: "__read_chk", SOCKETS | PIPES | FILES, fortified::__read_chk;
    PreadChk: "__pread_chk", FILES, fortified::__pread_chk;
    Pread64Chk: "__pread64_chk", FILES, fortified::__pread64_chk;
    RecvChk: "__recv_chk", SOCKETS, fortified::__recv_chk;
    RecvfromChk: "__recvfrom_chk", SOCKETS, fortified::__recvfrom_chk;
    PollChk: "__poll_chk", WAITING, fortified::__poll_chk;
    PpollChk: "__ppoll_chk", WAITING, fortified::__ppoll_chk;
    ReadlinkChk: "__readlink_chk", FILES, fortified::__readlink_chk;
    ReadlinkatChk: "__readlinkat_chk", FILES, fortified::__readlinkat_chk;
    RealpathChk: "__realpath_chk", FILES, fortified::__realpath_chk;
    OpenChk: "__open_2", FILES, fortified::__open_2;
    Open64Chk: "__open64_2", FILES, fortified::__open64_2;
    OpenatChk: "__openat_2", FILES, fortified::__openat_2;
    Openat64Chk: "__openat64_2", FILES, fortified::__openat64_2;
    EventfdRead: "eventfd_read", PIPES, devices::eventfd_read;
    EventfdWrite: "eventfd_write", PIPES, devices::eventfd_write;
    Tcdrain: "tcdrain", PIPES, devices::tcdrain;
    MqReceive: "mq_receive", PIPES, message_queue::mq_receive;
    MqTimedreceive: "mq_timedreceive", PIPES, message_queue::mq_timedreceive;
    MqSend: "mq_send", PIPES, message_queue::mq_send;
    MqTimedsend: "mq_timedsend", PIPES, message_queue::mq_timedsend;
    Msgrcv: "msgrcv", PIPES, tried_again::msgrcv;
    Msgsnd: "msgsnd", PIPES, tried_again::msgsnd;
    Flock: "flock", PIPES | FILES, record_lock::flock;
    Lockf: "lockf", FILES, record_lock::lockf;
    Lockf64: "lockf64", FILES, record_lock::lockf64;
    Dlopen: "dlopen", EVERY, loader::dlopen;
    Dlclose: "dlclose", EVERY, loader::dlclose;
    Vfork: "vfork", EVERY, child::vfork;
    ForkWithoutHandlers: "_Fork", EVERY, spawn::_Fork;
    PosixSpawnFileActionsAdddup2: "posix_spawn_file_actions_adddup2", EVERY, spawn::posix_spawn_file_actions_adddup2;
    Siginterrupt: "siginterrupt", EVERY, signal::siginterrupt;
    Pipe: "pipe", EVERY, made::pipe;
    Pipe2: "pipe2", EVERY, made::pipe2;
    Eventfd: "eventfd", EVERY, made::eventfd;
    TimerfdCreate: "timerfd_create", EVERY, made::timerfd_create;
    Signalfd: "signalfd", EVERY, made::signalfd;
    EpollCreate: "epoll_create", EVERY, made::epoll_create;
    EpollCreate1: "epoll_create1", EVERY, made::epoll_create1;
    InotifyInit: "inotify_init", EVERY, made::inotify_init;
    InotifyInit1: "inotify_init1", EVERY, made::inotify_init1;
    MemfdCreate: "memfd_create", EVERY, made::memfd_create;
    Socket: "socket", EVERY, descriptor::socket;
    Socketpair: "socketpair", EVERY, descriptor::socketpair;
    Setfsuid: "setfsuid", EVERY, thread_state::setfsuid;
    Setfsgid: "setfsgid", EVERY, thread_state::setfsgid;
    Capset: "capset", EVERY, thread_state::capset;
    Setns: "setns", EVERY, thread_state::setns;
    Unshare: "unshare", EVERY, thread_state::unshare;
    Prctl: "prctl", EVERY, thread_state::prctl;
    Close: "close", EVERY, descriptor::close;
    CloseRange: "close_range", EVERY, descriptor::close_range;
    Dup: "dup", EVERY, descriptor::dup;
    Dup2: "dup2", EVERY, descriptor::dup2;
    Dup3: "dup3", EVERY, descriptor::dup3;
    Fcntl: "fcntl", EVERY, descriptor::fcntl;
    Fcntl64: "fcntl64", EVERY, descriptor::fcntl64;
    Ioctl: "ioctl", EVERY, descriptor::ioctl;
    Setsockopt: "setsockopt", EVERY, descriptor::setsockopt;
}

static COUNTS: [[Counts; ALL.len()]; SHARDS] = [const {
    [const { Counts { calls: AtomicU64::new(0), parks: AtomicU64::new(0), offloads: AtomicU64::new(0) } };
        ALL.len()]
}; SHARDS];

impl Symbol {
    /// The address of the function here.
    pub(super) fn address(self) -> Address {
        ADDRESSES[self as usize]
    }

    fn counts(self) -> &'static Counts {
        &COUNTS[worker_index() % SHARDS][self as usize]
    }

    /// Counts a call that came from a coroutine.
    pub(super) fn count_call(self) {
        // Relaxed, here and below: figures.
        self.counts().calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a wait that gave the worker to others.
    pub(super) fn count_park(self) {
        self.counts().parks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that another thread made.
    pub(super) fn count_offload(self) {
        self.counts().offloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls, parks and offloads so far.
    pub(super) fn counted(self) -> [u64; 3] {
        let mut sums = [0; 3];
        for shard in &COUNTS {
            let counts = &shard[self as usize];
            for (sum, count) in sums.iter_mut().zip([&counts.calls, &counts.parks, &counts.offloads]) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums
    }
}
