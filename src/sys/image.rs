//! The program in memory: what the dynamic linker tells about it.

use core::ffi::c_void;
use core::slice;

/// A loaded object.
#[derive(Debug)]
pub(crate) struct Image {
    /// What is to be added to the addresses of its file.
    base: usize,
    headers: &'static [libc::Elf64_Phdr],
    is_program: bool,
}

struct Search {
    address: usize,
    seen: usize,
    found: Option<Image>,
}

/// The object that `address` lies in.
pub(crate) fn containing(address: usize) -> Option<Image> {
    extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> libc::c_int {
        // SAFETY: `containing` passes its own search, which nobody else uses meanwhile.
        let search = unsafe { &mut *search.cast::<Search>() };
        // SAFETY: the dynamic linker passes an object's description.
        let info = unsafe { &*info };
        search.seen += 1;
        // SAFETY: the headers are a part of the object. That of a library could be unloaded, but only
        // one that holds an address in use is kept.
        let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let image = Image { base: info.dlpi_addr as usize, headers, is_program: search.seen == 1 };
        if !image.holds(search.address, 0) {
            return 0;
        }
        search.found = Some(image);
        1
    }
    let mut search = Search { address, seen: 0, found: None };
    // SAFETY: the function fits, and the search lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

impl Image {
    /// Tells whether it is the program itself and not a library.
    pub(crate) fn is_program(&self) -> bool {
        self.is_program
    }

    /// Tells whether the address lies in a loaded part that has all of the `flags`.
    pub(crate) fn holds(&self, address: usize, flags: u32) -> bool {
        self.headers.iter().any(|header| {
            let begin = self.base.wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD
                && header.p_flags & flags == flags
                && address.wrapping_sub(begin) < header.p_memsz as usize
        })
    }

    /// Tells whether code may lie at the address.
    pub(crate) fn holds_code(&self, address: usize) -> bool {
        self.holds(address, libc::PF_X)
    }

    /// The parts of a kind, as bytes in memory.
    fn parts(&self, kind: u32) -> impl Iterator<Item = &'static [u8]> {
        self.headers.iter().filter(move |header| header.p_type == kind).filter_map(|header| {
            let begin = self.base.wrapping_add(header.p_vaddr as usize);
            let len = header.p_memsz as usize;
            (len > 0 && self.holds(begin, libc::PF_R) && self.holds(begin + len - 1, libc::PF_R)).then(|| {
                // SAFETY: the whole part lies in loaded, readable memory, which stays.
                unsafe { slice::from_raw_parts(core::ptr::with_exposed_provenance(begin), len) }
            })
        })
    }

    /// The linker's fingerprint of the program; without one, a hash of its layout and constants.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        self.parts(libc::PT_NOTE).find_map(build_id).map_or_else(|| self.hash().to_vec(), <[u8]>::to_vec)
    }

    /// Of where the parts lie, and what is in those that nobody writes: constants, names, and the tables that say how
    /// long functions are. Code is left out, because a debugger writes to it.
    fn hash(&self) -> [u8; 8] {
        let layout = self.headers.iter().flat_map(|header| {
            [u64::from(header.p_type), header.p_offset, header.p_vaddr, header.p_filesz, header.p_memsz]
        });
        let constant = |header: &&libc::Elf64_Phdr| {
            header.p_type == libc::PT_LOAD
                && header.p_flags == libc::PF_R
                && header.p_filesz == header.p_memsz
        };
        let contents = self.headers.iter().filter(constant).flat_map(|header| {
            let begin = self.base.wrapping_add(header.p_vaddr as usize);
            let place = core::ptr::with_exposed_provenance::<u8>(begin);
            // SAFETY: a loaded part that is readable and not writable, and stays.
            let bytes = unsafe { slice::from_raw_parts(place, header.p_filesz as usize) };
            bytes.chunks(8).map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            })
        });
        // FNV-1a, by words, with the upper bits mixed in.
        let hash = layout.chain(contents).fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            let hash = (hash ^ word).wrapping_mul(0x100_0000_01b3);
            hash ^ hash >> 29
        });
        hash.to_le_bytes()
    }

    /// The functions that the dynamic linker runs before `main`.
    pub(crate) fn init_array(&self) -> &'static [usize] {
        const DT_NULL: u64 = 0;
        const DT_INIT_ARRAY: u64 = 25;
        const DT_INIT_ARRAYSZ: u64 = 27;
        let Some(dynamic) = self.parts(libc::PT_DYNAMIC).next() else { return &[] };
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        let entries = dynamic.chunks_exact(16).map(|entry| (word(&entry[..8]), word(&entry[8..])));
        let (mut begin, mut len) = (0, 0);
        for (tag, value) in entries.take_while(|(tag, _)| *tag != DT_NULL) {
            match tag {
                DT_INIT_ARRAY => begin = self.base.wrapping_add(value as usize),
                DT_INIT_ARRAYSZ => len = value as usize / size_of::<usize>(),
                _ => {}
            }
        }
        let last = begin.wrapping_add((len * size_of::<usize>()).saturating_sub(1));
        if len == 0 || !self.holds(begin, libc::PF_R) || !self.holds(last, libc::PF_R) {
            return &[];
        }
        // SAFETY: the whole array lies in loaded, readable memory, which stays.
        unsafe { slice::from_raw_parts(core::ptr::with_exposed_provenance(begin), len) }
    }
}

/// The build id among notes: each is lengths of name and content, a type, the two padded to 4 bytes.
fn build_id(mut notes: &'static [u8]) -> Option<&'static [u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    while let Some((head, rest)) = notes.split_at_checked(12) {
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_len, len) = (word(0) as usize, word(4) as usize);
        let (name, rest) = rest.split_at_checked(name_len.next_multiple_of(4))?;
        let content = rest.get(..len)?;
        if word(8) == NT_GNU_BUILD_ID && name.starts_with(b"GNU\0") && !content.is_empty() {
            return Some(content);
        }
        notes = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_with_its_code_and_its_fingerprint() {
        let own = the_program_is_found_with_its_code_and_its_fingerprint as fn() as usize;
        let image = containing(own).expect("a function lies in an object");
        assert!(image.is_program() && image.holds_code(own));
        assert!(!image.holds_code((&raw const own).addr()));
        assert!(image.fingerprint().len() >= 8);
        // What a program has that was linked without a build id.
        assert_eq!(image.hash(), containing(own).unwrap().hash());
        assert!(image.init_array().iter().all(|entry| *entry == 0 || containing(*entry).is_some()));
        let library = containing(libc::getpid as *const () as usize).expect("libc is an object");
        assert_ne!(library.fingerprint(), image.fingerprint());
        assert_ne!(library.hash(), image.hash());
    }

    #[test]
    fn a_build_id_is_found_among_notes_and_broken_notes_are_refused() {
        let word = u32::to_ne_bytes;
        let note = |kind: u32, content: &[u8]| {
            let mut note = [word(4), word(content.len() as u32), word(kind), *b"GNU\0"].concat();
            note.extend(content);
            note.resize(note.len().next_multiple_of(4), 0);
            note
        };
        let notes = [note(1, b"abc"), note(3, b"fingerprint")].concat().leak();
        assert_eq!(build_id(notes), Some(&b"fingerprint"[..]));
        assert_eq!(build_id(&notes[..30]), None);
        assert_eq!(build_id(&[0xff; 40]), None);
    }
}
