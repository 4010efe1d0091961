//! The forms for files of more than two gigabytes, which C code calls by names of their own; and what is left.

use std::ffi::CString;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

use libc::iovec;

use super::*;

unsafe extern "C" {
    fn creat64(name: *const libc::c_char, mode: libc::mode_t) -> c_int;
    fn lockf64(fd: c_int, operation: c_int, len: i64) -> c_int;
    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int;
    fn preadv64v2(fd: c_int, list: *const iovec, count: c_int, offset: i64, flags: c_int) -> isize;
    fn pwritev64v2(fd: c_int, list: *const iovec, count: c_int, offset: i64, flags: c_int) -> isize;
    fn gethostbyname2(name: *const libc::c_char, family: c_int) -> *const libc::hostent;
    fn gethostbyname2_r(
        name: *const libc::c_char,
        family: c_int,
        place: *mut libc::hostent,
        buffer: *mut libc::c_char,
        room: usize,
        result: *mut *mut libc::hostent,
        error: *mut c_int,
    ) -> c_int;
    fn gethostbyaddr_r(
        address: *const c_int,
        len: u32,
        family: c_int,
        place: *mut libc::hostent,
        buffer: *mut libc::c_char,
        room: usize,
        result: *mut *mut libc::hostent,
        error: *mut c_int,
    ) -> c_int;
}

