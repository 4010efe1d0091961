//! Address space: reserve, guard, give back.

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reserves `len` bytes of readable and writable memory that costs nothing until it is touched.
pub(crate) fn reserve(len: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice touches nothing that exists.
    let place = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

/// Gives a reservation back.
///
/// # Safety
/// * It came from [`reserve`] with this length, and nobody uses it.
pub(crate) unsafe fn release(place: *mut u8, len: usize) {
    // SAFETY: the caller's duty.
    let _ = unsafe { libc::munmap(place.cast(), len) };
}

const MADV_GUARD_INSTALL: libc::c_int = 102;

/// What [`advise`] does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Every access to the pages faults, without a mapping of their own (Linux 6.13).
    Guard = MADV_GUARD_INSTALL as isize,
    /// The kernel takes the pages back; they read as zeros afterwards.
    Discard = libc::MADV_DONTNEED as isize,
}

/// A range of pages, as the kernel takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Range(libc::iovec);

impl Range {
    pub(crate) const EMPTY: Self = Self(libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 });

    pub(crate) fn new(place: *mut u8, len: usize) -> Self {
        Self(libc::iovec { iov_base: place.cast(), iov_len: len })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iov_len
    }
}

/// Gives a range an advice.
///
/// # Safety
/// * The pages belong to the caller and hold nothing that it needs.
pub(crate) unsafe fn advise(range: Range, advice: Advice) -> io::Result<()> {
    // SAFETY: the caller's duty.
    check(unsafe { libc::madvise(range.0.iov_base, range.0.iov_len, advice as libc::c_int) })
}

/// Gives many ranges one advice (Linux 6.15), and tells for how many bytes, from the first on.
///
/// # Safety
/// * The pages belong to the caller and hold nothing that it needs.
pub(crate) unsafe fn advise_many(ranges: &[Range], advice: Advice) -> io::Result<usize> {
    /// The calling thread's own address space, without a descriptor.
    const PIDFD_SELF_THREAD: libc::c_int = -10000;
    // SAFETY: the caller's duty; a `Range` is an iovec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            PIDFD_SELF_THREAD,
            ranges.as_ptr(),
            ranges.len(),
            advice as libc::c_int,
            0,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Makes every access to the pages fault, as a mapping of its own.
///
/// # Safety
/// * The pages belong to the caller and hold nothing.
pub(crate) unsafe fn protect(place: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's duty.
    check(unsafe { libc::mprotect(place.cast(), len, libc::PROT_NONE) })
}

/// Keeps huge pages out of a reservation: one would give a shallow stack 2 MiB.
///
/// # Safety
/// * The pages belong to the caller.
pub(crate) unsafe fn refuse_huge_pages(place: *mut u8, len: usize) {
    // SAFETY: the caller's duty. A kernel without huge pages says no, which is as good.
    let _ = unsafe { libc::madvise(place.cast(), len, libc::MADV_NOHUGEPAGE) };
}

/// Makes a file in memory without a name in any folder: gone with its last descriptor and mapping.
pub(crate) fn anonymous_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Maps the first `len` bytes of a file, shared with everybody who does so.
pub(crate) fn map_shared(file: BorrowedFd<'_>, len: usize) -> io::Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_raw_fd();
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
    let place = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

#[cfg(target_arch = "x86_64")]
const LARGEST_PAGE: usize = 4096;
#[cfg(not(target_arch = "x86_64"))]
const LARGEST_PAGE: usize = 65536;

/// A page with one word on it.
#[derive(Debug)]
#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
pub(crate) struct Page {
    word: AtomicU32,
    _rest: [u8; LARGEST_PAGE - size_of::<u32>()],
}

impl Page {
    /// All zeros.
    pub(crate) const fn new() -> Self {
        Self { word: AtomicU32::new(0), _rest: [0; LARGEST_PAGE - size_of::<u32>()] }
    }

    #[inline]
    pub(crate) const fn word(&self) -> &AtomicU32 {
        &self.word
    }
}

/// Lets the page be zeros in the child of any fork; where the kernel cannot do that, the C library calls `wipe` in
/// the child of those that it makes.
pub(crate) fn wipe_on_fork(page: &'static Page, wipe: extern "C" fn()) {
    let place = core::ptr::from_ref(page).cast_mut().cast();
    // SAFETY: the page holds nothing but an atomic word, and only a child loses it.
    let wiped = unsafe { libc::madvise(place, LARGEST_PAGE, libc::MADV_WIPEONFORK) };
    if wiped != 0 {
        // SAFETY: a static function.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    }
}
