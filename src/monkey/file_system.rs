//! What file systems do with calls: which live in memory, and which ask another program or machine.

use libc::c_int;

use super::hook::pass;

const PROC: u32 = 0x9fa0;

/// File systems that live in memory: what reads them never waits for a disk.
const IN_MEMORY: [u32; 8] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    PROC,
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x1cd1,      // devpts
];

/// File systems whose calls go to another program or machine.
const REMOTE: [u32; 14] = [
    0x6573_5546, // FUSE
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x517b,      // SMB
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x6b41_4653, // kAFS
    0x7375_7245, // Coda
    0x564c,      // NCP
    0x786f_4256, // VirtualBox's shared folders
    0x0bd0_0bd0, // Lustre
    0x2003_0528, // OrangeFS
];

/// How long a call may take, by the file system that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// No call waits.
    Memory = 1,
    /// What is cached is answered at once.
    Disk = 2,
    /// Any call may wait for somebody else.
    Remote = 3,
}

/// The kernel's `struct statfs` of a machine of 64 bits: its words.
type Status = [u64; 15];
const KIND: usize = 0;
const FLAGS: usize = 10;

fn status(fd: c_int) -> Option<Status> {
    let mut status: Status = [0; 15];
    (pass!(SYS_fstatfs, fd, status.as_mut_ptr()) == 0).then_some(status)
}

fn speed_of(status: &Status) -> Speed {
    let kind = status[KIND] as u32;
    if IN_MEMORY.contains(&kind) {
        Speed::Memory
    } else if REMOTE.contains(&kind) {
        Speed::Remote
    } else {
        Speed::Disk
    }
}

/// The speed of the file system that a descriptor is of. May wait where that is a remote one.
pub(super) fn speed(fd: c_int) -> Option<Speed> {
    status(fd).as_ref().map(speed_of)
}

/// Tells whether a descriptor is of proc, whose files may be about the thread that opens them.
pub(super) fn is_proc(fd: c_int) -> bool {
    status(fd).is_some_and(|status| status[KIND] as u32 == PROC)
}

/// Tells whether writes to the file end in the page cache of this machine.
pub(super) fn is_buffered(fd: c_int) -> bool {
    const DIRECT: isize = (libc::O_SYNC | libc::O_DSYNC | libc::O_DIRECT) as isize;
    let flags = pass!(SYS_fcntl, fd, libc::F_GETFL);
    let Some(status) = status(fd) else { return false };
    let synchronous = status[FLAGS] & libc::ST_SYNCHRONOUS != 0;
    flags >= 0 && flags & DIRECT == 0 && !synchronous && speed_of(&status) != Speed::Remote
}
