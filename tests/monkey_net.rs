//! Plain sockets of std, client and server on coroutines of one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::echo::{server, talk};
use common::on_one_worker;
use ropewalk::{monkey, spawn};

const MS: Duration = Duration::from_millis(1);

#[test]
fn client_and_server_share_one_worker() {
    on_one_worker(|| {
        let address = server();
        let clients: Vec<_> = (0..100).map(|n| spawn(move || talk(address, n, 20))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

#[test]
fn coroutines_on_clones_of_a_listener_are_timed_out() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let all: Vec<_> = (0..4)
            .map(|_| {
                let clone = listener.try_clone().unwrap();
                spawn(move || ropewalk::timeout(300 * MS, || clone.accept().map(drop)).is_ok())
            })
            .collect();
        thread::sleep(20 * MS);
        let _one = TcpStream::connect(address).unwrap();
        // No second connection lets the others go.
        let accepted = all.into_iter().map(|handle| handle.join().unwrap());
        assert_eq!(accepted.filter(|accepted| *accepted).count(), 1);
    });
}

#[test]
fn a_runtime_ends_while_clones_of_a_listener_are_accepted_on() {
    common::watched(|| {
        monkey::patch_all().unwrap();
        common::runtime(2).run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let began = Arc::new(std::sync::Barrier::new(5));
            for _ in 0..4 {
                let (clone, began) = (listener.try_clone().unwrap(), Arc::clone(&began));
                drop(spawn(move || {
                    began.wait();
                    clone.accept().map(drop)
                }));
            }
            began.wait();
            let _one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        });
    });
}

#[test]
fn a_thread_that_is_quicker_to_accept_holds_up_nobody() {
    const COUNT: usize = 60;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let rival = {
            let (clone, taken, ended) =
                (listener.try_clone().unwrap(), Arc::clone(&taken), Arc::clone(&ended));
            thread::spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    clone.accept().unwrap();
                    taken.fetch_add(1, Ordering::AcqRel);
                }
            })
        };
        let mut clients = Vec::new();
        for round in 1..=COUNT {
            clients.push(TcpStream::connect(address).unwrap());
            // The thread takes it, or this, or the call that this has left behind: each is counted when it is taken.
            while taken.load(Ordering::Acquire) < round {
                let accepted = ropewalk::timeout(20 * MS, || listener.accept().map(drop));
                if matches!(accepted, Ok(Ok(()))) {
                    taken.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        assert_eq!(taken.load(Ordering::Acquire), COUNT, "a connection was taken twice");
        ended.store(true, Ordering::Release);
        while !rival.is_finished() {
            clients.push(TcpStream::connect(address).unwrap());
            thread::sleep(5 * MS);
        }
        rival.join().unwrap();
    });
}

#[test]
fn a_sender_to_a_full_receiver_does_not_spin() {
    fn parks() -> u64 {
        let all = monkey::status();
        all.iter().filter(|symbol| symbol.name() == "sendto").map(monkey::SymbolStatus::parks).sum()
    }
    on_one_worker(|| {
        let name = std::env::temp_dir().join(format!("ropewalk-full-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&name).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while filler.send_to(b"fill", &name).is_ok() {
            filled += 1;
        }
        let to = name.clone();
        let sender = spawn(move || UnixDatagram::unbound().unwrap().send_to(b"late", to).unwrap());
        let before = parks();
        thread::sleep(200 * MS);
        // Pauses that grow to 10 ms: some thirty. An event for each failed try would make many thousands.
        let parked = parks() - before;
        assert!((1..1000).contains(&parked), "{parked} waits");
        let mut buffer = [0; 8];
        (0..=filled).for_each(|_| assert_eq!(receiver.recv(&mut buffer).unwrap(), 4));
        assert_eq!((sender.join().unwrap(), &buffer[..4]), (4, &b"late"[..]));
        std::fs::remove_file(&name).unwrap();
    });
}

#[test]
fn a_large_write_goes_out_whole() {
    on_one_worker(|| {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut d, _) = listener.accept().unwrap();
        let bytes: Arc<Vec<u8>> = Arc::new((0..8 << 20).map(|n: u32| (n >> 9) as u8).collect());
        let unix = {
            let bytes = Arc::clone(&bytes);
            // One write, not write_all: a blocking write does not stop half-way.
            spawn(move || assert_eq!(a.write(&bytes).unwrap(), bytes.len()))
        };
        let tcp = {
            let bytes = Arc::clone(&bytes);
            spawn(move || {
                let (head, tail) = bytes.split_at(bytes.len() / 3);
                let sent = c.write_vectored(&[IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)]);
                assert_eq!(sent.unwrap(), bytes.len());
            })
        };
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        assert!(all == *bytes);
        all.clear();
        d.read_to_end(&mut all).unwrap();
        assert!(all == *bytes);
        unix.join().unwrap();
        tcp.join().unwrap();
    });
}

