//! Sockets, as `std::net` and `std::os::unix::net` have them, that park instead of blocking.
//!
//! A call that would block gives the coroutine's worker to others, and lets a plain thread sleep. Each
//! socket is registered once with the epoll instance of the worker it was made on.
//!
//! Reading order: `runtime::source` (readiness), `io::evented` (try, wait, try again), `tcp`.
//!
//! # Examples
//! ```
//! use ropewalk::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! ropewalk::spawn(move || listener.accept()?.0.write_all(b"hello"));
//! let mut text = String::new();
//! TcpStream::connect(address)?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod accept;
mod addr;
mod macros;
mod tcp;
mod udp;
mod unix;

pub use addr::ToSocketAddrs;
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
