//! Any descriptor, as a value that travels.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::io::passing::{self, Kind};

/// A descriptor that travels to another process: in arguments, in results, in messages.
///
/// The receiver gets a descriptor of its own for the same file, pipe or socket; the sender keeps this one.
/// Encoded with serde anywhere else, it is an error.
///
/// # Examples
/// ```
/// use ropewalk::process::{Fd, Process};
/// use std::io::{PipeWriter, Read, Write};
/// use std::os::fd::OwnedFd;
///
/// let (mut reader, writer) = std::io::pipe().unwrap();
/// let tell = |fd: Fd| PipeWriter::from(OwnedFd::from(fd)).write_all(b"rope").unwrap();
/// let child = Process::spawn(tell, Fd::from(OwnedFd::from(writer)))?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "rope");
/// child.join().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Debug)]
pub struct Fd(OwnedFd);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        fd.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = passing::pass(self.0.as_fd(), Kind::Plain).map_err(S::Error::custom)?;
        serializer.serialize_u32(index)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        passing::take(index, Kind::Plain).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::codec::{decode, encode};
    use std::io::{Read, Write};

    #[test]
    fn a_descriptor_travels_with_the_message_only() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (bytes, fds) = encode(&(1u8, Fd::from(OwnedFd::from(writer))), Vec::new()).unwrap();
        let (_, fd): (u8, Fd) = decode(&bytes, fds).unwrap();
        std::io::PipeWriter::from(OwnedFd::from(fd)).write_all(b"there").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "there");
        assert!(decode::<(u8, Fd)>(&bytes, Vec::new()).is_err());
    }
}
