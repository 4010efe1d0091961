//! Libraries that come before `main` (`LD_PRELOAD`): there in every child, whatever their constructors do.
//!
//! Each case builds a library, and runs this program again with it.
#![cfg(target_env = "gnu")]
#![allow(missing_docs, reason = "tests")]

mod common;
#[path = "common/refusal.rs"]
mod refusal;

use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::PathBuf;
use std::process::Command;

use common::{child_with, watched};
use refusal::{Refused, refuse};
use ropewalk::process::{Pool, Process, Queue, StartMethod, prepare};

const METHODS: [StartMethod; 2] = [StartMethod::Zygote, StartMethod::Exec];

/// A library made of C, in a folder that goes with it.
struct Library(PathBuf);

impl Library {
    fn build(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ropewalk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
        std::fs::write(&source, text).unwrap();
        // The linker that Rust programs are built with.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-pthread", "-o"])
            .arg(&library)
            .arg(&source)
            .output();
        let built = built.expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self(library)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// Runs a test of this program with the library; true in the program that is to do the test's work.
fn with_library(test: &str, name: &str, text: &str) -> bool {
    with_library_refusing(test, name, text, &[])
}

/// As [`with_library`], with system calls refused.
fn with_library_refusing(test: &str, name: &str, text: &str, refused: &[(Refused, i32)]) -> bool {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return true;
    }
    let library = Library::build(name, text);
    let log = library.0.with_extension("log");
    let output = child_with(test, |command| {
        command.env("LD_PRELOAD", &library.0).env("ROPEWALK_LOG", &log);
        refuse(command, refused);
    });
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn maps_library(name: String) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(&name)
}

#[test]
fn a_preloaded_library_is_there_in_children_and_in_their_children() {
    const TEST: &str = "a_preloaded_library_is_there_in_children_and_in_their_children";
    if !with_library(TEST, "quiet", "__attribute__((constructor)) static void begin(void) {}") {
        return;
    }
    watched(|| {
        let name = || "libquiet.so".to_owned();
        assert!(maps_library(name()));
        for method in METHODS {
            let child = Process::builder().start_method(method).spawn(maps_library, name()).unwrap();
            assert!(child.join().unwrap());
            let pool = Pool::builder(2).start_method(method).build().unwrap();
            assert!(
                pool.apply(|name| Process::spawn(maps_library, name).unwrap().join().unwrap(), name())
                    .unwrap()
            );
        }
    });
}

#[test]
fn where_a_library_starts_threads_children_are_not_forked_but_started_anew() {
    const TEST: &str = "where_a_library_starts_threads_children_are_not_forked_but_started_anew";
    // The thread holds the allocator's lock most of the time: a fork would copy it held.
    let text = r#"
        #include <pthread.h>
        #include <stdlib.h>
        static void *busy(void *none) {
            for (;;) { free(realloc(malloc(100), 100000)); }
            return none;
        }
        __attribute__((constructor)) static void begin(void) {
            pthread_t thread;
            pthread_create(&thread, 0, busy, 0);
        }
    "#;
    if !with_library(TEST, "threads", text) {
        return;
    }
    watched(|| {
        // A forked child has one thread at first; one that was started anew has the library's as well.
        let threads = |()| std::fs::read_dir("/proc/self/task").unwrap().count();
        for method in METHODS {
            for _ in 0..5 {
                let child = Process::builder().start_method(method).spawn(threads, ()).unwrap();
                assert!(child.join().unwrap() > 1, "forked");
            }
        }
        let pool = Pool::new(2).unwrap();
        assert!(pool.apply(threads, ()).unwrap() > 1);
        assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
        let queue = Queue::<u32>::bounded(2).unwrap();
        Process::spawn(|queue: Queue<u32>| queue.put(3).unwrap(), queue.clone()).unwrap().join().unwrap();
        assert_eq!(queue.get(), Ok(3));
        let place = |()| std::env::var("PLACE").unwrap();
        assert_eq!(Process::builder().env("PLACE", "here").spawn(place, ()).unwrap().join().unwrap(), "here");
    });
}

/// The pid of this process's zygote.
fn zygote() -> Option<u32> {
    let own = std::process::id();
    let is_ours = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("Name:\tropewalk-zygote") && status.contains(&format!("PPid:\t{own}\n"))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours)
}

