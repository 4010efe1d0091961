//! Names in file systems: made, moved, removed, looked at.

use std::ffi::{CStr, CString};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

use super::*;

/// A folder of this process, which goes with its value.
struct Folder(CString, c_int);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-names-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
        assert!(fd > 0);
        Self(path, fd)
    }

    fn path(&self, name: &str) -> CString {
        CString::new(format!("{}/{name}", self.0.to_str().unwrap())).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        close(&[self.1]);
        let _ = std::fs::remove_dir_all(self.0.to_str().unwrap());
    }
}

/// A file's kind, mode, length, owners and links.
fn status(seen: &mut Seen, path: &CStr) {
    let mut status: libc::stat = unsafe { zeroed() };
    seen.call("lstat", unsafe { libc::lstat(path.as_ptr(), &mut status) });
    // The length of a directory is its file system's affair.
    let is_folder = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let len = if is_folder { 0 } else { status.st_size };
    seen.note((status.st_mode, len, status.st_uid, status.st_gid));
    seen.note((status.st_mtime == 1_000, if is_folder { 0 } else { status.st_nlink }));
}

#[test]
fn names_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("made and removed", |seen| unsafe {
        let folder = Folder::new();
        let (one, two, at) = (folder.path("one"), folder.path("one/two"), folder.1);
        seen.call("no parent", libc::mkdir(two.as_ptr(), 0o700));
        seen.call("mkdir", libc::mkdir(one.as_ptr(), 0o750));
        seen.call("there already", libc::mkdir(one.as_ptr(), 0o750));
        seen.call("mkdirat", libc::mkdirat(at, c"one/two".as_ptr(), 0o700));
        seen.call("not open", libc::mkdirat(99_999, c"x".as_ptr(), 0o700));
        seen.call("null", libc::mkdir(null(), 0o700));
        seen.call("not empty", libc::rmdir(one.as_ptr()));
        seen.call("a directory", libc::unlink(two.as_ptr()));
        seen.call("rmdir", libc::rmdir(two.as_ptr()));
        seen.call("gone", libc::rmdir(two.as_ptr()));
        let file = folder.path("file");
        close(&[libc::creat(file.as_ptr(), 0o600)]);
        seen.call("no directory", libc::rmdir(file.as_ptr()));
        seen.call("unlink", libc::unlink(file.as_ptr()));
        seen.call("gone", libc::unlink(file.as_ptr()));
        close(&[libc::creat(file.as_ptr(), 0o600)]);
        seen.call("unlinkat, no directory", libc::unlinkat(at, c"file".as_ptr(), libc::AT_REMOVEDIR));
        seen.call("unlinkat", libc::unlinkat(at, c"file".as_ptr(), 0));
        seen.call("bad flags", libc::unlinkat(at, c"file".as_ptr(), 1));
        close(&[libc::creat(file.as_ptr(), 0o600)]);
        seen.call("remove a file", libc::remove(file.as_ptr()));
        seen.call("remove a directory", libc::remove(one.as_ptr()));
        seen.call("remove nothing", libc::remove(one.as_ptr()));
    }),
    ("moved and linked", |seen| unsafe {
        let folder = Folder::new();
        let (at, [a, b, c]) = (folder.1, ["a", "b", "c"].map(|name| folder.path(name)));
        close(&[libc::creat(a.as_ptr(), 0o600)]);
        seen.call("rename", libc::rename(a.as_ptr(), b.as_ptr()));
        seen.call("gone", libc::rename(a.as_ptr(), b.as_ptr()));
        seen.call("renameat", libc::renameat(at, c"b".as_ptr(), at, c"a".as_ptr()));
        seen.call("link", libc::link(a.as_ptr(), b.as_ptr()));
        seen.call("there already", libc::link(a.as_ptr(), b.as_ptr()));
        status(seen, &b);
        let exclusive = libc::RENAME_NOREPLACE;
        seen.call("renameat2", libc::renameat2(at, c"a".as_ptr(), at, c"b".as_ptr(), exclusive));
        seen.call("bad flags", libc::renameat2(at, c"a".as_ptr(), at, c"b".as_ptr(), 1 << 20));
        seen.call("linkat", libc::linkat(at, c"a".as_ptr(), at, c"c".as_ptr(), 0));
        seen.call("bad flags", libc::linkat(at, c"a".as_ptr(), at, c"d".as_ptr(), 1));
        seen.call("unlink", libc::unlink(c.as_ptr()));
        seen.call("symlink", libc::symlink(c"a".as_ptr(), c.as_ptr()));
        seen.call("symlinkat", libc::symlinkat(c"nowhere".as_ptr(), at, c"d".as_ptr()));
        status(seen, &c);
        let mut text = [0u8; 32];
        let place: *mut libc::c_char = text.as_mut_ptr().cast();
        seen.call("readlink", libc::readlink(c.as_ptr(), place, 32));
        seen.call("in part", libc::readlinkat(at, c"d".as_ptr(), place, 3));
        seen.bytes(&text);
        seen.call("no link", libc::readlink(a.as_ptr(), place, 32));
        seen.call("no room", libc::readlink(c.as_ptr(), place, 0));
        let found = libc::realpath(c.as_ptr(), null_mut());
        seen.note(CStr::from_ptr(found).to_str().unwrap().ends_with("/a"));
        libc::free(found.cast());
        let mut place = [0; libc::PATH_MAX as usize];
        let found = libc::realpath(a.as_ptr(), place.as_mut_ptr());
        seen.note(std::ptr::eq(found, place.as_ptr()));
        let nowhere = folder.path("d");
        seen.call("nowhere", if libc::realpath(nowhere.as_ptr(), null_mut()).is_null() { -1 } else { 0 });
        seen.call("null", if libc::realpath(null(), null_mut()).is_null() { -1 } else { 0 });
    }),
    ("looked at and changed", |seen| unsafe {
        let folder = Folder::new();
        let (file, link, at) = (folder.path("file"), folder.path("link"), folder.1);
        close(&[libc::creat(file.as_ptr(), 0o600)]);
        libc::symlink(c"file".as_ptr(), link.as_ptr());
        seen.call("access", libc::access(file.as_ptr(), libc::R_OK));
        seen.call("access nothing", libc::access(folder.path("x").as_ptr(), libc::F_OK));
        seen.call("bad mode", libc::access(file.as_ptr(), 99));
        seen.call("faccessat", libc::faccessat(at, c"file".as_ptr(), libc::W_OK, libc::AT_EACCESS));
        seen.call("bad flags", libc::faccessat(at, c"file".as_ptr(), libc::W_OK, 1));
        seen.call("chmod", libc::chmod(link.as_ptr(), 0o640));
        seen.call("fchmodat", libc::fchmodat(at, c"file".as_ptr(), 0o4644, 0));
        seen.call("chmod nothing", libc::chmod(folder.path("x").as_ptr(), 0o640));
        status(seen, &file);
        let (own, none) = (libc::getuid(), u32::MAX);
        seen.call("chown", libc::chown(file.as_ptr(), own, none));
        seen.call("lchown", libc::lchown(link.as_ptr(), own, none));
        seen.call("fchownat", libc::fchownat(at, c"link".as_ptr(), none, none, libc::AT_SYMLINK_NOFOLLOW));
        seen.call("chown nothing", libc::chown(folder.path("x").as_ptr(), own, none));
        let times = [libc::timespec { tv_sec: 1_000, tv_nsec: 5 }; 2];
        seen.call("utimensat", libc::utimensat(at, c"file".as_ptr(), times.as_ptr(), 0));
        seen.call("without a name", libc::utimensat(at, null(), times.as_ptr(), 0));
        seen.call("truncate", libc::truncate(file.as_ptr(), 12_345));
        seen.call("negative", libc::truncate(file.as_ptr(), -1));
        libc::utimensat(at, c"file".as_ptr(), times.as_ptr(), 0);
        status(seen, &file);
        let fd = libc::open(file.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        seen.call("ftruncate", libc::ftruncate(fd, 10));
        seen.call("fallocate", libc::fallocate(fd, 0, 0, 5000));
        seen.call("keep the size", libc::fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 0, 9000));
        seen.call("bad section", libc::fallocate(fd, 0, -1, 5));
        seen.call("posix_fallocate", libc::posix_fallocate(fd, 0, 6000));
        seen.call("posix_fallocate", libc::posix_fallocate(fd, -1, 6000));
        seen.call("sync_file_range", libc::sync_file_range(fd, 0, 4096, libc::SYNC_FILE_RANGE_WRITE));
        seen.call("bad range", libc::sync_file_range(fd, -1, 4096, 0));
        seen.call("syncfs", libc::syncfs(fd));
        seen.call("not open", libc::syncfs(99_999));
        libc::sync();
        seen.call("end", libc::lseek(fd, 0, libc::SEEK_END));
        let place = libc::mmap(null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
        place.cast::<u8>().write(7);
        seen.call("msync", libc::msync(place, 4096, libc::MS_SYNC));
        seen.call("bad flags", libc::msync(place, 4096, libc::MS_SYNC | libc::MS_ASYNC));
        libc::munmap(place, 4096);
        seen.call("gone", libc::msync(place, 4096, libc::MS_SYNC));
        close(&[fd]);
    }),
    ("directories and file systems", |seen| unsafe {
        let folder = Folder::new();
        for name in ["a", "b", "c"] {
            close(&[libc::creat(folder.path(name).as_ptr(), 0o600)]);
        }
        let directory = libc::opendir(folder.0.as_ptr());
        let mut names = Vec::new();
        while let Some(entry) = libc::readdir(directory).as_ref() {
            names.push(CStr::from_ptr(entry.d_name.as_ptr()).to_owned());
        }
        names.sort();
        seen.note(names);
        seen.call("closedir", libc::closedir(directory));
        let nothing = folder.path("x");
        seen.call("nothing", if libc::opendir(nothing.as_ptr()).is_null() { -1 } else { 0 });
        seen.call("a file", if libc::opendir(folder.path("a").as_ptr()).is_null() { -1 } else { 0 });
        let mut entries = [0u64; 512];
        let entries = entries.as_mut_ptr().cast();
        unsafe extern "C" {
            fn getdents64(fd: c_int, place: *mut libc::c_void, room: usize) -> isize;
        }
        seen.call("getdents64", getdents64(folder.1, entries, 4096));
        seen.call("the end", getdents64(folder.1, entries, 4096));
        seen.call("too small", {
            libc::lseek(folder.1, 0, libc::SEEK_SET);
            getdents64(folder.1, entries, 1)
        });
        let mut of: libc::statfs = zeroed();
        seen.call("statfs", libc::statfs(folder.0.as_ptr(), &mut of));
        let mut other: libc::statvfs = zeroed();
        seen.call("statvfs", libc::statvfs(folder.0.as_ptr(), &mut other));
        seen.note((of.f_type, of.f_bsize, other.f_bsize, other.f_namemax, other.f_flag));
        seen.call("statfs nothing", libc::statfs(nothing.as_ptr(), &mut of));
        seen.call("statvfs nothing", libc::statvfs(nothing.as_ptr(), &mut other));
    }),
];
