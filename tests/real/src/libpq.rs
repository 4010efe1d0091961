//! libpq, PostgreSQL's own client in C, as it is installed: its calls of libc come from a shared library.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute;
use std::sync::OnceLock;

type Place = *mut c_void;

/// The functions that are used here.
struct Library {
    connect: extern "C" fn(*const c_char) -> Place,
    status: extern "C" fn(Place) -> c_int,
    finish: extern "C" fn(Place),
    message: extern "C" fn(Place) -> *const c_char,
    run: extern "C" fn(Place, *const c_char) -> Place,
    result_status: extern "C" fn(Place) -> c_int,
    rows: extern "C" fn(Place) -> c_int,
    value: extern "C" fn(Place, c_int, c_int) -> *const c_char,
    clear: extern "C" fn(Place),
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // SAFETY: loads a library of the system.
        let library = unsafe { libc::dlopen(c"libpq.so.5".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "PostgreSQL is installed, and with it libpq.so.5");
        let find = |name: &CStr| {
            // SAFETY: asks for a name.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null(), "{name:?} is not in libpq.so.5");
            found
        };
        // SAFETY: the functions have these types, says libpq's manual.
        unsafe {
            Library {
                connect: transmute::<Place, extern "C" fn(*const c_char) -> Place>(find(c"PQconnectdb")),
                status: transmute::<Place, extern "C" fn(Place) -> c_int>(find(c"PQstatus")),
                finish: transmute::<Place, extern "C" fn(Place)>(find(c"PQfinish")),
                message: transmute::<Place, extern "C" fn(Place) -> *const c_char>(find(c"PQerrorMessage")),
                run: transmute::<Place, extern "C" fn(Place, *const c_char) -> Place>(find(c"PQexec")),
                result_status: transmute::<Place, extern "C" fn(Place) -> c_int>(find(c"PQresultStatus")),
                rows: transmute::<Place, extern "C" fn(Place) -> c_int>(find(c"PQntuples")),
                value: transmute::<Place, extern "C" fn(Place, c_int, c_int) -> *const c_char>(find(
                    c"PQgetvalue",
                )),
                clear: transmute::<Place, extern "C" fn(Place)>(find(c"PQclear")),
            }
        }
    })
}

/// A connection, used by one coroutine at a time.
#[derive(Debug)]
pub struct Connection(Place);

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(url: &str) -> Self {
        let url = CString::new(url).expect("no zero in it");
        let connection = Self((library().connect)(url.as_ptr()));
        assert_eq!((library().status)(connection.0), 0, "{}", connection.message());
        connection
    }

    fn message(&self) -> String {
        // SAFETY: a string that lives until the next call on the connection.
        unsafe { CStr::from_ptr((library().message)(self.0)) }.to_string_lossy().into_owned()
    }

    /// Runs a statement; the first column of its first row, if it has any.
    ///
    /// # Panics
    /// If that fails.
    pub fn ask(&self, statement: &str) -> String {
        const COMMAND_OK: c_int = 1;
        const TUPLES_OK: c_int = 2;
        let text = CString::new(statement).expect("no zero in it");
        let result = (library().run)(self.0, text.as_ptr());
        let status = (library().result_status)(result);
        assert!([COMMAND_OK, TUPLES_OK].contains(&status), "{statement}: {}", self.message());
        let mut answer = String::new();
        if (library().rows)(result) > 0 {
            // SAFETY: a string that lives until the result is cleared.
            answer =
                unsafe { CStr::from_ptr((library().value)(result, 0, 0)) }.to_string_lossy().into_owned();
        }
        (library().clear)(result);
        answer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        (library().finish)(self.0);
    }
}
