//! The report of a stack overflow: a SIGSEGV in a guard of ours, or below the stack of a child's first thread,
//! which std does not look after, since no `main` has begun.
//!
//! Any other SIGSEGV goes to the handler that was there before. The handler runs on the thread's
//! alternate stack, takes no lock and allocates nothing.

use core::cell::{Cell, RefCell};
use std::sync::OnceLock;

use super::stack::arena::{find, guard_size, page_size};
use super::stack::{Header, Stack};
use super::unwind;
use crate::base::notice;
use crate::sys::{memory, signal, thread};

const ALTERNATE: usize = 64 * 1024;

/// The kernel keeps that much free below a stack that grows; who runs past its end faults there.
const GAP: usize = 1024 * 1024;

/// A child's first thread: the lowest address of its stack, the size, and who gives the child's name.
static FIRST: OnceLock<(usize, usize, Name)> = OnceLock::new();
type Name = fn() -> Option<&'static str>;

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

thread_local! {
    /// Whether this thread is prepared.
    static DONE: Cell<bool> = const { Cell::new(false) };
    static OWN: RefCell<Option<Alternate>> = const { RefCell::new(None) };
}

/// An alternate signal stack made here, with a guard below it. It is taken away again when its thread ends.
#[derive(Debug)]
struct Alternate(*mut u8);

impl Alternate {
    fn new() -> std::io::Result<Self> {
        let place = memory::reserve(guard_size() + ALTERNATE)?;
        // A stack without a guard is better than none, so a refusal is nothing to report.
        // SAFETY: reserved just now, and unused.
        let _ = unsafe { memory::protect(place, guard_size()) };
        let alternate = Self(place);
        // SAFETY: kept until the thread ends; `drop` takes it away before.
        unsafe { signal::set_alternate_stack(alternate.bottom(), ALTERNATE) };
        Ok(alternate)
    }

    fn bottom(&self) -> *mut u8 {
        self.0.wrapping_add(guard_size())
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        // SAFETY: takes it away.
        unsafe { signal::set_alternate_stack(core::ptr::null_mut(), ALTERNATE) };
        // SAFETY: reserved in `new`, and no longer the signal stack.
        unsafe { memory::release(self.0, guard_size() + ALTERNATE) };
    }
}

/// Makes overflows of coroutines that run on this thread be reported.
#[inline]
pub(crate) fn ensure_thread() {
    if !DONE.get() {
        DONE.set(true);
        prepare_thread();
    }
}

#[cold]
fn prepare_thread() {
    BEFORE.get_or_init(|| {
        // SAFETY: see the handler.
        unsafe { signal::install(libc::SIGSEGV, handler) }.expect("SIGSEGV can be handled")
    });
    if signal::has_alternate_stack() {
        return;
    }
    let _ = OWN.try_with(|own| match Alternate::new() {
        Ok(alternate) => *own.borrow_mut() = Some(alternate),
        // This may be a coroutine's first frame, which must not unwind.
        Err(error) => {
            unwind::report(|| notice::warn!("stack overflows on this thread will not be named: {error}"))
        }
    });
}

/// Makes overflows of the calling thread be reported, in this process and those that are forked from it; it is the
/// first one.
pub(crate) fn report_first_thread(name: Name) {
    if let Some((lowest, size)) = thread::own_stack() {
        FIRST.get_or_init(|| (lowest, size, name));
        ensure_thread();
    }
}

extern "C" fn handler(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo.
    let siginfo = unsafe { &*info };
    // SAFETY: that of a SIGSEGV has an address.
    let address = unsafe { siginfo.si_addr() }.addr();
    if let Some((bottom, size)) = find(address)
        && address < bottom.addr()
    {
        // SAFETY: the fault is a write of the coroutine on this slot, so the slot has a header.
        report(unsafe { &*Stack::header_of(bottom, size) }, size);
    }
    if let Some((lowest, size, name)) = FIRST.get()
        && (lowest.saturating_sub(GAP)..lowest + page_size()).contains(&address)
    {
        report_process(name(), *size);
    }
    pass_on(number, info, context);
}

/// As [`report`], of the first thread of a child.
fn report_process(name: Option<&str>, size: usize) -> ! {
    let mut line = Line { text: [0; 512], len: 0 };
    line.push(b"\nprocess '");
    line.push(name.unwrap_or_default().as_bytes());
    line.push(b"' (pid ");
    line.number(std::process::id().into());
    line.end(size)
}

/// Prints and aborts.
fn report(header: &Header, size: usize) -> ! {
    let mut line = Line { text: [0; 512], len: 0 };
    line.push(b"\ncoroutine '");
    if header.name.is_null() {
        line.push(b"unnamed");
    } else {
        // SAFETY: the name lives as long as the coroutine, which is on this stack now.
        line.push(unsafe { core::slice::from_raw_parts(header.name, header.name_len) });
    }
    line.push(b"' (#");
    line.number(header.id);
    line.end(size)
}

/// A line of text without allocation; what does not fit is cut.
struct Line {
    text: [u8; 512],
    len: usize,
}

impl Line {
    fn end(mut self, size: usize) -> ! {
        self.push(b") has overflowed its stack of ");
        self.number(size as u64 / 1024);
        self.push(b" KiB\n");
        // SAFETY: the buffer has `len` bytes.
        let _ = unsafe { libc::write(2, self.text.as_ptr().cast(), self.len) };
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(256) {
            if self.len < self.text.len() {
                self.text[self.len] = *byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}

/// Does what would have been done without us.
fn pass_on(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return restore_default(number) };
    // SAFETY: it was the action of this signal, and this is called by its handler.
    if !unsafe { signal::call(before, number, info, context) } {
        restore_default(number);
    }
}

/// The faulting instruction runs again when the handler returns, and ends the process this time.
fn restore_default(number: libc::c_int) {
    // SAFETY: the default action is always there.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}
