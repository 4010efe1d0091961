//! Values that each coroutine has for itself: `thread_local!` for coroutines.

use core::any::Any;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr;
use std::rc::Rc;

use super::current;
use super::extra::{Extra, Locals};
use crate::coroutine::unwind::{self, Ended};

/// Declares values that every coroutine, and every plain thread, has for itself.
///
/// Made on first use, dropped when the coroutine ends (on it), or with its thread. Destructors may use
/// values too; what they make is dropped as well, save what a thread makes after all of its own are gone. Destructors
/// that go on to make values, as one does that uses its own key, get a panic in the end.
///
/// # Examples
/// ```
/// use std::cell::Cell;
///
/// ropewalk::coroutine_local! {
///     static REQUEST: Cell<u32> = Cell::new(0);
/// }
/// REQUEST.set(1);
/// let other = ropewalk::spawn(|| { REQUEST.set(REQUEST.get() + 5); REQUEST.get() });
/// assert_eq!((other.join().unwrap(), REQUEST.get()), (5, 1));
/// ```
#[macro_export]
macro_rules! coroutine_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr);* $(;)?) => {
        $($(#[$attribute])* $visibility static $name: $crate::coroutine::LocalKey<$type> = {
            fn init() -> $type { $init }
            $crate::coroutine::LocalKey::__new(init)
        };)*
    };
}

/// A key made by [`coroutine_local!`].
///
/// # Examples
/// ```
/// use std::cell::Cell;
///
/// ropewalk::coroutine_local! { static DEPTH: Cell<u32> = Cell::new(0); }
/// DEPTH.set(3);
/// // Another coroutine has a value of its own, whatever thread it runs on.
/// assert_eq!(ropewalk::spawn(|| DEPTH.get()).join().unwrap(), 0);
/// assert_eq!(DEPTH.replace(4), 3);
/// ```
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    /// Gives each key an address of its own, which is what values are found by.
    _place: u8,
}

thread_local! {
    /// Without a destructor, so that the destructors of values find it: `SWEEP` empties it.
    static OF_THREAD: ManuallyDrop<RefCell<Option<Box<Locals>>>> = ManuallyDrop::default();
    static SWEEP: Sweep = const { Sweep };
}

/// Drops a plain thread's values when the thread ends, until none is left.
struct Sweep;

impl Drop for Sweep {
    fn drop(&mut self) {
        drop_all(|locals| OF_THREAD.with(|place| place.replace(locals)));
    }
}

/// Drops all values of a coroutine or thread that ends. `replace` puts something in their place, and gives what was
/// there.
///
/// Destructors may make values again; each round drops what it finds. In the last one none is made.
pub(super) fn drop_all(replace: impl Fn(Option<Box<Locals>>) -> Option<Box<Locals>>) {
    const ROUNDS: u32 = 16;
    for round in 1..=ROUNDS {
        let closed = (round == ROUNDS).then(|| Box::new(Locals { closed: true, ..Locals::default() }));
        // Out of their place first: a destructor may use it.
        let Some(locals) = replace(closed) else { break };
        for (_, value) in locals.values {
            if let Ended::Panicked(payload) = unwind::catch(move || drop(value)) {
                unwind::discard(payload);
            }
        }
    }
    // Nothing was made in the last round.
    replace(None);
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn __new(init: fn() -> T) -> Self {
        Self { init, _place: 0 }
    }

    /// Gives `f` the value of the calling coroutine or thread, made now if it is the first use.
    ///
    /// # Panics
    /// If `init` does; and in a destructor, if those have made values again too often.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let key = ptr::from_ref(self).addr();
        let fresh: Rc<dyn Any>;
        let value = match access(|locals| (locals.values.get(&key).cloned(), locals.closed)) {
            (Some(value), _) => value,
            (None, true) => panic!(
                "the destructors of `coroutine_local!` values make values again and again: one of them uses its own key, \
                 or two use each other's"
            ),
            (None, false) => {
                fresh = Rc::new((self.init)());
                let again = fresh.clone();
                // `init` may have used this very key; the first value stays, and `fresh` outlives the
                // access so that no destructor runs inside it.
                access(move |locals| locals.values.entry(key).or_insert(again).clone())
            }
        };
        // Held while `f` runs: a hand-resumed coroutine may carry `f` past the end of this one.
        let value: Rc<T> = value.downcast().expect("a key's address belongs to one type");
        f(&value)
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Replaces the value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Copies the value out.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value, and leaves the default.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Replaces the value and gives the old one.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Borrows the value.
    ///
    /// # Panics
    /// If it is mutably borrowed.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Borrows the value mutably.
    ///
    /// # Examples
    /// ```
    /// use std::cell::RefCell;
    ///
    /// ropewalk::coroutine_local! { static LOG: RefCell<Vec<u32>> = RefCell::new(Vec::new()); }
    /// LOG.with_borrow_mut(|log| log.push(7));
    /// assert_eq!(LOG.with_borrow(Vec::len), 1);
    /// assert_eq!(ropewalk::spawn(|| LOG.with_borrow(Vec::len)).join().unwrap(), 0); // another's own
    /// ```
    ///
    /// # Panics
    /// If it is borrowed.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

fn access<R>(f: impl FnOnce(&mut Locals) -> R) -> R {
    match current::task() {
        Some(task) => {
            // SAFETY: the task that runs is alive.
            let task = unsafe { task.as_ref() };
            // SAFETY: this is that task, and the closures above run no user code: clones are counts,
            // and what they drop is held elsewhere.
            unsafe { Extra::with_locals(task, f) }
        }
        None => {
            // What is made when the thread has swept already is leaked.
            let _ = SWEEP.try_with(|_| ());
            OF_THREAD.with(|locals| f(locals.borrow_mut().get_or_insert_default()))
        }
    }
}
