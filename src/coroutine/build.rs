//! Coroutines by hand before their first resume: how they are set up, and how they move to a thread.
#![forbid(unsafe_code)]

use core::fmt;

use super::stack::Stack;
use super::switch::{DefaultSwitch, Switch};
use super::typed::{Coroutine, Suspender};

/// Sets up a [`Coroutine`]: name and stack size.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::CoroutineBuilder;
///
/// let mut squares = CoroutineBuilder::new()
///     .name("squares")
///     .stack_size(64 * 1024)
///     .build(|out, ()| (1..).for_each(|n: u32| out.suspend(n * n)))?;
/// assert_eq!(squares.resume(()).yielded(), Some(1));
/// assert_eq!(squares.resume(()).yielded(), Some(4));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct CoroutineBuilder {
    name: Option<Box<str>>,
    stack_size: Option<usize>,
}

impl CoroutineBuilder {
    /// Starts with no name and a stack of 256 KiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the coroutine; reports and panics carry the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets the bytes of the stack.
    ///
    /// The size is rounded up to a power of two: 32 KiB at least, 1 GiB at most. Below each stack lies a guard of
    /// 64 KiB, also below the smallest; it takes address space and no memory. An overflow runs into it, and ends the
    /// process with a report that names the coroutine. A single frame of more than 64 KiB, in code that was compiled
    /// without stack probes, may miss it.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Makes the coroutine; `f` runs at the first resume.
    ///
    /// # Errors
    /// `InvalidInput` for an impossible stack size, `OutOfMemory` if there is no address space.
    pub fn build<I, Y, R, F>(self, f: F) -> std::io::Result<Coroutine<I, Y, R>>
    where
        F: FnOnce(&Suspender<I, Y, R>, I) -> R + 'static,
        I: 'static,
        Y: 'static,
    {
        self.build_with(f)
    }

    /// As [`build`](Self::build), with any switcher.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::coroutine::{Boost, Coroutine, CoroutineBuilder};
    ///
    /// let builder = CoroutineBuilder::new().name("other");
    /// let twice: Coroutine<(), u8, (), Boost> = builder.build_with(|out, ()| out.suspend(2))?;
    /// assert_eq!(twice.collect::<Vec<_>>(), [2]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for `build`.
    pub fn build_with<I, Y, R, S: Switch, F>(self, f: F) -> std::io::Result<Coroutine<I, Y, R, S>>
    where
        F: FnOnce(&Suspender<I, Y, R, S>, I) -> R + 'static,
        I: 'static,
        Y: 'static,
    {
        let stack = Stack::allocate(self.stack_size.unwrap_or(256 * 1024))?;
        Ok(Coroutine::with(stack, self.name, f))
    }
}

/// A coroutine that has not started, and may still move to another thread.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::Fresh;
///
/// let fresh = Fresh::new(|out, ()| (0..3).for_each(|n| out.suspend(n)));
/// let sum = std::thread::spawn(|| fresh.settle().sum::<i32>()).join().unwrap();
/// assert_eq!(sum, 3);
/// ```
#[expect(clippy::type_complexity, reason = "a closure with all that the coroutine is generic over")]
pub struct Fresh<I, Y, R = (), S: Switch = DefaultSwitch> {
    stack: Stack,
    start: Box<dyn FnOnce(&Suspender<I, Y, R, S>, I) -> R + Send>,
}

impl<I: 'static, Y: 'static, R: 'static> Fresh<I, Y, R> {
    /// Makes one with a stack of 256 KiB.
    ///
    /// # Panics
    /// If there is no address space for a stack.
    pub fn new<F>(f: F) -> Self
    where
        F: FnOnce(&Suspender<I, Y, R>, I) -> R + Send + 'static,
    {
        Self::with_switch(f)
    }
}

impl<I: 'static, Y: 'static, R: 'static, S: Switch> Fresh<I, Y, R, S> {
    /// As [`new`](Fresh::new), with any switcher.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::coroutine::{Boost, Fresh};
    ///
    /// let fresh = Fresh::<(), u8, (), Boost>::with_switch(|out, ()| out.suspend(7));
    /// let sum = std::thread::spawn(move || fresh.settle().sum::<u8>()).join().unwrap();
    /// assert_eq!(sum, 7);
    /// ```
    ///
    /// # Panics
    /// If there is no address space for a stack.
    pub fn with_switch<F>(f: F) -> Self
    where
        F: FnOnce(&Suspender<I, Y, R, S>, I) -> R + Send + 'static,
    {
        let stack =
            Stack::allocate(256 * 1024).unwrap_or_else(|error| panic!("a coroutine cannot be made: {error}"));
        Self { stack, start: Box::new(f) }
    }

    /// Binds it to the calling thread.
    pub fn settle(self) -> Coroutine<I, Y, R, S> {
        Coroutine::with(self.stack, None, self.start)
    }
}

impl<I, Y, R, S: Switch> fmt::Debug for Fresh<I, Y, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").field("stack", &self.stack).finish_non_exhaustive()
    }
}
