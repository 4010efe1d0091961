//! The first message to a child: what it is to do, or that nobody wants anything of it.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::channel::{Channel, Message};
use super::error::SpawnError;
use super::handle::Child;
use super::keeper::detach;
use crate::runtime::shield::Shield;

/// Tells whether the other side of a socket has ended.
pub(super) fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Sends a child what it is to do; false if it has ended.
pub(super) fn send((bytes, fds): &Message, channel: &Channel) -> Result<bool, SpawnError> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    match channel.send(bytes, &borrowed, None) {
        Err(error) if gone(&error) => Ok(false),
        sent => sent.map(|_| true).map_err(SpawnError::kernel("the arguments of the process")),
    }
}

/// Sends a child that waits what it is to do; false if it has ended. Not a cancellation point.
pub(crate) fn send_first(first: &Message, child: &Child) -> Result<bool, SpawnError> {
    let _shield = Shield::new();
    send(first, child.channel())
}

/// Lets a child end that waits for what it is to do.
pub(crate) fn dismiss(child: &Arc<Child>) {
    let _shield = Shield::new();
    // One that has ended needs no word.
    let _ = child.channel().send(&[], &[], None);
    detach(child);
}
