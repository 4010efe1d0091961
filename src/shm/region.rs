//! A piece of memory that several processes see: a memfd, mapped.
//!
//! ```text
//! file:       | head |      ring      |
//! addresses:  | head |      ring      | the same ring again |      (a mirrored region)
//! ```
//!
//! Invariants:
//! * R1: the file is sealed against shrinking, and all its memory was there when it was made: no access to
//!   the mapping can fault, whatever other processes do.
//! * R2: the mapping lives as long as the region, the file as long as anybody's mapping or descriptor.
//! * R3: addresses are given out as atomics or raw pointers, never as references to plain memory.
//!
//! There is no name and no tracker: the memory is gone with its last user, in whatever way that ends.
//! The descriptor is not given out: with it, safe code could write to the memory through the file.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::plain;
use crate::sys::{memory, shared, signal};

/// Memory that several processes see; gone with its last user.
///
/// Reads and writes go byte by byte as far as others can see: two that overlap mix, as they do in a file.
/// For whole values see [`Value`](super::Value) and [`Array`](super::Array).
///
/// # Examples
/// ```
/// let region = ropewalk::shm::Region::new(4096)?;
/// region.write(10, b"rope");
/// let mut bytes = [0; 4];
/// region.read(10, &mut bytes);
/// assert_eq!(&bytes, b"rope");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Region {
    place: NonNull<u8>,
    /// Bytes of addresses.
    reach: usize,
    /// Bytes of the file.
    len: usize,
    file: OwnedFd,
}

// SAFETY: the pointer is to a mapping that any thread may use; R3 leaves races to atomics and to those who
// use raw pointers.
unsafe impl Send for Region {}
// SAFETY: as for Send.
unsafe impl Sync for Region {}

fn whole_pages(len: usize) -> io::Result<usize> {
    len.checked_next_multiple_of(shared::page_len()).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// A file in memory without a name, of zeros: whole from the beginning, and never shorter (R1).
pub(crate) fn sealed_file(name: &CStr, len: usize) -> io::Result<OwnedFd> {
    refuse_too_much(len)?;
    let file = shared::memfd(name)?;
    // Plainly: the signal mask is this thread's, so this thread makes the calls.
    plain::plainly(|| {
        signal::without_size_signal(|| {
            shared::set_len(file.as_fd(), len)?;
            shared::allocate(file.as_fd(), len)
        })
    })?;
    shared::seal_len(file.as_fd())?;
    Ok(file)
}

/// The kernel gives pages one by one until there are none, and then ends processes: what is more than there is has
/// to be refused before.
fn refuse_too_much(len: usize) -> io::Result<()> {
    /// Not worth a look.
    const LITTLE: usize = 16 << 20;
    let available = if len < LITTLE { None } else { shared::available_memory() };
    match available.filter(|available| len as u64 > *available) {
        Some(available) => {
            let text =
                format!("{len} bytes of shared memory are more than the {available} that are to be had");
            Err(io::Error::new(io::ErrorKind::OutOfMemory, text))
        }
        None => Ok(()),
    }
}

impl Region {
    /// Makes a region of at least `len` zero bytes; the length is rounded up to whole pages.
    ///
    /// All its memory is taken now, so that a later access cannot fail.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(len: usize) -> io::Result<Self> {
        Self::with_ring(whole_pages(len.max(1))?, 0)
    }

    /// Makes a region of `head` bytes, followed by a ring that is mapped twice. Both are whole pages.
    pub(crate) fn with_ring(head: usize, ring: usize) -> io::Result<Self> {
        let len = head.checked_add(ring).ok_or(io::ErrorKind::FileTooLarge)?;
        let file = sealed_file(c"ropewalk", len)?;
        Self::map(file, head, ring)
    }

    /// Maps a file that another process has made in the same way.
    ///
    /// # Errors
    /// `InvalidData` if it is not such a file, or what the kernel says.
    pub(crate) fn from_file(file: OwnedFd, head: usize) -> io::Result<Self> {
        let (_, _, len) = shared::file_key(file.as_fd())?;
        let misfit = len == 0 || len < head || !len.is_multiple_of(shared::page_len());
        if misfit || !shared::is_sealed(file.as_fd())? {
            let text = "the descriptor is not one of shared memory of this crate";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let (head, ring) = if head == 0 { (len, 0) } else { (head, len - head) };
        Self::map(file, head, ring)
    }

    fn map(file: OwnedFd, head: usize, ring: usize) -> io::Result<Self> {
        let reach = ring.checked_mul(2).and_then(|twice| twice.checked_add(head));
        let reach = reach.ok_or(io::ErrorKind::FileTooLarge)?;
        let place = NonNull::new(shared::reserve(reach)?).ok_or(io::ErrorKind::OutOfMemory)?;
        // From here on dropping it gives the addresses back.
        let region = Self { place, reach, len: head + ring, file };
        // SAFETY: the first part of the fresh reservation.
        unsafe { shared::map_over(place.as_ptr(), region.file.as_fd(), 0, head + ring) }?;
        if ring > 0 {
            // SAFETY: inside the reservation, of head + 2 * ring bytes.
            let again = unsafe { place.as_ptr().add(head + ring) };
            // SAFETY: the rest of the fresh reservation.
            unsafe { shared::map_over(again, region.file.as_fd(), head, ring) }?;
        }
        Ok(region)
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The descriptor of the memory.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The address of byte `at`; `count` bytes from there are mapped.
    #[inline]
    pub(crate) fn at(&self, at: usize, count: usize) -> NonNull<u8> {
        assert!(
            at <= self.reach && count <= self.reach - at,
            "{count} bytes at {at} reach beyond the region"
        );
        // SAFETY: inside the mapping, as was just checked.
        unsafe { self.place.add(at) }
    }

    /// Copies bytes out, from byte `at`.
    ///
    /// # Panics
    /// If that reaches beyond the region.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        self.check(at, into.len());
        copy_out(self.at(at, into.len()), into);
    }

    /// Copies bytes in, from byte `at`.
    ///
    /// # Panics
    /// If that reaches beyond the region.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        copy_in(self.at(at, bytes.len()), bytes);
    }

    fn check(&self, at: usize, count: usize) {
        let fits = at.checked_add(count).is_some_and(|end| end <= self.len);
        assert!(fits, "{count} bytes at {at} reach beyond the region of {} bytes", self.len);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: reserved in `map` with this length; nobody borrows the region any more.
        unsafe { memory::release(self.place.as_ptr(), self.reach) };
    }
}

