//! Look-ups of names: libc's own functions, on threads of a pool.
//!
//! What a look-up reads is copied for the thread, and what it answers is copied back, so a cancelled one is left
//! alone: it ends by itself, and its answer is freed.

use core::ffi::{CStr, c_char, c_void};
use core::{mem, ptr};
use std::ffi::CString;

use libc::{addrinfo, c_int, sockaddr, socklen_t};

use super::ask::ask;
use super::real::find;
use super::symbols::Symbol;
use super::{errno, gate};

type GetAddrInfo =
    unsafe extern "C" fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;

/// A list of libc's that is freed with its owner.
struct List(*mut addrinfo);

// SAFETY: the list is its owner's alone, and libc lets any thread free it.
unsafe impl Send for List {}

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `getaddrinfo` made it, and it was not given away.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// # Safety
/// * Null, or a string of the caller's.
unsafe fn owned(text: *const c_char) -> Option<CString> {
    // SAFETY: the caller's duty.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned())
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// libc's `getaddrinfo`: the error is what it returns. Cancelled, that is `EAI_SYSTEM` with `ECANCELED`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    let Some(found) = find(c"getaddrinfo") else { return libc::EAI_SYSTEM };
    // SAFETY: libc's function has this type.
    let real = unsafe { mem::transmute::<*const c_void, GetAddrInfo>(found.as_ptr()) };
    if !gate::open(Symbol::Getaddrinfo) {
        // SAFETY: the caller's duty.
        return unsafe { real(node, service, hints, result) };
    }
    Symbol::Getaddrinfo.count_offload();
    // SAFETY: the caller's duty.
    let node = unsafe { owned(node) };
    // SAFETY: the caller's duty.
    let service = unsafe { owned(service) };
    // SAFETY: null, or the caller's.
    let hints = unsafe { hints.as_ref() }
        .map(|hints| [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol]);
    let before = errno::get();
    let answer = ask(move || {
        // SAFETY: all zeros are hints that say nothing.
        let mut wanted: addrinfo = unsafe { mem::zeroed() };
        if let Some([flags, family, kind, protocol]) = hints {
            wanted.ai_flags = flags;
            wanted.ai_family = family;
            wanted.ai_socktype = kind;
            wanted.ai_protocol = protocol;
        }
        let wanted = if hints.is_some() { &raw const wanted } else { ptr::null() };
        let mut list = List(ptr::null_mut());
        // SAFETY: strings and hints live through the call.
        let error = unsafe { real(pointer(&node), pointer(&service), wanted, &raw mut list.0) };
        if error != 0 {
            list.0 = ptr::null_mut();
        }
        (error, errno::get(), list)
    });
    let Some((error, number, list)) = answer else {
        errno::set(libc::ECANCELED);
        return libc::EAI_SYSTEM;
    };
    errno::set(if error == libc::EAI_SYSTEM { number } else { before });
    if error == 0 {
        // SAFETY: the caller's place. The list is the caller's from now on.
        unsafe { result.write(mem::ManuallyDrop::new(list).0) };
    }
    error
}

type GetNameInfo = unsafe extern "C" fn(
    *const sockaddr,
    socklen_t,
    *mut c_char,
    socklen_t,
    *mut c_char,
    socklen_t,
    c_int,
) -> c_int;

/// Copies what a look-up has answered into the caller's buffer.
///
/// # Safety
/// * The buffer is null or the caller's, and at least as long as `from`.
unsafe fn copy_back(from: &[u8], to: *mut c_char) {
    let text = from.iter().position(|byte| *byte == 0).map_or(from.len(), |end| end + 1);
    if !to.is_null() {
        // SAFETY: the caller's duty.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), text) };
    }
}

/// libc's `getnameinfo`: the error is what it returns.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    len: socklen_t,
    host: *mut c_char,
    host_len: socklen_t,
    service: *mut c_char,
    service_len: socklen_t,
    flags: c_int,
) -> c_int {
    let Some(found) = find(c"getnameinfo") else { return libc::EAI_SYSTEM };
    // SAFETY: libc's function has this type.
    let real = unsafe { mem::transmute::<*const c_void, GetNameInfo>(found.as_ptr()) };
    if address.is_null() || !gate::open(Symbol::Getnameinfo) {
        // SAFETY: the caller's duty.
        return unsafe { real(address, len, host, host_len, service, service_len, flags) };
    }
    Symbol::Getnameinfo.count_offload();
    // SAFETY: the caller's address has that length.
    let given = unsafe { core::slice::from_raw_parts(address.cast::<u8>(), len as usize) };
    // In words, so that the copy is aligned as an address is.
    let mut words = vec![0u64; given.len().div_ceil(8)];
    for (word, bytes) in words.iter_mut().zip(given.chunks(8)) {
        let mut full = [0; 8];
        full[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(full);
    }
    let (wants_host, wants_service) = (!host.is_null(), !service.is_null());
    let before = errno::get();
    let answer = ask(move || {
        let mut host = vec![0u8; if wants_host { host_len as usize } else { 0 }];
        let mut service = vec![0u8; if wants_service { service_len as usize } else { 0 }];
        let place = |wanted: bool, buffer: &mut Vec<u8>| {
            if wanted { buffer.as_mut_ptr().cast::<c_char>() } else { ptr::null_mut() }
        };
        let (host_place, service_place) = (place(wants_host, &mut host), place(wants_service, &mut service));
        let address = words.as_ptr().cast();
        // SAFETY: all buffers live through the call, and have these lengths.
        let error = unsafe { real(address, len, host_place, host_len, service_place, service_len, flags) };
        (error, errno::get(), host, service)
    });
    let Some((error, number, found_host, found_service)) = answer else {
        errno::set(libc::ECANCELED);
        return libc::EAI_SYSTEM;
    };
    errno::set(if error == libc::EAI_SYSTEM { number } else { before });
    if error == 0 {
        // SAFETY: the caller's buffers are as long as those.
        unsafe { copy_back(&found_host, host) };
        // SAFETY: as above.
        unsafe { copy_back(&found_service, service) };
    }
    error
}
