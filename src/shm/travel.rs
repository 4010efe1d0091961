//! Handles of shared memory travel as a descriptor beside the message.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::array::Array;
use super::pod::Pod;
use super::region::Region;
use super::value::Value;
use crate::io::passing::{self, Kind};

/// Encodes a handle: the number that stands for its descriptor.
pub(crate) fn serialize<S: Serializer>(
    kind: Kind,
    file: BorrowedFd<'_>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(passing::pass(file, kind).map_err(S::Error::custom)?)
}

/// Decodes a handle, with `open` for the descriptor that came along.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, T>(
    kind: Kind,
    deserializer: D,
    open: impl FnOnce(OwnedFd) -> io::Result<T>,
) -> Result<T, D::Error> {
    let file = passing::take(u32::deserialize(deserializer)?, kind).map_err(D::Error::custom)?;
    open(file).map_err(passing::blame).map_err(D::Error::custom)
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(Kind::Region, self.file(), serializer)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(Kind::Region, deserializer, |file| Self::from_file(file, 0))
    }
}

impl<P: Pod> Serialize for Array<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(Kind::Array, self.file(), serializer)
    }
}

impl<'de, P: Pod> Deserialize<'de> for Array<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(Kind::Array, deserializer, Self::open)
    }
}

impl<P: Pod> Serialize for Value<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(Kind::Array, self.file(), serializer)
    }
}

impl<'de, P: Pod> Deserialize<'de> for Value<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(Kind::Array, deserializer, Self::open)
    }
}
