//! Input and output that parks instead of blocking: what sockets share, and what pipes will.

pub(crate) mod evented;
