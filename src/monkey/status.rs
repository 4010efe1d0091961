//! What each replaced function does, and has done.
#![forbid(unsafe_code)]

use core::fmt;

use super::gate;
use super::self_test::{Found, self_test};
use super::symbols::Symbol;

/// One replaced function, as [`status`] lists it.
///
/// # Examples
/// ```
/// let status = ropewalk::monkey::status();
/// let connect = status.iter().find(|symbol| symbol.name() == "connect").unwrap();
/// assert!(!connect.is_active() && connect.reason().contains("patch_all"));
/// assert_eq!((connect.calls(), connect.parks(), connect.offloads()), (0, 0, 0));
/// ```
#[derive(Clone, Debug)]
pub struct SymbolStatus {
    symbol: Symbol,
    found: Found,
    counted: [u64; 3],
}

impl SymbolStatus {
    /// libc's name of the function.
    pub fn name(&self) -> &'static str {
        self.symbol.text()
    }

    /// Tells whether calls on coroutines cooperate.
    pub fn is_active(&self) -> bool {
        matches!(self.found, Found::Arrived | Found::Linked) && gate::is_patched(self.symbol.groups())
    }

    /// Why it is active, or why not.
    pub fn reason(&self) -> &'static str {
        match self.found {
            Found::Elsewhere => {
                "calls go to another library: it was linked, preloaded or loaded before ropewalk"
            }
            Found::Unknown => "nothing shows that calls arrive: the program is linked statically",
            _ if !gate::is_patched(self.symbol.groups()) => "not patched: call monkey::patch_all()",
            Found::Arrived => "std's calls arrive",
            Found::Linked => "the dynamic linker finds it",
        }
    }

    /// Calls made on coroutines.
    pub fn calls(&self) -> u64 {
        self.counted[0]
    }

    /// Times that a call gave its worker to other coroutines.
    pub fn parks(&self) -> u64 {
        self.counted[1]
    }

    /// Calls that a thread of the pool for blocking calls made.
    pub fn offloads(&self) -> u64 {
        self.counted[2]
    }
}

impl fmt::Display for SymbolStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active = if self.is_active() { "active" } else { "inactive" };
        let (name, [calls, parks, offloads]) = (self.name(), self.counted);
        let reason = self.reason();
        write!(f, "{name:<16} {active:<8} {calls:>9} calls {parks:>9} parks {offloads:>9} offloads  {reason}")
    }
}

/// Lists every replaced function: whether calls of it cooperate, why not, and what has been counted.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// ropewalk::monkey::patch_all()?;
/// ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(1))).join().unwrap();
/// let slept: u64 = ropewalk::monkey::status()
///     .iter()
///     .filter(|symbol| symbol.name().contains("nanosleep") && symbol.is_active())
///     .map(|symbol| symbol.parks())
///     .sum();
/// assert!(slept >= 1);
/// # Ok::<(), ropewalk::monkey::PatchError>(())
/// ```
pub fn status() -> Vec<SymbolStatus> {
    let test = self_test();
    let line = |&(symbol, found): &(Symbol, Found)| SymbolStatus { symbol, found, counted: symbol.counted() };
    test.found().iter().map(line).collect()
}
