//! Children and names.
#![allow(clippy::zombie_processes, reason = "the calls under test wait for them")]

use std::mem::zeroed;
use std::process::{Child, Command, Stdio};
use std::ptr::{null, null_mut};

use super::*;

/// A shell that runs a script.
fn shell(script: &str) -> Child {
    Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap()
}

/// A pattern of what `waitpid` said, without the number.
fn told(seen: &mut Seen, name: &str, child: &Child, answer: i32, status: c_int) {
    let who = if answer == child.id().cast_signed() { "the child" } else { "somebody else" };
    seen.note((name, if answer > 0 { who } else { "nobody" }, answer.min(0), status));
}

#[test]
fn children_and_names_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("children and names", |seen| unsafe {
        let mut status = 0;
        seen.call("no such child", libc::waitpid(1, &mut status, 0));
        seen.call("no such child", libc::waitpid(1, &mut status, libc::WNOHANG));
        let mut info: libc::siginfo_t = zeroed();
        seen.call("waitid", libc::waitid(libc::P_PID, 1, &mut info, libc::WEXITED));
        seen.call("waitid bad", libc::waitid(libc::P_PID, 1, &mut info, 0));
        let mut list = null_mut();
        let error = libc::getaddrinfo(c"127.0.0.1".as_ptr(), c"80".as_ptr(), null(), &mut list);
        seen.call("a number", error);
        libc::freeaddrinfo(list);
        let mut hints: libc::addrinfo = zeroed();
        hints.ai_flags = libc::AI_NUMERICHOST;
        seen.call("no number", -libc::getaddrinfo(c"not.a.number".as_ptr(), null(), &hints, &mut list));
        seen.call("nothing", -libc::getaddrinfo(null(), null(), null(), &mut list));
        let address = loopback(80);
        let mut host = [0i8; 64];
        let (len, flags) = (size_of::<libc::sockaddr_in>() as u32, libc::NI_NUMERICHOST);
        let place = (&raw const address).cast();
        let error = libc::getnameinfo(place, len, host.as_mut_ptr(), 64, null_mut(), 0, flags);
        seen.call("name", error);
        seen.bytes(&host.map(i8::cast_unsigned)[..10]);
        seen.call("too short", -libc::getnameinfo(place, len, host.as_mut_ptr(), 2, null_mut(), 0, flags));
    }),
    ("how a child ended", |seen| unsafe {
        for script in ["exit 7", "kill -9 $$", "sleep 0.02; exit 1"] {
            let child = shell(script);
            let id = child.id().cast_signed();
            let mut status = 0;
            let answer = libc::waitpid(id, &mut status, 0);
            told(seen, script, &child, answer, status);
            seen.call("again", libc::waitpid(id, &mut status, 0));
            seen.call("again", libc::waitpid(id, &mut status, libc::WNOHANG));
        }
        let child = shell("read x; exit 3");
        let id = child.id().cast_signed();
        let mut status = 99;
        seen.call("not yet", libc::waitpid(id, &mut status, libc::WNOHANG));
        let mut usage: libc::rusage = zeroed();
        let late = later(move || drop(child));
        let answer = libc::wait4(id, &mut status, libc::__WALL, &mut usage);
        seen.note((answer == id, status, usage.ru_maxrss > 0));
        late.join().unwrap();
        seen.call("bad options", libc::waitpid(id, &mut status, 0x1000));
        let child = shell("exit 4");
        let answer = libc::waitpid(child.id().cast_signed(), null_mut(), 0);
        told(seen, "no place", &child, answer, 0);
    }),
    ("stopped and continued", |seen| unsafe {
        let child = shell("kill -STOP $$; exit 5");
        let id = child.id().cast_signed();
        let mut status = 0;
        let answer = libc::waitpid(id, &mut status, libc::WUNTRACED);
        told(seen, "stopped", &child, answer, status);
        seen.note(libc::WIFSTOPPED(status));
        libc::kill(id, libc::SIGCONT);
        let answer = libc::waitpid(id, &mut status, libc::WCONTINUED);
        // It may have ended by now: then that is told, and there is no telling which comes first.
        let mut ended = answer == id && libc::WIFEXITED(status);
        seen.note(ended || libc::WIFCONTINUED(status));
        if !ended {
            ended = libc::waitpid(id, &mut status, libc::WUNTRACED) == id;
        }
        seen.note((ended, libc::WEXITSTATUS(status)));
    }),
    ("any child, and groups", |seen| unsafe {
        use std::os::unix::process::CommandExt;
        let mut status = 0;
        seen.call("no child at all", libc::waitpid(-1, &mut status, 0));
        seen.call("no child at all", libc::wait(&mut status));
        let child = shell("sleep 0.01; exit 6");
        let answer = libc::waitpid(-1, &mut status, 0);
        told(seen, "any", &child, answer, status);
        let child = shell("sleep 0.01; exit 7");
        let answer = libc::waitpid(0, &mut status, 0);
        told(seen, "the own group", &child, answer, status);
        let child = Command::new("sh").arg("-c").arg("sleep 0.01; exit 8").process_group(0).spawn().unwrap();
        let id = child.id().cast_signed();
        seen.call("not in this group", libc::waitpid(0, &mut status, 0));
        seen.call("not yet", libc::waitpid(-id, &mut status, libc::WNOHANG));
        let answer = libc::waitpid(-id, &mut status, 0);
        told(seen, "its group", &child, answer, status);
    }),
    ("waitid", |seen| unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let child = shell("read x; exit 9");
        let id = child.id();
        let flags = libc::WEXITED | libc::WNOHANG;
        seen.call("not yet", libc::waitid(libc::P_PID, id, &mut info, flags));
        seen.note(info.si_pid());
        let late = later(move || drop(child));
        seen.call("kept", libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOWAIT));
        seen.note((info.si_pid() == id.cast_signed(), info.si_status(), info.si_code, info.si_signo));
        late.join().unwrap();
        seen.call("taken", libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED));
        seen.note((info.si_pid() == id.cast_signed(), info.si_status()));
        seen.call("gone", libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED));
        let child = shell("sleep 0.01; exit 10");
        let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0) as c_int;
        seen.call("by descriptor", libc::waitid(libc::P_PIDFD, fd as u32, &mut info, libc::WEXITED));
        seen.note(info.si_status());
        close(&[fd]);
        let child = shell("exit 11");
        seen.call("no place", libc::waitid(libc::P_PID, child.id(), null_mut(), libc::WEXITED));
        seen.call("bad kind", libc::waitid(99, 0, &mut info, libc::WEXITED));
    }),
    ("names of the old kind", |seen| unsafe {
        unsafe extern "C" {
            fn gethostbyname(name: *const libc::c_char) -> *const libc::hostent;
            fn gethostbyname_r(
                name: *const libc::c_char,
                place: *mut libc::hostent,
                buffer: *mut libc::c_char,
                room: usize,
                result: *mut *mut libc::hostent,
                error: *mut c_int,
            ) -> c_int;
            fn gethostbyaddr(address: *const c_int, len: u32, family: c_int) -> *const libc::hostent;
            fn __h_errno_location() -> *mut c_int;
        }
        let found = gethostbyname(c"127.0.0.1".as_ptr());
        seen.note((*found).h_length);
        seen.note(std::slice::from_raw_parts(*(*found).h_addr_list, 4));
        seen.note(gethostbyname(c"no such name.".as_ptr()).is_null());
        seen.note(*__h_errno_location() != 0);
        let (mut place, mut buffer, mut result, mut error): (libc::hostent, _, _, _) =
            (zeroed(), [0; 512], null_mut(), 0);
        let name = c"127.0.0.1".as_ptr();
        let mut by =
            |room| gethostbyname_r(name, &mut place, buffer.as_mut_ptr(), room, &mut result, &mut error);
        seen.call("in its buffer", by(512));
        seen.call("too small", by(4));
        seen.note((result.is_null(), error));
        let address = c_int::from_ne_bytes([127, 0, 0, 1]);
        seen.note(gethostbyaddr(&address, 4, libc::AF_INET).is_null());
        seen.note(gethostbyaddr(&address, 4, 999).is_null());
    }),
];
