//! What a program trusts at its start. It copies itself as a setuid program and starts itself under forged orders.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VARIABLE: &str = "ROPEWALK_PROCESS";
const NOBODY: u32 = 65534;

/// Says that `main` runs, as whom, and whether the variable is gone. Run in children only.
#[test]
fn the_main_function_runs() {
    if std::env::var_os("ROPEWALK_CHILD").is_none() {
        return;
    }
    let (user, effective) = own_users();
    let variable = std::env::var_os(VARIABLE).is_some();
    println!("MAIN RUNS: user {user} effective {effective} variable {variable}");
    if std::env::var_os("START_ONE").is_some() {
        let refused = ropewalk::process::Process::spawn(|()| (), ()).map(drop);
        println!("A START: {}", refused.map_or_else(|error| error.to_string(), |()| "went well".to_owned()));
    }
}

fn own_users() -> (u32, u32) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let mut users = line.split_whitespace().map(|word| word.parse().unwrap());
    (users.next().unwrap(), users.next().unwrap())
}

/// A start of a program under a forged order, whose standard input is one end of a pair of sockets made here.
fn forged(program: &Path, theirs: UnixStream) -> Command {
    let theirs = OwnedFd::from(theirs);
    let number = std::fs::metadata(format!("/proc/self/fd/{}", theirs.as_raw_fd())).unwrap().ino();
    let mut command = Command::new(program);
    command
        .args(["the_main_function_runs", "--exact", "--nocapture", "--test-threads=1"])
        .env("ROPEWALK_CHILD", "1")
        .env(VARIABLE, format!("child:{number}:{}:kept", std::process::id()))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program under a forged order has said, and whether it has written to the socket as a child would.
fn outcome(mut command: Command, mut ours: UnixStream) -> (String, bool) {
    ours.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let child = command.spawn().unwrap();
    // It has the other end as well.
    drop(command);
    let mut greeting = [0; 16];
    let greeted = ours.read(&mut greeting).is_ok_and(|count| count > 0);
    let _ = ours.write(&[0]);
    drop(ours);
    let output = child.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), greeted)
}

/// A folder that everybody may enter, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-trust-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// A copy of this test program with a mode.
    fn copy(&self, mode: u32) -> PathBuf {
        let copy = self.0.join("helper");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(mode)).unwrap();
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    let root = own_users().1 == 0;
    if !root {
        println!("skipped: only root can make a setuid program");
    }
    root
}

#[test]
fn a_setuid_program_runs_main_whatever_its_caller_says() {
    if std::env::var_os("ROPEWALK_CHILD").is_some() || !is_root() {
        return;
    }
    let folder = Folder::new("setuid");
    let helper = folder.copy(0o4755);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = forged(&helper, theirs);
    command.uid(NOBODY).gid(NOBODY).current_dir("/").env("START_ONE", "1");
    let (said, greeted) = outcome(command, ours);
    if said.contains(&format!("user {NOBODY} effective {NOBODY}")) {
        println!("skipped: the file system of {} ignores setuid", folder.0.display());
        return;
    }
    assert!(said.contains(&format!("MAIN RUNS: user {NOBODY} effective 0 variable false")), "{said}");
    assert!(!greeted, "it was diverted");
    // It cannot start processes either, for these could not know what to trust.
    assert!(said.contains("A START: a program whose start gives it rights"), "{said}");
}

#[test]
fn an_order_of_another_user_is_none() {
    if std::env::var_os("ROPEWALK_CHILD").is_some() || !is_root() {
        return;
    }
    let folder = Folder::new("user");
    let helper = folder.copy(0o755);
    // The pair is root's, the program another user's.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = forged(&helper, theirs);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    let (said, greeted) = outcome(command, ours);
    assert!(said.contains(&format!("MAIN RUNS: user {NOBODY} effective {NOBODY} variable false")), "{said}");
    assert!(!greeted, "it was diverted");
}

#[test]
fn an_order_of_a_grandparent_is_none() {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let direct = forged(&std::env::current_exe().unwrap(), theirs);
    let mut through_shell = Command::new("sh");
    // The shell stays between, because it has something left to do.
    through_shell.args(["-c", "\"$@\"; echo END", "sh"]).arg(direct.get_program()).args(direct.get_args());
    through_shell.envs(direct.get_envs().filter_map(|(key, value)| Some((key, value?))));
    // Standard input is not among what can be asked of a command, so a second socket serves, under its own number.
    drop(direct);
    drop(ours);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let number = std::fs::metadata(format!("/proc/self/fd/{}", theirs.as_raw_fd())).unwrap().ino();
    through_shell.env(VARIABLE, format!("child:{number}:{}:kept", std::process::id()));
    through_shell.stdin(Stdio::from(theirs)).stdout(Stdio::piped());
    let (said, greeted) = outcome(through_shell, ours);
    assert!(said.contains("MAIN RUNS") && said.contains("variable false") && said.contains("END"), "{said}");
    assert!(!greeted, "it was diverted");
}

#[test]
fn a_variable_that_is_no_text_is_taken_out_as_well() {
    use std::os::unix::ffi::OsStrExt;

    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = forged(&std::env::current_exe().unwrap(), theirs);
    command.env(VARIABLE, std::ffi::OsStr::from_bytes(b"child:\xff"));
    let (said, greeted) = outcome(command, ours);
    assert!(said.contains("MAIN RUNS") && said.contains("variable false") && !greeted, "{said}");
}

#[test]
fn the_children_of_a_process_that_gave_up_rights_have_none_of_them() {
    let name = "the_children_of_a_process_that_gave_up_rights_have_none_of_them";
    if !is_root() {
        return;
    }
    if let Some(output) = common::child(name) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    // SAFETY: takes nothing.
    let user = |()| unsafe { libc::geteuid() };
    let first = ropewalk::process::Process::spawn(user, ()).unwrap().join().unwrap();
    assert_eq!(first, 0);
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    let second = ropewalk::process::Process::spawn(user, ()).unwrap().join().unwrap();
    assert_eq!(second, NOBODY, "it was forked from what still has the rights");
}
