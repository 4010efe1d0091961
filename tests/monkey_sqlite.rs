//! SQLite as it is installed, on coroutines of one worker: it looks files up, and so waits, while it holds a mutex of C's
//! that the next connection wants. Skipped, with a word, where it is not installed.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut};

use common::on_one_worker;
use ropewalk::spawn;

type Place = *mut c_void;
type Open = unsafe extern "C" fn(*const c_char, *mut Place) -> c_int;
type Exec = unsafe extern "C" fn(Place, *const c_char, Place, Place, *const *const c_char) -> c_int;
type Close = unsafe extern "C" fn(Place) -> c_int;

#[derive(Clone, Copy)]
struct Library(Open, Exec, Close);

fn library() -> Option<Library> {
    // SAFETY: loads a library of the system.
    let library = unsafe { libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return None;
    }
    let find = |name: &CStr| {
        // SAFETY: asks for a name.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        assert!(!found.is_null(), "{name:?} is not in SQLite");
        found
    };
    // SAFETY: the function has this type, says SQLite's manual.
    let open = unsafe { transmute::<Place, Open>(find(c"sqlite3_open")) };
    // SAFETY: as above.
    let exec = unsafe { transmute::<Place, Exec>(find(c"sqlite3_exec")) };
    // SAFETY: as above.
    let close = unsafe { transmute::<Place, Close>(find(c"sqlite3_close")) };
    Some(Library(open, exec, close))
}

#[test]
fn connections_are_opened_and_used_by_many_coroutines() {
    let Some(Library(open, exec, close)) = library() else {
        println!("skipped: libsqlite3.so.0 is not installed");
        return;
    };
    let path = |n: u32| std::env::temp_dir().join(format!("ropewalk-sqlite-{}-{n}", std::process::id()));
    let remove = move || (0..4).for_each(|n| drop(std::fs::remove_file(path(n))));
    remove();
    on_one_worker(move || {
        // Two for each file.
        let clients = (0..8).map(|client| {
            spawn(move || {
                let name = CString::new(path(client % 4).to_str().unwrap()).unwrap();
                for round in 0..5 {
                    let mut database = null_mut();
                    // SAFETY: a name, and a place for the connection.
                    assert_eq!(unsafe { open(name.as_ptr(), &raw mut database) }, 0);
                    let run = |text: &CStr| {
                        // SAFETY: an open connection, and a text.
                        unsafe { exec(database, text.as_ptr(), null_mut(), null_mut(), null()) }
                    };
                    assert_eq!(run(c"pragma busy_timeout = 20000"), 0);
                    assert_eq!(run(c"create table if not exists seen (client, round)"), 0);
                    let text = format!("insert into seen values ({client}, {round})");
                    assert_eq!(run(&CString::new(text).unwrap()), 0);
                    // SAFETY: opened above.
                    assert_eq!(unsafe { close(database) }, 0);
                }
            })
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    });
    remove();
}
