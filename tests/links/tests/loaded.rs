//! A program that is not linked with ropewalk loads a library that is.

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::{env, mem};

/// Set in the child, whose plugin is there from the start.
const PRELOADED: &str = "LINKS_PRELOADED";

static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

extern "C" fn take(name: *const u8, len: usize) {
    // SAFETY: the plugin hands a string of its own, for the length of this call.
    let name = unsafe { std::slice::from_raw_parts(name, len) };
    NAMES.lock().unwrap().push(String::from_utf8(name.to_vec()).unwrap());
}

/// The library that cargo has built beside this test.
fn plugin() -> PathBuf {
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.with_file_name("examples").join("libplugin.so")
}

/// The plugin's functions.
struct Plugin {
    patch: extern "C" fn(extern "C" fn(*const u8, usize)) -> usize,
    symbols: extern "C" fn() -> usize,
    run: extern "C" fn() -> u64,
}

impl Plugin {
    fn load() -> Self {
        let path = CString::new(plugin().to_str().unwrap()).unwrap();
        // SAFETY: a string with an end; the library's constructors do nothing.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "{path:?} cannot be loaded");
        let find = |name: &str| {
            let name = CString::new(name).unwrap();
            // SAFETY: an open library, and a string with an end.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null(), "{name:?}");
            found
        };
        Self {
            // SAFETY: the plugin's function of that name has this type.
            patch: unsafe {
                mem::transmute::<*mut c_void, extern "C" fn(extern "C" fn(*const u8, usize)) -> usize>(find(
                    "plugin_patch",
                ))
            },
            // SAFETY: as above.
            symbols: unsafe {
                mem::transmute::<*mut c_void, extern "C" fn() -> usize>(find("plugin_symbols"))
            },
            // SAFETY: as above.
            run: unsafe { mem::transmute::<*mut c_void, extern "C" fn() -> u64>(find("plugin_run")) },
        }
    }
}

#[test]
fn a_loaded_library_is_told_that_no_call_arrives_and_a_preloaded_one_that_all_do() {
    let plugin = Plugin::load();
    let count = (plugin.symbols)();
    let inactive = (plugin.patch)(take);
    let names = NAMES.lock().unwrap().clone();
    assert_eq!(names.len(), inactive);
    if env::var_os(PRELOADED).is_some() {
        assert_eq!(names, Vec::<String>::new());
        assert_ne!((plugin.run)(), 0, "sleeps give their worker away");
        return;
    }
    assert_eq!((plugin.run)(), 0, "sleeps pass on to the kernel");
    for name in
        ["read", "write", "connect", "clock_nanosleep", "syscall", "pthread_join", "getaddrinfo", "waitpid"]
    {
        assert!(names.iter().any(|seen| seen == name), "{name} is missing in {names:?}");
    }
    assert_eq!(inactive, count, "only {names:?}");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_loaded_library_is_told_that_no_call_arrives_and_a_preloaded_one_that_all_do")
        .env("LD_PRELOAD", self::plugin())
        .env(PRELOADED, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}
