//! Children, names and files, on coroutines of one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::on_one_worker;
use ropewalk::{monkey, spawn};

const MS: Duration = Duration::from_millis(1);

/// A directory that is removed with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_hundred_children_at_once() {
    on_one_worker(|| {
        let began = Instant::now();
        let run = |n: u32| {
            spawn(move || {
                let output = Command::new("sh")
                    .arg("-c")
                    .arg(format!("sleep 0.2; echo {n}; exit 3"))
                    .output()
                    .unwrap();
                assert_eq!(output.status.code(), Some(3));
                assert_eq!(output.stdout, format!("{n}\n").into_bytes());
            })
        };
        let all: Vec<_> = (0..100).map(run).collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
        println!("100 children that take 0.2 s took {:?}", began.elapsed());
        let parks = |name: &str| {
            monkey::status().iter().find(|symbol| symbol.name() == name).map_or(0, |symbol| symbol.parks())
        };
        assert!(parks("poll") >= 100, "{}", parks("poll"));
    });
}

#[test]
fn a_child_is_waited_for_and_killed() {
    on_one_worker(|| {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = child.id();
        let killer = spawn(move || {
            thread::sleep(5 * MS);
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(id as i32, libc::SIGKILL) };
        });
        let status = child.wait().unwrap();
        assert!(!status.success());
        killer.join().unwrap();
        assert!(child.try_wait().unwrap().is_some());
        // SAFETY: null is allowed.
        let gone = unsafe { libc::waitpid(id as i32, std::ptr::null_mut(), 0) };
        assert_eq!((gone, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
    });
}

#[test]
fn a_child_forked_by_code_finds_nothing_patched() {
    on_one_worker(|| {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // With this, std forks, and the closure runs in the child, on the coroutine's stack.
        let pause = || {
            thread::sleep(MS);
            let (mut a, mut b) = std::os::unix::net::UnixStream::pair()?;
            a.write_all(b"x")?;
            b.read_exact(&mut [0])
        };
        // SAFETY: the child has one thread, and the closure allocates nothing.
        unsafe { command.pre_exec(pause) };
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"through a cat").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"through a cat");
    });
}

#[test]
fn names_are_looked_up_by_many_at_once() {
    on_one_worker(|| {
        let ask = || spawn(|| ("localhost", 80).to_socket_addrs().unwrap().count());
        let all: Vec<_> = (0..50).map(|_| ask()).collect();
        assert!(all.into_iter().all(|handle| handle.join().unwrap() > 0));
        let offloads = monkey::status().iter().find(|s| s.name() == "getaddrinfo").map(|s| s.offloads());
        assert!(offloads >= Some(50));
        assert!(("a name that cannot be.", 80).to_socket_addrs().is_err());
    });
}

#[test]
fn what_is_moved_to_a_peer_that_does_not_read_is_timed_out() {
    let scratch = Scratch::new("unread");
    let path = scratch.0.join("file");
    on_one_worker(move || {
        fs::write(&path, vec![7; 8 << 20]).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_unread, _) = listener.accept().unwrap();
        let (unix, _silent) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = File::open(&path).unwrap();
        for to in [tcp.as_raw_fd(), unix.as_raw_fd()] {
            let outcome = ropewalk::timeout(100 * MS, || {
                loop {
                    // SAFETY: takes numbers, and no offset.
                    let sent =
                        unsafe { libc::sendfile(to, file.as_raw_fd(), std::ptr::null_mut(), 64 << 20) };
                    (&file).seek(SeekFrom::Start(0)).unwrap();
                    if sent < 0 {
                        break;
                    }
                }
            });
            assert!(outcome.is_err(), "there is no room for all of that");
        }
        // Two that move from one pipe, in which there is something for one of them.
        let (reader, mut writer) = std::io::pipe().unwrap();
        let all: Vec<_> = (0..2)
            .map(|_| {
                let reader = reader.try_clone().unwrap();
                spawn(move || {
                    let (_target, into) = std::io::pipe().unwrap();
                    let null = std::ptr::null_mut();
                    ropewalk::timeout(100 * MS, || {
                        let (from, to) = (reader.as_raw_fd(), into.as_raw_fd());
                        // SAFETY: takes numbers, and no offsets.
                        unsafe { libc::splice(from, null, to, null, 4096, 0) }
                    })
                    .is_ok()
                })
            })
            .collect();
        ropewalk::sleep(10 * MS);
        writer.write_all(b"x").unwrap();
        let done = all.into_iter().map(|one| one.join().unwrap()).filter(|done| *done).count();
        assert_eq!(done, 1);
        drop(scratch);
    });
}

