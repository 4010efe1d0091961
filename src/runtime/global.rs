//! The global runtime: started on first use, for everybody who did not build one.
#![forbid(unsafe_code)]

use std::panic;
use std::sync::OnceLock;

use super::builder::Runtime;
use super::orphan;
use crate::sys;

static GLOBAL: OnceLock<Runtime> = OnceLock::new();

/// The runtime that code on plain threads spawns into: one worker a core, default stacks.
///
/// # Tests
/// The test harness captures the output of a test's thread, and of the threads that the thread starts by
/// [`std::thread::spawn`]. The threads of this runtime belong to no test: what its coroutines print, and the messages
/// of their panics, appear on the harness's own stdout and stderr, and under no test. A test that builds its own
/// [`Runtime`] has the output of its coroutines captured with its own. Stable Rust does not let a coroutine
/// take the capture of its spawner along.
///
/// # Panics
/// If its threads cannot be started, and in a child that was forked after a runtime had started.
///
/// # Examples
/// ```
/// assert!(ropewalk::runtime::global().workers() >= 1);
/// ```
pub fn global() -> &'static Runtime {
    orphan::refuse();
    GLOBAL.get_or_init(|| {
        // The threads of the runtime outlive the test that needs them first: they must not write into its capture.
        let made = match sys::thread::on_bare_thread(Runtime::new) {
            Ok(Ok(made)) => made,
            Ok(Err(payload)) => panic::resume_unwind(payload),
            Err(error) => Err(error),
        };
        made.unwrap_or_else(|error| panic!("the global runtime cannot start: {error}"))
    })
}

/// Makes `runtime` the global one. To be called before anything else of the crate is used.
///
/// # Examples
/// ```
/// let small = ropewalk::Runtime::builder().name("small").workers(1).build()?;
/// ropewalk::runtime::set_global(small).expect("it is the first");
/// assert_eq!(ropewalk::runtime::global().name(), "small");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The runtime comes back if there is a global one already.
pub fn set_global(runtime: Runtime) -> Result<(), Runtime> {
    GLOBAL.set(runtime)
}