#[test]
fn wide_forms_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("wide forms", |seen| unsafe {
        let path = std::env::temp_dir().join(format!("ropewalk-wide-{}", std::process::id()));
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let name = path.as_ptr();
        close(&[creat64(name, 0o600)]);
        let fd = libc::open64(name, libc::O_RDWR | libc::O_CLOEXEC);
        let other = libc::openat64(-1, name, libc::O_RDONLY | libc::O_CLOEXEC);
        seen.note((fd > 2, other > 2));
        let mut bytes = *b"0123";
        let place: *mut libc::c_void = bytes.as_mut_ptr().cast();
        let list = iovec { iov_base: place, iov_len: 4 };
        seen.call("pwrite64", libc::pwrite64(fd, place, 4, 2));
        seen.call("pwritev64", libc::pwritev64(fd, &list, 1, 8));
        seen.call("pwritev64v2", pwritev64v2(fd, &list, 1, -1, 0));
        seen.call("pread64", libc::pread64(fd, place, 4, 4));
        seen.bytes(&bytes);
        seen.call("preadv64", libc::preadv64(fd, &list, 1, 9));
        seen.call("preadv64v2", preadv64v2(fd, &list, 1, 0, 0));
        seen.bytes(&bytes);
        seen.call("ftruncate64", libc::ftruncate64(fd, 100));
        seen.call("truncate64", libc::truncate64(name, 200));
        seen.call("fallocate64", libc::fallocate64(fd, 0, 0, 300));
        seen.call("posix_fallocate64", libc::posix_fallocate64(fd, 0, 400));
        let mut of: libc::stat64 = zeroed();
        seen.call("stat64", libc::stat64(name, &mut of));
        seen.call("lstat64", libc::lstat64(name, &mut of));
        seen.call("fstatat64", libc::fstatat64(fd, c"".as_ptr(), &mut of, libc::AT_EMPTY_PATH));
        let mut wide: libc::statx = zeroed();
        seen.call("statx", libc::statx(-1, name, 0, libc::STATX_SIZE, &mut wide));
        seen.note((of.st_size, wide.stx_size, wide.stx_mask & libc::STATX_SIZE));
        seen.call("statx nothing", libc::statx(-1, c"/nonexistent".as_ptr(), 0, 0, &mut wide));
        seen.call("statx itself", libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, 0, &mut wide));
        let (mut system, mut volume): (libc::statfs64, libc::statvfs64) = (zeroed(), zeroed());
        seen.call("statfs64", libc::statfs64(name, &mut system));
        seen.call("statvfs64", libc::statvfs64(name, &mut volume));
        seen.note((system.f_type, volume.f_namemax));
        let [reading, writing] = pipe();
        seen.call("sendfile64", libc::sendfile64(writing, other, &mut 3, 5));
        seen.call("lockf64", lockf64(fd, libc::F_LOCK, 3));
        seen.call("unlocked", lockf64(fd, libc::F_ULOCK, 3));
        seen.call("fcntl64", fcntl64(fd, libc::F_GETFL, 0) & libc::O_ACCMODE);
        seen.call("bad command", fcntl64(fd, 9999, 0));
        close(&[fd, other, reading, writing]);
        libc::unlink(name);
    }),
    ("what else makes descriptors", |seen| unsafe {
        let fd = libc::inotify_init();
        seen.note((fd > 2, libc::fcntl(fd, libc::F_GETFD)));
        let memory = libc::memfd_create(c"ropewalk".as_ptr(), libc::MFD_CLOEXEC);
        seen.call("write", write(memory, b"in memory"));
        seen.call("bad flags", libc::memfd_create(c"ropewalk".as_ptr(), 1 << 20));
        close(&[fd, memory]);
    }),
    ("names of the old kind, by family", |seen| unsafe {
        let name = c"127.0.0.1".as_ptr();
        let found = gethostbyname2(name, libc::AF_INET);
        seen.note(std::slice::from_raw_parts(*(*found).h_addr_list, 4));
        seen.note(gethostbyname2(c"no such name.".as_ptr(), libc::AF_INET).is_null());
        let (mut place, mut buffer, mut result, mut error): (libc::hostent, _, _, _) =
            (zeroed(), [0; 512], null_mut(), 0);
        let room = buffer.as_mut_ptr();
        let answer = gethostbyname2_r(name, libc::AF_INET, &mut place, room, 512, &mut result, &mut error);
        seen.note((answer, result.is_null()));
        let address = c_int::from_ne_bytes([127, 0, 0, 1]);
        let mut by =
            |family| gethostbyaddr_r(&address, 4, family, &mut place, room, 512, &mut result, &mut error);
        seen.note(by(libc::AF_INET));
        seen.note(by(999) != 0 || error != 0);
    }),
    ("libraries", |seen| unsafe {
        let library = libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW);
        seen.note(library.is_null());
        seen.note(libc::dlsym(library, c"cos".as_ptr()).is_null());
        seen.call("closed", libc::dlclose(library));
        seen.note(libc::dlopen(c"libnonexistent.so".as_ptr(), libc::RTLD_NOW).is_null());
    }),
    ("threads that are joined", |seen| unsafe {
        extern "C" fn body(argument: *mut libc::c_void) -> *mut libc::c_void {
            thread::sleep(3 * MS);
            argument
        }
        let (mut joined, mut result) = (zeroed(), null_mut());
        let argument = std::ptr::without_provenance_mut(77);
        seen.call("create", libc::pthread_create(&mut joined, null(), body, argument));
        seen.call("join", libc::pthread_join(joined, &mut result));
        seen.note(result.addr());
        seen.call("oneself", libc::pthread_join(libc::pthread_self(), null_mut()));
    }),
];

/// Where a function is called both ways, if not in this table.
const ELSEWHERE: [(&str, &str); 1] = [("vfork", "monkey_hostile.rs")];

#[test]
fn each_replaced_function_is_called_here() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let table: String = std::fs::read_dir(tests.join("monkey_same"))
        .unwrap()
        .map(|entry| read(entry.unwrap().path()))
        .collect();
    let calls = |text: &str, name: &str| {
        text.match_indices(&format!("{name}("))
            .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    for symbol in ropewalk::monkey::status() {
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == symbol.name());
        let found = match elsewhere {
            Some((name, file)) => read(tests.join(file)).contains(name),
            None => calls(&table, symbol.name()),
        };
        assert!(found, "no test calls {} both ways", symbol.name());
    }
}
