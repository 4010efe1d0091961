//! Code as a number that means the same in every process of this program.
//!
//! The parent and its children are loaded from one file, each at an address of its own. A function is told
//! by its distance from `anchor`; that holds as long as both are the same file, which the fingerprint says.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::error::SpawnError;
use crate::sys::image::{self, Image};

#[derive(Debug)]
struct Program {
    image: Image,
    fingerprint: Vec<u8>,
}

/// The place that all others are measured from.
fn anchor() -> usize {
    anchor as fn() -> usize as *const () as usize
}

fn program() -> Option<&'static Program> {
    static PROGRAM: OnceLock<Option<Program>> = OnceLock::new();
    let find = || {
        let image = image::containing(anchor())?;
        let fingerprint = image.fingerprint();
        Some(Program { image, fingerprint })
    };
    PROGRAM.get_or_init(find).as_ref()
}

/// What tells this program from every other, and from another build of it.
pub(crate) fn fingerprint() -> &'static [u8] {
    program().map_or(&[], |program| &program.fingerprint)
}

/// The functions that run before `main`, as addresses.
pub(crate) fn init_array() -> &'static [usize] {
    program().map_or(&[], |program| program.image.init_array())
}

/// The number of a piece of code of the program.
pub(crate) fn number_of(code: *const ()) -> Result<u64, SpawnError> {
    let Some(program) = program().filter(|program| program.image.is_program()) else {
        return Err(SpawnError::Program(
            "processes can be started only by code that is a part of the program itself; this is a library \
             that was loaded into it"
                .to_owned(),
        ));
    };
    if !program.image.holds_code(code.addr()) {
        return Err(SpawnError::Program(
            "the function is not a part of the program itself; give one that is, which may call it"
                .to_owned(),
        ));
    }
    Ok(code.addr().wrapping_sub(anchor()) as u64)
}

/// The code with that number; `None` if there cannot be any.
pub(crate) fn code_of(number: u64) -> Option<*const ()> {
    let address = anchor().wrapping_add(number as usize);
    let holds = program().is_some_and(|program| program.image.holds_code(address));
    holds.then(|| core::ptr::with_exposed_provenance(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_code_of_the_program_and_nothing_else() {
        let own = numbers_name_code_of_the_program_and_nothing_else as fn() as *const ();
        let number = number_of(own).unwrap();
        assert_eq!(code_of(number), Some(own));
        let (value, foreign) = (0u8, libc::getpid as *const ());
        assert!(number_of((&raw const value).cast()).is_err());
        assert!(number_of(foreign).unwrap_err().to_string().contains("not a part of the program"));
        assert_eq!(code_of(u64::MAX / 2), None);
    }
}
