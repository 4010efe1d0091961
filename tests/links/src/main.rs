//! A program that does a bit of everything, linked dynamically or statically: it runs either way, and `patch_all` says
//! which of the two it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{mem, ptr, thread};

use ropewalk::{channel, monkey, net};

const STATIC: bool = cfg!(target_feature = "crt-static");

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// A handler is installed, asked for, and called.
fn signals() {
    let before = SIGNALS.load(Ordering::SeqCst);
    let handler = count as *const () as libc::sighandler_t;
    // SAFETY: the handler adds to a word.
    assert_ne!(unsafe { libc::signal(libc::SIGUSR1, handler) }, libc::SIG_ERR);
    // SAFETY: all zeros is an action.
    let mut now: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: asks only.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, ptr::null(), &raw mut now) }, 0);
    assert_eq!(now.sa_sigaction, handler);
    // SAFETY: there is a handler.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    assert_eq!(SIGNALS.load(Ordering::SeqCst), before + 1);
}

/// libc looks an address up that needs no server.
fn names() {
    // SAFETY: all zeros are hints.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_flags = libc::AI_NUMERICHOST;
    let mut found = ptr::null_mut();
    // SAFETY: strings with an end, hints and a place for the answer.
    let error =
        unsafe { libc::getaddrinfo(c"127.0.0.1".as_ptr(), c"80".as_ptr(), &raw const hints, &raw mut found) };
    assert_eq!((error, found.is_null()), (0, false));
    // SAFETY: the list was made by the call above.
    unsafe { libc::freeaddrinfo(found) };
}

/// A thread ends, its locals with it, and is joined.
fn threads() {
    struct Local(Arc<AtomicU32>);
    impl Drop for Local {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local!(static LOCAL: Mutex<Option<Local>> = const { Mutex::new(None) });
    let ended = Arc::new(AtomicU32::new(0));
    let local = Local(ended.clone());
    let thread = thread::spawn(move || {
        LOCAL.with(|place| *place.lock().unwrap() = Some(local));
        ropewalk::coroutine::Coroutine::<(), u32>::new(|out, ()| out.suspend(7)).next()
    });
    assert_eq!((thread.join().unwrap(), ended.load(Ordering::SeqCst)), (Some(7), 1));
}

fn echo_once(mut stream: impl Read + Write) {
    let mut room = [0; 4];
    stream.read_exact(&mut room).unwrap();
    stream.write_all(&room).unwrap();
}

/// Plain calls, on the calling thread or coroutine.
fn plain_calls() {
    threads();
    names();
    signals();
    thread::sleep(Duration::from_millis(1));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || echo_once(listener.accept().unwrap().0));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"rope").unwrap();
    let mut room = [0; 4];
    stream.read_exact(&mut room).unwrap();
    assert_eq!(&room, b"rope");
    server.join().unwrap();
    assert_eq!(Command::new("echo").arg("walk").output().unwrap().stdout, b"walk\n");
    assert!(!std::fs::read("/proc/self/status").unwrap().is_empty());
}

/// What needs no replaced function.
fn own_calls() {
    let (sender, receiver) = channel::bounded(1);
    let adder = ropewalk::spawn(move || receiver.iter().sum::<u32>());
    ropewalk::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap())).join().unwrap();
    assert_eq!(adder.join().unwrap(), 4950);
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = ropewalk::spawn(move || echo_once(listener.accept().unwrap().0));
    let mut stream = net::TcpStream::connect(address).unwrap();
    stream.write_all(b"rope").unwrap();
    server.join().unwrap();
}

fn check_patch() {
    let names: Vec<_> = monkey::status().iter().map(|symbol| symbol.name()).collect();
    let patched = monkey::patch_all();
    assert_eq!(patched.is_err(), STATIC, "{patched:?}");
    if let Err(error) = patched {
        assert_eq!(error.inactive(), names);
        assert!(error.to_string().contains("static program"), "{error}");
        println!("{} functions are inactive", names.len());
    }
    let active = monkey::status().iter().filter(|symbol| symbol.is_active()).count();
    assert_eq!(active, if STATIC { 0 } else { names.len() });
}

fn main() {
    plain_calls();
    own_calls();
    ropewalk::spawn(plain_calls).join().unwrap();
    check_patch();
    plain_calls();
    own_calls();
    ropewalk::spawn(plain_calls).join().unwrap();
    println!("linked {}", if STATIC { "statically" } else { "dynamically" });
}
