//! `select!`, with the grammar of crossbeam-channel.
#![forbid(unsafe_code)]

/// Waits for several channel operations, does one that is ready, and runs its arm.
///
/// ```text
/// select! {
///     recv(receiver) -> result => …,
///     send(sender, message) -> result => …,
///     default => …,             // or: default(timeout) => …
/// }
/// ```
///
/// Among several that are ready, one is chosen at random. The message of a send is made only if that send
/// is chosen. A cancellation point if it has to wait.
///
/// # Examples
/// ```
/// use ropewalk::channel::{never, unbounded};
/// use ropewalk::select;
///
/// let (sender, receiver) = unbounded();
/// sender.send("hello").unwrap();
/// let never = never::<i32>();
/// let text = select! {
///     recv(receiver) -> text => text.unwrap(),
///     recv(never) -> _ => unreachable!(),
///     default => "nothing",
/// };
/// assert_eq!(text, "hello");
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => { $crate::__select_arms!(new [] $($arms)*) };
}

/// As [`select!`](crate::select), but among several that are ready, the first arm is chosen.
#[macro_export]
macro_rules! select_biased {
    ($($arms:tt)*) => { $crate::__select_arms!(new_biased [] $($arms)*) };
}

/// Sorts the arms: `[(index handle kind …)…]`, then the default if there is one.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_arms {
    // An arm ends with a comma, or with a block and no comma, or with the list.
    ($new:ident [$($done:tt)*] recv($r:expr $(,)?) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select_arms!($new [$($done)* (index handle recv ($r) ($p) $body)] $($rest)*)
    };
    ($new:ident [$($done:tt)*] recv($r:expr $(,)?) -> $p:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select_arms!($new [$($done)* (index handle recv ($r) ($p) { $body })] $($rest)*)
    };
    ($new:ident [$($done:tt)*] recv($r:expr $(,)?) -> $p:pat => $body:expr) => {
        $crate::__select_arms!($new [$($done)* (index handle recv ($r) ($p) { $body })])
    };
    ($new:ident [$($done:tt)*] send($s:expr, $m:expr $(,)?) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select_arms!($new [$($done)* (index handle send ($s, $m) ($p) $body)] $($rest)*)
    };
    ($new:ident [$($done:tt)*] send($s:expr, $m:expr $(,)?) -> $p:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select_arms!($new [$($done)* (index handle send ($s, $m) ($p) { $body })] $($rest)*)
    };
    ($new:ident [$($done:tt)*] send($s:expr, $m:expr $(,)?) -> $p:pat => $body:expr) => {
        $crate::__select_arms!($new [$($done)* (index handle send ($s, $m) ($p) { $body })])
    };
    ($new:ident [$($done:tt)*] default $(())? => $body:expr $(,)?) => {
        $crate::__select_run!($new [$($done)*] now { $body })
    };
    ($new:ident [$($done:tt)*] default($limit:expr $(,)?) => $body:expr $(,)?) => {
        $crate::__select_run!($new [$($done)*] (within $limit) { $body })
    };
    // The default need not be the last arm.
    ($new:ident [$($done:tt)*] default $(())? => $body:block $($rest:tt)+) => {
        $crate::__select_arms!($new [$($done)*] $($rest)+, default => $body)
    };
    ($new:ident [$($done:tt)*] default $(())? => $body:expr, $($rest:tt)+) => {
        $crate::__select_arms!($new [$($done)*] $($rest)+, default => $body)
    };
    ($new:ident [$($done:tt)*] default($limit:expr $(,)?) => $body:block $($rest:tt)+) => {
        $crate::__select_arms!($new [$($done)*] $($rest)+, default($limit) => $body)
    };
    ($new:ident [$($done:tt)*] default($limit:expr $(,)?) => $body:expr, $($rest:tt)+) => {
        $crate::__select_arms!($new [$($done)*] $($rest)+, default($limit) => $body)
    };
    ($new:ident [$($done:tt)*] , $($rest:tt)*) => {
        $crate::__select_arms!($new [$($done)*] $($rest)*)
    };
    ($new:ident [$($done:tt)*]) => {
        $crate::__select_run!($new [$($done)*] ever { ::core::unreachable!("a select without a default ends with an operation") })
    };
    ($new:ident [$($done:tt)*] $($rest:tt)+) => {
        compile_error!(concat!(
            "an arm of select! is `recv(receiver) -> pattern => body`, `send(sender, message) -> pattern => body` ",
            "or `default => body`, and not: ", stringify!($($rest)+)
        ))
    };
}

/// Evaluates the ends of the arms, one `match` in the other, so that temporaries in them live long enough.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_run {
    ($new:ident $arms:tt $when:tt $default:block) => {
        $crate::__select_nest!($arms $new $arms $when $default)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select_nest {
    ([($index:ident $handle:ident $kind:ident $arguments:tt ($p:pat) $body:block) $($rest:tt)*] $($all:tt)*) => {
        // Each arm came through an expansion of its own, so the names of its variables are its own.
        match &$crate::__select_end!($kind $arguments) {
            $handle => $crate::__select_nest!([$($rest)*] $($all)*),
        }
    };
    ([] $($all:tt)*) => { $crate::__select_go!($($all)*) };
}

/// Waits, and runs the arm that was selected.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_go {
    ($new:ident [$(($index:ident $handle:ident $kind:ident $arguments:tt ($p:pat) $body:block))*] $when:tt $default:block) => {{
        #[allow(unused_mut, reason = "a select of no arms")]
        let mut select = $crate::channel::Select::$new();
        $(let $index = select.$kind($handle);)*
        // Not dropped at the end: that would borrow the ends through the body, which may want to replace them.
        let mut waited = ::core::mem::ManuallyDrop::new($crate::__select_wait!(select $when));
        if let ::core::option::Option::Some(selected) = waited.as_ref().map(|operation| operation.index()) {
            #[allow(unused_variables, reason = "a select of no arms")]
            let operation = waited.take().expect("it was there just now");
            $(if selected == $index {
                let $p = $crate::__select_do!(operation $handle $kind $arguments);
                $body
            } else)* {
                ::core::mem::forget(operation);
                ::core::unreachable!("a select gives an operation that was added to it")
            }
        } else $default
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select_end {
    (recv ($r:expr)) => {
        $r
    };
    (send ($s:expr, $m:expr)) => {
        $s
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select_wait {
    ($select:ident now) => {
        $select.try_select().ok()
    };
    ($select:ident (within $limit:expr)) => {
        $select.select_timeout($limit).ok()
    };
    ($select:ident ever) => {
        ::core::option::Option::Some($select.select())
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select_do {
    ($operation:ident $handle:ident recv ($r:expr)) => {
        $operation.recv($handle)
    };
    ($operation:ident $handle:ident send ($s:expr, $m:expr)) => {
        $operation.send($handle, $m)
    };
}
