//! The loaded objects of the process, as the dynamic linker lists them.

use crate::base::cfi::Tables;

type Visit<'a> = &'a mut dyn FnMut(Tables<'_>);

struct Search<'a> {
    code: usize,
    visit: Visit<'a>,
}

/// Gives `visit` the unwind tables of the object that the code at `code` belongs to, if it has some.
///
/// The linker's lock is held meanwhile, so the object stays. `visit` must not panic.
pub(crate) fn with_tables(code: usize, visit: Visit<'_>) {
    let mut search = Search { code, visit };
    // SAFETY: the callback takes its last argument for a `Search`, which lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
}

unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: libc::size_t, data: *mut libc::c_void) -> i32 {
    // SAFETY: the linker passes a description that lives through the call.
    let info = unsafe { &*info };
    // SAFETY: `with_tables` passes its search.
    let search = unsafe { &mut *data.cast::<Search<'_>>() };
    // SAFETY: the linker describes an array of this length.
    let parts = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let start = |part: &libc::Elf64_Phdr| (info.dlpi_addr.wrapping_add(part.p_vaddr)) as usize;
    let holds = |part: &libc::Elf64_Phdr, address: usize| {
        part.p_type == libc::PT_LOAD
            && address.checked_sub(start(part)).is_some_and(|offset| offset < part.p_filesz as usize)
    };
    let is_code = |part: &&libc::Elf64_Phdr| part.p_flags & libc::PF_X != 0 && holds(part, search.code);
    if !parts.iter().any(|part| is_code(&part)) {
        return 0;
    }
    let Some(header) = parts.iter().find(|part| part.p_type == libc::PT_GNU_EH_FRAME).map(start) else {
        return 1;
    };
    // Writable bytes could change while they are read.
    let fixed = |part: &&libc::Elf64_Phdr| part.p_flags & libc::PF_W == 0 && holds(part, header);
    if let Some(segment) = parts.iter().find(fixed) {
        let address = start(segment);
        let place = core::ptr::with_exposed_provenance::<u8>(address);
        // SAFETY: a loaded, read-only segment of this length, which stays while the linker's lock is held.
        let bytes = unsafe { core::slice::from_raw_parts(place, segment.p_filesz as usize) };
        (search.visit)(Tables { bytes, address, header });
    }
    1
}
