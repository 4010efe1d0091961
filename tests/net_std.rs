//! Sockets as std has them: what std's types offer is here, and means the same.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{on_workers, watched};
use ropewalk::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// A connected pair over TCP.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (a, listener.accept().unwrap().0)
}

/// Generic code written for any stream.
fn ask<S>(stream: &S) -> Vec<u8>
where
    for<'a> &'a S: Read + Write,
{
    let mut stream = stream;
    stream.write_all(b"?").unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    answer.to_vec()
}

#[test]
fn shared_references_read_and_write_in_generic_code() {
    on_workers(|| {
        let (a, mut b) = pair();
        let server = ropewalk::spawn(move || {
            b.read_exact(&mut [0]).unwrap();
            b.write_all(b"yes").unwrap();
        });
        assert_eq!(ask(&a), b"yes");
        server.join().unwrap();
    });
}

#[test]
fn settings_are_kept() {
    watched(|| {
        let (a, b) = pair();
        a.set_nodelay(true).unwrap();
        a.set_ttl(40).unwrap();
        assert!(a.nodelay().unwrap() && a.ttl().unwrap() == 40 && a.take_error().unwrap().is_none());
        assert_eq!(
            (a.peer_addr().unwrap(), b.peer_addr().unwrap()),
            (b.local_addr().unwrap(), a.local_addr().unwrap())
        );
        a.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        a.set_write_timeout(Some(Duration::from_secs(4))).unwrap();
        assert_eq!(a.read_timeout().unwrap(), Some(Duration::from_secs(3)));
        assert_eq!(a.write_timeout().unwrap(), Some(Duration::from_secs(4)));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_broadcast(true).unwrap();
        udp.set_multicast_loop_v4(false).unwrap();
        udp.set_multicast_ttl_v4(7).unwrap();
        assert!(udp.broadcast().unwrap() && !udp.multicast_loop_v4().unwrap());
        assert_eq!(udp.multicast_ttl_v4().unwrap(), 7);
        let (group, own) = (Ipv4Addr::new(224, 0, 0, 123), Ipv4Addr::LOCALHOST);
        udp.join_multicast_v4(&group, &own).unwrap();
        udp.leave_multicast_v4(&group, &own).unwrap();
    });
}

#[test]
fn several_buffers_go_in_one_call_and_peeking_leaves_the_bytes() {
    on_workers(|| {
        let (mut a, mut b) = pair();
        let sent = a.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cde")]).unwrap();
        assert_eq!(sent, 5);
        let mut seen = [0; 2];
        assert_eq!((b.peek(&mut seen).unwrap(), &seen), (2, b"ab"));
        let (mut one, mut two) = ([0; 1], [0; 9]);
        let mut got = 0;
        while got < 5 {
            got += b.read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]).unwrap();
        }
        assert_eq!((one[0], got), (b'a', 5));
        assert_eq!(b.read(&mut []).unwrap(), 0);
    });
}

#[test]
fn sockets_come_from_std_and_go_back() {
    on_workers(|| {
        let listener: TcpListener = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let address = listener.local_addr().unwrap();
        let server = ropewalk::spawn(move || {
            // Registered now, by the first wait.
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        });
        let mut stream: TcpStream = std::net::TcpStream::connect(address).unwrap().into();
        stream.write_all(b"x").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        server.join().unwrap();
        assert_eq!(stream.as_fd().as_raw_fd(), stream.as_raw_fd());
        let stream: UnixStream = {
            let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(b);
            OwnedFd::from(a).into()
        };
        assert_eq!((&stream).read(&mut [0; 4]).unwrap(), 0);
        let mut back = stream.into_std().unwrap();
        // Blocking again, and at its end.
        assert_eq!(back.read(&mut [0; 4]).unwrap(), 0);
        let raw = UnixStream::from(back).into_raw_fd();
        assert_ne!(std::fs::read_link(format!("/proc/self/fd/{raw}")).unwrap().as_os_str(), "");
        // SAFETY: just given away by its owner.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw) });
    });
}

#[test]
fn a_clone_that_goes_back_to_std_does_not_let_the_others_block_their_worker() {
    watched(|| {
        common::runtime(1).run(|| {
            let (a, mut b) = pair();
            let std_clone = a.try_clone().unwrap().into_std().unwrap();
            let reader = ropewalk::spawn(move || (&a).read(&mut [0; 8]).unwrap());
            ropewalk::yield_now();
            b.write_all(b"free").unwrap();
            assert_eq!(reader.join().unwrap(), 4);
            drop(std_clone);
        });
    });
}