#[test]
fn a_read_at_a_file_s_own_offset_is_one_piece() {
    const PAGE: usize = 4096;
    const PAGES: usize = 64;
    let scratch = Scratch::new("pieces");
    let path = scratch.0.join("file");
    common::watched(move || {
        monkey::patch_all().unwrap();
        let bytes: Vec<u8> = (0..PAGES).flat_map(|page| [page as u8; PAGE]).collect();
        fs::write(&path, bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        for round in 0..150 {
            let mut file = File::open(&path).unwrap();
            let advise = |how| {
                // SAFETY: takes numbers.
                unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, how) };
            };
            advise(libc::POSIX_FADV_RANDOM);
            advise(libc::POSIX_FADV_DONTNEED);
            // Every other page is in the cache, so a read finds a part of what it wants there.
            (0..PAGES).step_by(2).for_each(|page| {
                file.read_exact_at(&mut [0; PAGE], (page * PAGE) as u64).unwrap();
            });
            file.seek(SeekFrom::Start(0)).unwrap();
            let runtime = common::runtime(2);
            let readers: Vec<_> = (0..4)
                .map(|number| {
                    // A duplicate has the same offset.
                    let mut file = file.try_clone().unwrap();
                    runtime.spawn(move || {
                        let mut buffer = vec![0; 4 * PAGE];
                        let mut total = 0;
                        loop {
                            let len = match number {
                                0 => {
                                    file.read_vectored(&mut [std::io::IoSliceMut::new(&mut buffer)]).unwrap()
                                }
                                _ => file.read(&mut buffer).unwrap(),
                            };
                            let pages: Vec<u8> = buffer[..len].chunks(PAGE).map(|page| page[0]).collect();
                            assert!(
                                pages.windows(2).all(|two| two[1] == two[0] + 1),
                                "round {round}: {pages:?}"
                            );
                            total += len;
                            if len == 0 {
                                return total;
                            }
                        }
                    })
                })
                .collect();
            let total: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert_eq!(total, PAGES * PAGE, "round {round}");
        }
        drop(scratch);
    });
}

#[test]
fn files_are_read_and_written_as_ever() {
    let scratch = Scratch::new("files");
    let path = scratch.0.join("file");
    on_one_worker(move || {
        let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| (n >> 8) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64);
        assert!(fs::read(&path).unwrap() == bytes);
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let mut piece = [0; 5000];
        // Around the end: a short read, then nothing.
        file.seek(SeekFrom::End(-3)).unwrap();
        assert_eq!(file.read(&mut piece).unwrap(), 3);
        assert_eq!(file.read(&mut piece).unwrap(), 0);
        assert_eq!(file.read_at(&mut piece, bytes.len() as u64 - 7).unwrap(), 7);
        assert_eq!(file.read_at(&mut piece, bytes.len() as u64 + 7).unwrap(), 0);
        file.write_all_at(b"overwritten", 100).unwrap();
        file.sync_all().unwrap();
        file.read_exact_at(&mut piece[..11], 100).unwrap();
        assert_eq!(&piece[..11], b"overwritten");
        assert_eq!(File::open("/nonexistent").unwrap_err().raw_os_error(), Some(libc::ENOENT));
        assert_eq!(fs::metadata("/nonexistent").unwrap_err().raw_os_error(), Some(libc::ENOENT));
        // What the page cache does not hold is read by another thread.
        // SAFETY: takes numbers.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), bytes.len());
        drop(scratch);
    });
}

#[test]
fn files_are_copied_to_sockets_and_files() {
    let scratch = Scratch::new("copy");
    let path = scratch.0.join("file");
    on_one_worker(move || {
        let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| (n >> 6) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let (mut a, mut b) = std::os::unix::net::UnixStream::pair().unwrap();
        let source = path.clone();
        let sender = spawn(move || std::io::copy(&mut File::open(source).unwrap(), &mut a).unwrap());
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        assert_eq!(sender.join().unwrap(), bytes.len() as u64);
        assert!(all == bytes);
        let other = path.with_extension("copy");
        assert_eq!(fs::copy(&path, &other).unwrap(), bytes.len() as u64);
        assert!(fs::read(&other).unwrap() == bytes);
        drop(scratch);
    });
}

#[test]
fn a_file_lock_is_waited_for() {
    let scratch = Scratch::new("flock");
    let path = scratch.0.join("lock");
    on_one_worker(move || {
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        let waits = path.clone();
        let waiter = spawn(move || File::open(waits).unwrap().lock().unwrap());
        thread::sleep(5 * MS);
        assert!(!waiter.is_finished());
        holder.unlock().unwrap();
        waiter.join().unwrap();
        drop(scratch);
    });
}
