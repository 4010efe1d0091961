//! What all sockets have in common.
#![forbid(unsafe_code)]

/// Conversions and descriptors.
macro_rules! common {
    ($name:ident, $std:ty) => {
        impl $name {
            fn wrap(inner: $std) -> std::io::Result<Self> {
                Ok(Self { io: $crate::io::evented::Evented::new(inner)? })
            }

            /// Takes over a socket of std's.
            ///
            /// # Errors
            /// What the kernel says when it is made non-blocking or registered.
            pub fn from_std(inner: $std) -> std::io::Result<Self> {
                inner.set_nonblocking(true)?;
                Self::wrap(inner)
            }

            /// Gives the socket back to std, blocking again; for all handles to it, as this is the socket's
            /// own property: give back the last one.
            ///
            /// # Errors
            /// What the kernel says when it is made blocking.
            pub fn into_std(self) -> std::io::Result<$std> {
                let inner = self.io.into_inner();
                inner.set_nonblocking(false)?;
                Ok(inner)
            }

            /// Makes another handle to the same socket, registered by itself: with timeouts of its own, and
            /// closed by itself.
            ///
            /// # Errors
            /// What the kernel says.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                self.io.lend();
                Self::wrap(self.io.inner.try_clone()?)
            }

            /// Makes calls through this handle return `WouldBlock` instead of waiting. For the kernel, the
            /// socket is non-blocking all the time.
            ///
            /// # Errors
            /// Never; as std has it.
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.io.set_nonblocking(nonblocking);
                Ok(())
            }

            /// The error that waits at the socket, if there is one.
            ///
            /// # Errors
            /// What the kernel says.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.io.inner.take_error()
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.io.lend();
                self.io.inner.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.io.lend();
                std::os::fd::AsRawFd::as_raw_fd(&self.io.inner)
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            fn from(socket: $name) -> Self {
                socket.io.into_inner().into()
            }
        }

        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::OwnedFd::from(self).into_raw_fd()
            }
        }

        /// Takes a socket over as [`from_std`](Self::from_std) does, but registers it when it first has to
        /// wait: what the kernel says then is that wait's error.
        impl From<$std> for $name {
            /// # Panics
            /// If it cannot be made non-blocking: then it is no open socket.
            fn from(inner: $std) -> Self {
                inner.set_nonblocking(true).expect("an open socket can be made non-blocking");
                Self { io: $crate::io::evented::Evented::adopt(inner) }
            }
        }

        /// Takes a descriptor over, which has to be such a socket.
        impl From<std::os::fd::OwnedFd> for $name {
            fn from(descriptor: std::os::fd::OwnedFd) -> Self {
                <$std>::from(descriptor).into()
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.io.inner.fmt(f)
            }
        }
    };
}

/// Timeouts of both directions.
macro_rules! timeouts {
    ($name:ident) => {
        impl $name {
            /// Sets how long a receive waits through this handle; `None` for ever. Then it is an error of the
            /// kind `TimedOut`.
            ///
            /// # Examples
            /// ```
            /// let (a, _b) = ropewalk::net::UnixDatagram::pair()?;
            /// a.set_read_timeout(Some(std::time::Duration::from_millis(1)))?;
            /// assert_eq!(a.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_read_timeout(&self, limit: Option<core::time::Duration>) -> std::io::Result<()> {
                self.io.set_timeout($crate::io::evented::Direction::Read, limit)
            }

            /// Sets how long a send waits through this handle; `None` for ever. Then it is an error of the
            /// kind `TimedOut`.
            ///
            /// # Errors
            /// `InvalidInput` for a timeout of zero.
            pub fn set_write_timeout(&self, limit: Option<core::time::Duration>) -> std::io::Result<()> {
                self.io.set_timeout($crate::io::evented::Direction::Write, limit)
            }

            /// How long a receive waits.
            ///
            /// # Errors
            /// Never; as std has it.
            pub fn read_timeout(&self) -> std::io::Result<Option<core::time::Duration>> {
                Ok(self.io.timeout($crate::io::evented::Direction::Read))
            }

            /// How long a send waits.
            ///
            /// # Errors
            /// Never; as std has it.
            pub fn write_timeout(&self) -> std::io::Result<Option<core::time::Duration>> {
                Ok(self.io.timeout($crate::io::evented::Direction::Write))
            }
        }
    };
}

/// Reading, writing, closing.
macro_rules! stream {
    ($name:ident) => {
        timeouts!($name);

        impl $name {
            /// Shuts down one or both directions: waits on them end.
            ///
            /// # Examples
            /// ```
            /// use std::{io::Read, net::Shutdown};
            ///
            /// let (a, mut b) = ropewalk::net::UnixStream::pair()?;
            /// a.shutdown(Shutdown::Write)?;
            /// assert_eq!(b.read(&mut [0; 8])?, 0);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            /// What the kernel says.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.io.inner.shutdown(how)
            }

            /// Ends the connection: whoever reads or writes it, now or later, gets an error.
            pub fn close(&self) {
                self.io.close();
                // A peer that has gone first is as good.
                let _ = self.io.inner.shutdown(std::net::Shutdown::Both);
            }
        }

        impl std::io::Read for &$name {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if buffer.is_empty() {
                    return Ok(0);
                }
                let room = Some(buffer.len());
                self.io.run($crate::io::evented::Direction::Read, room, |inner| {
                    $crate::sys::socket::receive(inner.as_fd(), buffer)
                })
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                let room = Some(buffers.iter().map(|buffer| buffer.len()).sum());
                self.io
                    .run($crate::io::evented::Direction::Read, room, |mut inner| inner.read_vectored(buffers))
            }
        }

        impl std::io::Write for &$name {
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                if buffer.is_empty() {
                    return Ok(0);
                }
                self.io.run($crate::io::evented::Direction::Write, None, |inner| {
                    $crate::sys::socket::send(inner.as_fd(), buffer)
                })
            }

            fn write_vectored(&mut self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.io.run($crate::io::evented::Direction::Write, None, |mut inner| {
                    inner.write_vectored(buffers)
                })
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }

        impl std::io::Write for $name {
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                (&*self).write(buffer)
            }

            fn write_vectored(&mut self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// Settings that std's type has, passed on.
macro_rules! pass_on {
    ($name:ident: $($method:ident($($arg:ident: $type:ty),*) -> $result:ty, $doc:literal;)*) => {
        impl $name {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// What the kernel says.
                pub fn $method(&self, $($arg: $type),*) -> std::io::Result<$result> {
                    self.io.inner.$method($($arg),*)
                }
            )*
        }
    };
}

pub(super) use {common, pass_on, stream, timeouts};