#[test]
fn a_library_that_forks_helpers_keeps_nobody_waiting_for_the_dead() {
    const TEST: &str = "a_library_that_forks_helpers_keeps_nobody_waiting_for_the_dead";
    // The helpers have what the process had that has forked them, and outlive it.
    let text = r#"
        #include <unistd.h>
        __attribute__((constructor)) static void begin(void) {
            if (fork() == 0) { close(1); close(2); alarm(20); for (;;) pause(); }
        }
    "#;
    if !with_library(TEST, "helpers", text) {
        return;
    }
    // SAFETY: takes numbers only. What is left in the group is killed below.
    unsafe { libc::setpgid(0, 0) };
    watched(|| {
        for _ in 0..5 {
            prepare().unwrap();
            let pid = zygote().expect("there is a zygote");
            let spawner = std::thread::spawn(|| {
                (0..5).map(|n| Process::spawn(|n: u32| n, n).unwrap().join().unwrap()).sum::<u32>()
            });
            // SAFETY: a process of this test's.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            assert_eq!(spawner.join().unwrap(), 10);
        }
        for method in METHODS {
            let exit = |()| std::process::exit(3);
            let child: Process<()> = Process::builder().start_method(method).spawn(exit, ()).unwrap();
            child.join().unwrap_err();
        }
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
        pool.close();
        pool.join().unwrap();
    });
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    // SAFETY: to the group that was made above; the helpers of this program do not ignore it.
    unsafe { libc::kill(0, libc::SIGTERM) };
}

/// Opens a file without the flag that closes it at an exec, as most of C does it.
const OPENS: &str = r#"
    #include <fcntl.h>
    #include <stdlib.h>
    #include <unistd.h>
    int library_descriptor = -1;
    __attribute__((constructor)) static void begin(void) {
        library_descriptor = open(getenv("ROPEWALK_LOG"), O_CREAT | O_APPEND | O_WRONLY, 0600);
    }
"#;

#[test]
fn a_descriptor_that_a_library_has_opened_before_main_stays_its_own() {
    const TEST: &str = "a_descriptor_that_a_library_has_opened_before_main_stays_its_own";
    if with_library(TEST, "opens", OPENS) {
        descriptors_go_where_they_belong();
    }
}

#[test]
fn it_stays_its_own_where_a_container_does_not_tell_open_files_apart() {
    const TEST: &str = "it_stays_its_own_where_a_container_does_not_tell_open_files_apart";
    let refused = [(Refused::Call(libc::SYS_kcmp), libc::EPERM)];
    if with_library_refusing(TEST, "opens", OPENS, &refused) {
        descriptors_go_where_they_belong();
    }
}

/// Where the library opens a file before `main`: each child has its own, and none of the parent's.
fn descriptors_go_where_they_belong() {
    let mut ends = [0; 2];
    // SAFETY: a place for two numbers.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: they were made for this alone.
    let [mut reader, writer] = ends.map(|end| unsafe { std::fs::File::from_raw_fd(end) });
    watched(|| {
        let link = |()| {
            // SAFETY: the library has a number of that name.
            let place = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"library_descriptor".as_ptr()) };
            // SAFETY: as above.
            let number = unsafe { place.cast::<i32>().read() };
            let links: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().flatten().collect();
            let links = links.iter().filter_map(|entry| std::fs::read_link(entry.path()).ok());
            let count = links.filter(|link| link.ends_with("libopens.log")).count();
            (std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display().to_string(), count)
        };
        for method in METHODS {
            for _ in 0..3 {
                let child = Process::builder().start_method(method).spawn(link, ()).unwrap();
                let (link, count) = child.join().unwrap();
                assert!(link.ends_with("libopens.log"), "{link}");
                // The parent's own was left behind.
                assert_eq!(count, 1);
            }
        }
    });
    drop(writer);
    // The template lives, and does not have the other end.
    watched(move || assert_eq!(reader.read(&mut [0]).unwrap(), 0));
}