#[test]
fn timeouts_and_nonblocking_are_the_users() {
    on_one_worker(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(20 * MS)).unwrap();
        let began = Instant::now();
        assert_eq!(a.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= 20 * MS);
        a.set_read_timeout(None).unwrap();
        a.set_nonblocking(true).unwrap();
        assert_eq!(a.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The other end of a clone sees the same description.
        let mut clone = a.try_clone().unwrap();
        assert_eq!(clone.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        clone.set_nonblocking(false).unwrap();
        let writer = spawn(move || {
            thread::sleep(10 * MS);
            (&b).write_all(b"late").unwrap();
            b
        });
        let mut back = [0; 4];
        a.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"late");
        drop(writer.join().unwrap());
        assert_eq!(a.read(&mut back).unwrap(), 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_nonblocking_reader_that_polls_sees_what_comes() {
    on_one_worker(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(MS)).unwrap();
        a.read(&mut [0; 8]).unwrap_err();
        a.set_nonblocking(true).unwrap();
        // A plain thread, so that nothing of this worker's tells of the bytes.
        let thread = thread::spawn(move || (&b).write_all(b"x").unwrap());
        while let Err(error) = a.read(&mut [0; 8]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        thread.join().unwrap();
    });
}

#[test]
fn datagrams_and_peeks() {
    on_one_worker(|| {
        let a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let b = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = a.local_addr().unwrap();
        let sender = spawn(move || {
            thread::sleep(5 * MS);
            for n in 0..10u8 {
                b.send_to(&vec![n; usize::from(n)], to).unwrap();
            }
            b.local_addr().unwrap()
        });
        let mut buffer = [0; 64];
        assert_eq!(a.peek_from(&mut buffer).unwrap().0, 0);
        let from: Vec<_> = (0..10)
            .map(|n| {
                let (len, from) = a.recv_from(&mut buffer).unwrap();
                assert_eq!(len, n);
                from
            })
            .collect();
        let address = sender.join().unwrap();
        assert!(from.iter().all(|from| *from == address));
        let (c, d) = UnixDatagram::pair().unwrap();
        let receiver = spawn(move || {
            let mut b = [0; 8];
            (d.recv(&mut b).unwrap(), b)
        });
        thread::sleep(2 * MS);
        c.send(b"four").unwrap();
        assert_eq!(receiver.join().unwrap().0, 4);
    });
}

#[test]
fn a_stream_is_peeked_at_and_filled() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (d, _) = listener.accept().unwrap();
        let writer = spawn(move || {
            for piece in [&b"ab"[..], b"cd", b"ef"] {
                thread::sleep(3 * MS);
                c.write_all(piece).unwrap();
            }
            c
        });
        let mut buffer = [0u8; 6];
        assert!(d.peek(&mut buffer).unwrap() > 0);
        let recv = |buffer: &mut [u8], flags| {
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::recv(d.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) }
        };
        assert_eq!(recv(&mut buffer, libc::MSG_PEEK | libc::MSG_WAITALL), 6);
        assert_eq!(&buffer, b"abcdef");
        buffer = [0; 6];
        assert_eq!(recv(&mut buffer, libc::MSG_WAITALL), 6);
        assert_eq!(&buffer, b"abcdef");
        drop(writer.join().unwrap());
        assert_eq!(recv(&mut buffer, libc::MSG_WAITALL), 0);
    });
}

#[test]
fn half_close_and_reset_are_seen() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut d, _) = listener.accept().unwrap();
        let reader = spawn(move || {
            let mut all = Vec::new();
            d.read_to_end(&mut all).unwrap();
            d.write_all(b"and back").unwrap();
            (d, all)
        });
        thread::sleep(2 * MS);
        c.write_all(b"there").unwrap();
        c.shutdown(Shutdown::Write).unwrap();
        let mut back = [0; 8];
        c.read_exact(&mut back).unwrap();
        let (d, all) = reader.join().unwrap();
        assert_eq!((&all[..], &back[..]), (&b"there"[..], &b"and back"[..]));
        let waiter = spawn(move || c.read(&mut [0; 8]).map_err(|error| error.kind()));
        thread::sleep(2 * MS);
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let (place, len) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
        // SAFETY: a linger of that length.
        unsafe { libc::setsockopt(d.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, place, len) };
        drop(d);
        assert_eq!(waiter.join().unwrap(), Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_cancelled_reader_gets_an_errno_and_then_ends() {
    on_one_worker(|| {
        let (a, b) = UnixStream::pair().unwrap();
        let (seen, told) = ropewalk::channel::bounded(1);
        let reader = spawn(move || {
            let error = (&a).read(&mut [0; 8]).unwrap_err();
            seen.send(error.raw_os_error()).unwrap();
            // The next wait of the crate's own delivers it.
            ropewalk::sleep(Duration::from_secs(60));
        });
        thread::sleep(2 * MS);
        reader.cancel();
        assert_eq!(told.recv().unwrap(), Some(libc::ECANCELED));
        assert!(reader.join().unwrap_err().is_cancelled());
        drop(b);
        let (b, _open) = UnixStream::pair().unwrap();
        let ended = ropewalk::timeout(3 * MS, || {
            assert_eq!(
                (&b).read(&mut [0; 8]).map_err(|error| error.raw_os_error()),
                Err(Some(libc::ECANCELED))
            );
            ropewalk::sleep(Duration::from_secs(60));
        });
        assert!(ended.is_err());
    });
}

#[test]
fn calls_are_counted() {
    on_one_worker(|| {
        let address = server();
        talk(address, 7, 3);
        let status = monkey::status();
        let counted =
            |name: &str| status.iter().find(|symbol| symbol.name() == name).map(|s| (s.calls(), s.parks()));
        assert!(counted("recv").unwrap().0 >= 6, "{:?}", counted("recv"));
        assert!(counted("recv").unwrap().1 >= 1);
        assert!(counted("accept4").unwrap().1 >= 1);
    });
}
