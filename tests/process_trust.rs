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
        self.copy_as("helper", mode)
    }

    fn copy_as(&self, name: &str, mode: u32) -> PathBuf {
        let copy = self.0.join(name);
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
fn a_program_with_capabilities_runs_main_whatever_its_caller_says() {
    let name = "a_program_with_capabilities_runs_main_whatever_its_caller_says";
    if let Some(helper) = std::env::var_os("HELPER") {
        // As a user who may be the parent of a child: all is in order but for the capabilities.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = forged(Path::new(&helper), theirs);
        command.env("START_ONE", "1").env_remove("HELPER");
        let (said, greeted) = outcome(command, ours);
        println!("{said} greeted {greeted}");
        return;
    }
    if std::env::var_os("ROPEWALK_CHILD").is_some() || !is_root() {
        return;
    }
    let folder = Folder::new("capabilities");
    let (program, helper) = (folder.copy_as("program", 0o755), folder.copy(0o755));
    // See capabilities(7): version 2, effective, CAP_NET_BIND_SERVICE as permitted.
    let words = [0x0200_0001u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    let path = std::ffi::CString::new(helper.to_str().unwrap()).unwrap();
    let value = words.as_ptr().cast();
    // SAFETY: texts that end with a zero, and a value of that length.
    let set =
        unsafe { libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), value, words.len(), 0) };
    if set != 0 {
        println!("skipped: {} takes no capabilities: {}", helper.display(), std::io::Error::last_os_error());
        return;
    }
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env("HELPER", helper);
    let output = command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("MAIN RUNS: user {NOBODY} effective {NOBODY} variable false")), "{said}");
    assert!(said.contains("greeted false"), "it was diverted: {said}");
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

#[test]
fn a_process_whose_exec_would_count_as_a_gain_of_rights_starts_none() {
    let name = "a_process_whose_exec_would_count_as_a_gain_of_rights_starts_none";
    if !is_root() {
        return;
    }
    if let Some(output) = common::child(name) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("MAIN RUNS"), "{said}");
        return;
    }
    let user = |()| own_users();
    assert_eq!(ropewalk::process::Process::spawn(user, ()).unwrap().join().unwrap(), (0, 0));
    const SAME: u32 = u32::MAX;
    type Change = fn(u32) -> i32;
    // SAFETY: takes numbers only.
    let changes: [Change; 2] = [
        |to| unsafe { libc::setresgid(SAME, to, SAME) },
        |to| {
            // SAFETY: as above.
            unsafe { libc::setresuid(SAME, to, SAME) }
        },
    ];
    for change in changes {
        assert_eq!(change(NOBODY), 0);
        let refused = ropewalk::process::Process::spawn(user, ()).map(drop);
        let by_exec = ropewalk::process::StartMethod::Exec;
        let builder = ropewalk::process::Process::builder().start_method(by_exec);
        let refused_too = builder.spawn(user, ()).map(drop);
        assert_eq!(change(0), 0);
        for refused in [refused, refused_too] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("effective"), "{refused}");
        }
    }
    assert_eq!(ropewalk::process::Process::spawn(user, ()).unwrap().join().unwrap(), (0, 0));
}

#[test]
fn the_children_of_a_process_that_took_a_filter_have_it() {
    let name = "the_children_of_a_process_that_took_a_filter_have_it";
    if let Some(output) = common::child(name) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    for error in [libc::ENOTBLK, libc::EXDEV] {
        // The second filter comes on top of the first, and its answer is the one of the two that counts.
        assert_eq!(
            error_of_hostname(()),
            ropewalk::process::Process::spawn(error_of_hostname, ()).unwrap().join().unwrap()
        );
        refuse_hostname(error);
        assert_eq!(error_of_hostname(()), error);
        let child = ropewalk::process::Process::spawn(error_of_hostname, ()).unwrap();
        assert_eq!(child.join().unwrap(), error, "it was forked from what is not filtered");
    }
}

/// The error of a call that asks for more than any process may have.
fn error_of_hostname((): ()) -> i32 {
    // SAFETY: the kernel looks at the length first.
    unsafe { libc::syscall(libc::SYS_sethostname, std::ptr::null::<u8>(), usize::MAX) };
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// Refuses that call to all threads of this process.
fn refuse_hostname(error: i32) {
    const TSYNC: u32 = 1;
    let statement = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_sethostname as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let place = &raw const program;
    // SAFETY: the program lives through the call, which copies it.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, TSYNC, place) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn the_children_of_a_process_in_another_root_are_in_it_as_well() {
    let name = "the_children_of_a_process_in_another_root_are_in_it_as_well";
    if !is_root() {
        return;
    }
    let Ok(folder) = std::env::var("NEW_ROOT") else {
        let folder = Folder::new("root");
        let output = common::child_with(name, |command| _ = command.env("NEW_ROOT", &folder.0)).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return;
    };
    let sees_proc = |()| Path::new("/proc/self").exists();
    assert!(ropewalk::process::Process::spawn(sees_proc, ()).unwrap().join().unwrap());
    std::os::unix::fs::chroot(&folder).unwrap();
    std::env::set_current_dir("/").unwrap();
    // Without /proc no template can be started, which is an error.
    if let Ok(child) = ropewalk::process::Process::spawn(sees_proc, ()) {
        assert!(!child.join().unwrap(), "it was forked from what has the old root");
    }
}
