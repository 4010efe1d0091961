//! Values as bytes and descriptors, and back.
#![forbid(unsafe_code)]

use core::any::type_name;
use core::fmt;
use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::io::passing;

/// A value cannot be turned into bytes.
///
/// # Examples
/// ```
/// use ropewalk::process::{SendError, pipe};
/// use std::os::unix::ffi::OsStringExt;
/// use std::{ffi::OsString, path::PathBuf};
///
/// let (here, _there) = pipe::<PathBuf, ()>()?;
/// let no_text = PathBuf::from(OsString::from_vec(vec![0xFF]));
/// match here.send(&no_text) {
///     Err(SendError::Encode(error)) => assert!(error.to_string().contains("PathBuf")),
///     other => unreachable!("serde takes paths that are text: {other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    what: &'static str,
    cause: String,
}

impl EncodeError {
    /// A `T` cannot travel.
    pub(crate) fn new<T: ?Sized>(cause: &str) -> Self {
        Self { what: type_name::<T>(), cause: cause.to_owned() }
    }
}

impl DecodeError {
    /// What came is not a `T`.
    pub(crate) fn new<T: ?Sized>(cause: &str) -> Self {
        Self { what: type_name::<T>().to_owned(), cause: cause.to_owned() }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of type {} cannot be encoded for another process: {}", self.what, self.cause)
    }
}

impl core::error::Error for EncodeError {}

/// Bytes from another process cannot be turned into a value.
///
/// # Examples
/// ```
/// use ropewalk::process::{RecvError, pipe};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(untagged)] // bytes do not say what they are, so this cannot be told apart
/// enum Either { Number(u8), Word(String) }
///
/// let (here, there) = pipe::<Either, Either>()?;
/// here.send(&Either::Number(7)).unwrap();
/// let Err(RecvError::Decode(error)) = there.recv() else { unreachable!() };
/// assert!(error.to_string().contains("Either"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct DecodeError {
    what: String,
    cause: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what came from another process is not a value of type {}: {}", self.what, self.cause)
    }
}

impl core::error::Error for DecodeError {}

/// Appends `value` to `bytes`, and gives them back with the descriptors of the handles in the value.
///
/// If there are any, what each is of follows the value, a byte for each, and last how many there are: where no type's
/// own encoding can write, and so that a message whose descriptors came in part is told from a whole one.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    bytes: Vec<u8>,
) -> Result<(Vec<u8>, Vec<OwnedFd>), EncodeError> {
    match passing::collect(|| postcard::to_extend(value, bytes)) {
        Ok((mut bytes, (fds, kinds))) => {
            if !kinds.is_empty() {
                // More than a byte can count are more than any message takes: zero fits no message with descriptors.
                let count = u8::try_from(kinds.len()).unwrap_or(0);
                bytes.extend(kinds);
                bytes.push(count);
            }
            Ok((bytes, fds))
        }
        Err(cause) => Err(EncodeError { what: type_name::<T>(), cause }),
    }
}

/// Why descriptors of a message are missing.
const LIMIT: &str = "this process may not have as many (ulimit -n)";

/// Makes a value of a message that was sent with descriptors. As [`decode`], but an error if none of them has come.
pub(crate) fn decode_with_handles<T: DeserializeOwned>(
    bytes: &[u8],
    fds: Vec<OwnedFd>,
) -> Result<T, DecodeError> {
    if fds.is_empty() {
        return Err(DecodeError::new::<T>(&format!("none of its descriptors came: {LIMIT}")));
    }
    decode(bytes, fds)
}

/// Makes a value of the whole of `bytes` and the descriptors that came with them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<T, DecodeError> {
    let failed = |cause: String| DecodeError { what: type_name::<T>().to_owned(), cause };
    let (bytes, kinds) = match (bytes.split_last(), fds.len()) {
        // None was sent, or none has come: then no handle can be taken.
        (_, 0) => (bytes, &[][..]),
        (Some((count, rest)), came) if usize::from(*count) == came && rest.len() >= came => {
            rest.split_at(rest.len() - came)
        }
        (_, came) => return Err(failed(format!("{came} of its descriptors came, and not all: {LIMIT}"))),
    };
    match passing::provide((fds, kinds.to_vec()), || postcard::take_from_bytes(bytes)) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(failed(format!("{} bytes are too many", rest.len()))),
        Err(cause) => Err(failed(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses;

    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not me"))
        }
    }

    #[test]
    fn a_handle_cannot_be_decoded_as_one_of_another_kind() {
        use crate::process::{Fd, Mutex, Pipe, Queue};
        use crate::shm::{Array, Region};
        fn refused<T: DeserializeOwned>(value: &impl Serialize) {
            let (bytes, fds) = encode(value, Vec::new()).unwrap();
            let error = decode::<T>(&bytes, fds).err().expect("the memory can be reached in two ways");
            assert!(error.to_string().contains("another kind"), "{error}");
        }
        let (mutex, queue) = (Mutex::new(1u64).unwrap(), Queue::<u8>::bounded(4).unwrap());
        // What of the memory could be written while somebody has a reference to it.
        refused::<Region>(&mutex);
        refused::<Fd>(&mutex);
        refused::<Array<u64>>(&mutex);
        refused::<(Region, Fd, Fd)>(&queue);
        refused::<Fd>(&Region::new(8).unwrap());
        refused::<Pipe<u8, u8>>(&Fd::from(std::os::fd::OwnedFd::from(std::io::pipe().unwrap().0)));
        let (bytes, fds) = encode(&(mutex.clone(), queue), Vec::new()).unwrap();
        let (again, _) = decode::<(Mutex<u64>, Queue<u8>)>(&bytes, fds).unwrap();
        *again.lock().unwrap() += 1;
        assert_eq!(*mutex.lock().unwrap(), 2);
    }

    #[test]
    fn a_message_whose_descriptors_came_in_part_is_refused_before_any_is_taken() {
        use crate::process::{Fd, Mutex};
        use serde::{Deserialize, Deserializer};

        /// Takes the first descriptor as a plain one, and keeps it whatever comes of the rest.
        struct Looter;
        thread_local! {
            static LOOT: core::cell::Cell<Option<Fd>> = const { core::cell::Cell::new(None) };
        }
        impl<'de> Deserialize<'de> for Looter {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                LOOT.set(Some(Fd::deserialize(deserializer)?));
                Ok(Self)
            }
        }
        let null = std::fs::File::open("/dev/null").unwrap();
        let sent = (Mutex::new(1u64).unwrap(), Fd::from(OwnedFd::from(null)));
        for left in 0..2 {
            let (bytes, mut fds) = encode(&sent, Vec::new()).unwrap();
            // What came is the mutex's memory. The kind that stands last is that of a plain descriptor.
            fds.truncate(left);
            assert!(decode::<Looter>(&bytes, fds).is_err());
            assert!(LOOT.take().is_none(), "memory with a lock was taken for a plain descriptor");
        }
    }

    #[test]
    fn values_come_back_and_misfits_are_named() {
        let (bytes, fds) = encode(&(7u32, "seven"), Vec::new()).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes, fds), Ok((7, "seven".to_owned())));
        assert!(decode::<u8>(&bytes, Vec::new()).unwrap_err().to_string().contains("u8"));
        assert!(decode::<(u32, String, u64)>(&bytes, Vec::new()).is_err());
        assert!(encode(&Refuses, Vec::new()).unwrap_err().to_string().contains("Refuses"));
    }
}