/// The word that byte `at` of a region lies in, and the place of that byte in the word.
fn word(place: NonNull<u8>, at: usize) -> (&'static AtomicU64, usize) {
    let within = (place.addr().get() + at) % size_of::<u64>();
    // SAFETY: only called below, for mapped bytes. A region is whole pages, so the word is mapped as well.
    let place = unsafe { place.offset(at as isize - within as isize) };
    // SAFETY: mapped and aligned, used within the call, and all who race for it use atomics of this size (R3).
    (unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) }, within)
}

/// Copies shared bytes, which others may be writing.
fn copy_out(place: NonNull<u8>, into: &mut [u8]) {
    let mut at = 0;
    while at < into.len() {
        let (word, within) = word(place, at);
        let count = (size_of::<u64>() - within).min(into.len() - at);
        // Relaxed: nothing rides on it; locks and events order those who want order.
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        into[at..at + count].copy_from_slice(&bytes[within..within + count]);
        at += count;
    }
}

/// Copies bytes to shared memory, where others may be reading or writing.
///
/// Accesses of different sizes to the same bytes must not race, so a word at the edge is exchanged whole.
fn copy_in(place: NonNull<u8>, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let (word, within) = word(place, at);
        let count = (size_of::<u64>() - within).min(bytes.len() - at);
        let part = &bytes[at..at + count];
        // Relaxed throughout: as in `copy_out`.
        if let Ok(whole) = part.try_into() {
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        } else {
            let mut before = word.load(Ordering::Relaxed);
            loop {
                let mut after = before.to_ne_bytes();
                after[within..within + count].copy_from_slice(part);
                let after = u64::from_ne_bytes(after);
                match word.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => before = now,
                }
            }
        }
        at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_ring_is_the_same_memory_twice() {
        let page = shared::page_len();
        let region = Region::with_ring(page, page).unwrap();
        copy_in(region.at(2 * page - 3, 6), b"abcdef");
        let mut start = [0; 3];
        copy_out(region.at(page, 3), &mut start);
        assert_eq!(&start, b"def");
    }

    #[test]
    fn bytes_come_back_at_every_alignment() {
        let region = Region::new(64).unwrap();
        for at in 0..9 {
            for len in 0..20u8 {
                let bytes: Vec<u8> = (0..len).map(|n| n.wrapping_mul(7) + 1).collect();
                region.write(at, &bytes);
                let mut back = vec![0; bytes.len()];
                region.read(at, &mut back);
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    fn writers_of_neighbouring_bytes_do_not_undo_each_other() {
        let region = Region::new(64).unwrap();
        std::thread::scope(|scope| {
            for (at, len) in [(0, 3), (3, 7), (10, 1), (11, 13)] {
                let region = &region;
                scope.spawn(move || {
                    for round in 0..2_000u16 {
                        let bytes = vec![round as u8; len];
                        region.write(at, &bytes);
                        let mut back = vec![0; len];
                        region.read(at, &mut back);
                        assert_eq!(back, bytes);
                    }
                });
            }
        });
    }

    #[test]
    fn the_length_is_sealed_and_a_foreign_file_is_refused() {
        let region = Region::new(10).unwrap();
        assert_eq!(region.len(), shared::page_len());
        assert!(shared::set_len(region.file(), 0).is_err(), "it could be shrunk");
        let file = std::fs::File::from(region.file().try_clone_to_owned().unwrap());
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        assert!(blocks * 512 >= region.len() as u64, "its memory is not there yet");
        let (pipe, _other) = io::pipe().unwrap();
        assert!(Region::from_file(pipe.into(), 0).is_err());
        let open = shared::memfd(c"open").unwrap();
        shared::set_len(open.as_fd(), shared::page_len()).unwrap();
        assert!(Region::from_file(open, 0).is_err(), "a file that can shrink was taken");
    }
}