#[test]
fn clones_read_in_turn_and_a_shutdown_ends_them_all() {
    on_workers(|| {
        let (a, b) = pair();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let mut own = b.try_clone().unwrap();
                ropewalk::spawn(move || {
                    let mut all = 0;
                    while own.read(&mut [0]).unwrap() == 1 {
                        all += 1;
                    }
                    all
                })
            })
            .collect();
        (&a).write_all(&[1; 100]).unwrap();
        a.shutdown(Shutdown::Write).unwrap();
        assert_eq!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>(), 100);
    });
}

#[test]
fn closing_wakes_a_writer_and_an_acceptor_with_an_error() {
    let check = || {
        let (a, b) = pair();
        let a = Arc::new(a);
        let writing = Arc::clone(&a);
        let writer = ropewalk::spawn(move || {
            loop {
                if let Err(error) = (&*writing).write(&[0; 65536]) {
                    return error.kind();
                }
            }
        });
        ropewalk::sleep(Duration::from_millis(5));
        a.close();
        let kind = writer.join().unwrap();
        assert!(matches!(kind, ErrorKind::NotConnected | ErrorKind::BrokenPipe), "{kind:?}");
        drop(b);
        let udp = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let receiving = Arc::clone(&udp);
        let receiver = ropewalk::spawn(move || receiving.recv(&mut [0; 8]).unwrap_err().kind());
        ropewalk::sleep(Duration::from_millis(2));
        udp.close();
        assert_eq!(receiver.join().unwrap(), ErrorKind::NotConnected);
    };
    on_workers(check);
    watched(check);
}

#[test]
fn a_plain_thread_is_woken_by_a_close_too() {
    watched(|| {
        let (a, _b) = pair();
        let a = Arc::new(a);
        let reading = Arc::clone(&a);
        let reader = std::thread::spawn(move || (&*reading).read(&mut [0; 8]));
        std::thread::sleep(Duration::from_millis(5));
        a.close();
        assert!(!matches!(reader.join().unwrap(), Ok(1..)));
    });
}

#[test]
fn a_write_timeout_ends_a_write_that_nobody_reads() {
    on_workers(|| {
        let (mut a, _b) = pair();
        a.set_write_timeout(Some(Duration::from_millis(3))).unwrap();
        let error = loop {
            if let Err(error) = a.write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn names_in_the_abstract_space_work() {
    on_workers(|| {
        let name = format!("ropewalk-{}-{:?}", std::process::id(), std::thread::current().id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let server = ropewalk::spawn(move || listener.accept().unwrap().0.write_all(b"here").unwrap());
        let mut text = String::new();
        UnixStream::connect_addr(&address).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");
        server.join().unwrap();
        let (receiver, sender) =
            (UnixDatagram::bind_addr(&address).unwrap(), UnixDatagram::unbound().unwrap());
        sender.send_to_addr(b"one", &address).unwrap();
        sender.connect_addr(&address).unwrap();
        sender.send(b"two").unwrap();
        let mut buffer = [0; 8];
        assert_eq!((receiver.recv(&mut buffer).unwrap(), receiver.recv(&mut buffer).unwrap()), (3, 3));
        assert_eq!(&buffer[..3], b"two");
    });
}

#[test]
fn a_datagram_for_a_full_receiver_arrives_when_others_have_filled_it() {
    on_workers(|| {
        let name = format!("ropewalk-full-{}-{:?}", std::process::id(), std::thread::current().id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while filler.send_to_addr(b"full", &address).is_ok() {
            filled += 1;
        }
        // The kernel will not tell this one when there is room.
        let late = ropewalk::spawn(move || {
            UnixDatagram::unbound().unwrap().send_to_addr(b"late", &address).unwrap()
        });
        ropewalk::sleep(Duration::from_millis(2));
        let mut buffer = [0; 4];
        for _ in 0..filled {
            receiver.recv(&mut buffer).unwrap();
        }
        assert_eq!((receiver.recv(&mut buffer).unwrap(), &buffer), (4, b"late"));
        late.join().unwrap();
    });
}
