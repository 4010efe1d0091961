//! What the handles have in common: they are cloned, shown, and travel.
#![forbid(unsafe_code)]

use crate::base::event_word::EventWord;

/// An event on cache lines of its own.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Place(pub(super) EventWord);

/// Gives a handle (a tuple of one `Arc<Object<_>>`) its traits.
macro_rules! handle {
    ($name:ident $(<$param:ident: $bound:path>)?, $debug:expr) => {
        impl $(<$param: $bound>)? Clone for $name $(<$param>)? {
            fn clone(&self) -> Self {
                Self(std::sync::Arc::clone(&self.0))
            }
        }

        impl $(<$param: $bound>)? core::fmt::Debug for $name $(<$param>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let show: fn(&Self, &mut core::fmt::DebugStruct<'_, '_>) = $debug;
                let mut debug = f.debug_struct(stringify!($name));
                show(self, &mut debug);
                debug.finish_non_exhaustive()
            }
        }

        impl $(<$param: $bound>)? serde::Serialize for $name $(<$param>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::shm::travel::serialize(crate::io::passing::Kind::Object, self.0.file(), serializer)
            }
        }

        impl<'de $(, $param: $bound)?> serde::Deserialize<'de> for $name $(<$param>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let kind = crate::io::passing::Kind::Object;
                crate::shm::travel::deserialize(kind, deserializer, crate::shm::object::Object::open).map(Self)
            }
        }
    };
}
pub(super) use handle;
