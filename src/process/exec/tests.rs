//! What a program says first that was started anew, if it is another than this one.
#![forbid(unsafe_code)]

use super::*;

/// What becomes of a first word.
fn word(bytes: Option<&[u8]>) -> Result<Hello, String> {
    let (here, there) = Channel::pair().unwrap();
    let there = Channel::from(there);
    let (_own, parents) = Channel::pair().unwrap();
    if let Some(bytes) = bytes {
        there.send(bytes, &[parents.as_fd()], None).unwrap();
    }
    drop(there);
    // Somebody who lives on.
    let pidfd = Pollable::from(process::pidfd_open(std::process::id()).unwrap());
    expect_hello(&here, &pidfd).map(|(hello, _)| hello).map_err(|error| error.to_string())
}

fn hello(fingerprint: Vec<u8>) -> Vec<u8> {
    codec::encode(&Hello { fingerprint, can_fork: Ok(()) }, Vec::new()).unwrap().0
}

#[test]
fn another_build_or_program_in_the_place_of_this_one_is_a_clear_error() {
    assert!(word(Some(&hello(program::fingerprint().to_vec()))).is_ok());
    let mut other = program::fingerprint().to_vec();
    other[0] ^= 1;
    for (bytes, why) in [
        (Some(hello(other)), "build id differs"),
        (Some(hello(Vec::new())), "build id differs"),
        (Some(b"HTTP/1.1 400 Bad Request".to_vec()), "not a value of type"),
        (None, "ended without a word"),
    ] {
        let error = word(bytes.as_deref()).unwrap_err();
        assert!(error.contains("/proc/self/exe is not this program") && error.contains(why), "{error}");
    }
}
