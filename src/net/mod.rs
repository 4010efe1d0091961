//! Sockets, as `std::net` and `std::os::unix::net` have them, that park instead of blocking.
//!
//! A call that would block gives the coroutine's worker to others, and lets a plain thread sleep. Each
//! socket is registered once with the epoll instance of the worker it was made on.
//!
//! Reading order: `runtime::source` (readiness), `io::evented` (try, wait, try again), `tcp`.

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
