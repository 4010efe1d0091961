//! The global runtime: started on first use, for everybody who did not build one.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::builder::Runtime;
use super::orphan;

static GLOBAL: OnceLock<Runtime> = OnceLock::new();

/// The runtime that code on plain threads spawns into: one worker a core, default stacks.
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
        Runtime::new().unwrap_or_else(|error| panic!("the global runtime cannot start: {error}"))
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
