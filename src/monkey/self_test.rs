//! Proof that calls arrive here: the linker decides, and nothing else would tell.
//!
//! Two looks. The dynamic linker is asked for each name: what it finds is what shared libraries call. And std is
//! made to call what it calls, with this thread's arrivals noted: what arrives is linked in statically, and then
//! all of the program's own code has the same functions, because a program has one symbol of a name.
//!
//! In a library that is loaded, the calls go to libc, the library's own included: names are looked up in the program and
//! in what it is linked with first. In a static program nothing is replaced (`hook`).

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use super::gate;
use super::patch::Patch;
use super::symbols::{ALL, Symbol};
use crate::sys::image::{self, Image};

static ARRIVED: [AtomicU32; ALL.len()] = [const { AtomicU32::new(0) }; ALL.len()];

/// How a symbol fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// std's call of it arrived.
    Arrived,
    /// The dynamic linker finds the function of this crate.
    Linked,
    /// The dynamic linker finds another.
    Elsewhere,
    /// There is no dynamic linker to ask, and std does not call it.
    Unknown,
}

/// What [`self_test`] has found.
///
/// # Examples
/// ```
/// let missed: Vec<_> = ropewalk::monkey::self_test().inactive().collect();
/// assert!(missed.is_empty(), "calls of {missed:?} go elsewhere");
/// println!("{}", ropewalk::monkey::self_test()); // calls of 120 of 120 functions arrive
/// ```
#[derive(Clone, Debug)]
pub struct SelfTest {
    found: Vec<(Symbol, Found)>,
}

impl SelfTest {
    /// The names of the functions whose calls do not arrive.
    pub fn inactive(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.inactive_of(Patch::ALL)
    }

    pub(super) fn inactive_of(&self, groups: Patch) -> impl Iterator<Item = &'static str> + '_ {
        let wanted = move |symbol: Symbol| symbol.groups() & groups.bits() != 0;
        let failed = |found: Found| matches!(found, Found::Elsewhere | Found::Unknown);
        self.found
            .iter()
            .filter(move |(symbol, found)| wanted(*symbol) && failed(*found))
            .map(|(symbol, _)| symbol.text())
    }

    pub(super) fn found(&self) -> &[(Symbol, Found)] {
        &self.found
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inactive: Vec<_> = self.inactive().collect();
        let arrive = self.found.len() - inactive.len();
        write!(f, "calls of {arrive} of {} functions arrive", self.found.len())?;
        if inactive.is_empty() { Ok(()) } else { write!(f, ", not those of {}", inactive.join(", ")) }
    }
}

/// Finds out which calls arrive here. Makes a few cheap system calls; patches nothing.
///
/// # Examples
/// ```
/// assert_eq!(ropewalk::monkey::self_test().inactive().next(), None);
/// ```
pub fn self_test() -> SelfTest {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    gate::probe(&ARRIVED, call_through_std);
    let own = image::containing((&raw const ARRIVED).addr());
    let found = ALL.iter().map(|symbol| (*symbol, look(*symbol, own.as_ref()))).collect();
    SelfTest { found }
}

fn look(symbol: Symbol, own: Option<&Image>) -> Found {
    // Relaxed: written by this thread.
    if ARRIVED[symbol as usize].load(Ordering::Relaxed) != 0 {
        return Found::Arrived;
    }
    if cfg!(target_feature = "crt-static") {
        return Found::Unknown;
    }
    // SAFETY: asks for a name.
    let seen = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.name().as_ptr()) };
    // The address alone does not tell: a library's own references are resolved as everybody's are, so it may be libc's.
    let is_here = own.is_some_and(|own| own.holds(seen.addr(), 0));
    match seen.cast_const().cast() {
        here if is_here && here == symbol.address().0 => Found::Linked,
        nothing if nothing.is_null() => Found::Unknown,
        _ => Found::Elsewhere,
    }
}

/// Calls what std offers that is cheap and has no effect.
fn call_through_std() {
    std::thread::sleep(Duration::from_nanos(1));
}
