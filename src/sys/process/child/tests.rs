#![forbid(unsafe_code)]

use std::io::Read;
use std::process::{Command, Stdio};

use super::super::exists;
use super::{AsFd, end_by_pidfd, end_child, pidfd_open};

#[test]
fn a_number_that_is_no_child_s_any_more_ends_nobody() {
    // A grandchild stands for a process that has got the number of a child that was taken in.
    let script = "sleep 60 & echo $!; read line; kill $!";
    let mut shell =
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    let mut output = shell.stdout.take().unwrap();
    while output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        text.push(byte[0].into());
    }
    let stranger: u32 = text.parse().unwrap();
    let pidfd = pidfd_open(stranger).unwrap();
    end_child(stranger);
    let ended = crate::sys::poll::want(pidfd.as_fd(), libc::POLLIN);
    let ended = crate::sys::poll::wait(&mut [ended], Some(core::time::Duration::from_millis(50))).unwrap();
    drop(shell.stdin.take());
    shell.wait().unwrap();
    assert!(!ended, "a process that is no child was ended");
}

#[test]
fn a_child_is_ended_and_taken_in() {
    for by_pidfd in [false, true] {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        if by_pidfd {
            end_by_pidfd(pidfd_open(child.id()).unwrap().as_fd(), child.id());
        } else {
            end_child(child.id());
        }
        assert!(!exists(child.id()));
        assert!(child.wait().is_err(), "its end was taken in");
    }
}
