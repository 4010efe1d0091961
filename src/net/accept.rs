//! Taking connections: what TCP and Unix listeners share.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::base::notice;
use crate::io::evented::{Direction, Evented};
use crate::runtime;
use crate::sys::socket::{self, RawAddr};

/// The first wait when the process or the system is out of descriptors, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// Waits for a connection and takes it.
///
/// Out of descriptors, it waits a little and tries again: the connection stays in the kernel's queue, and
/// nothing spins. Connections that are gone before they were taken are passed over.
pub(super) fn accept<L: AsFd>(listener: &Evented<L>) -> io::Result<(OwnedFd, RawAddr)> {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.run(Direction::Read, None, |listener| socket::accept(listener.as_fd())) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                if pause == FIRST_PAUSE {
                    notice::warn!("accept waits for a free descriptor: {error}");
                }
                runtime::sleep(pause);
                pause = (pause * 2).min(LAST_PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            other => return other,
        }
    }
}
