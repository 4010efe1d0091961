//! What a replaced function looks like: the gate, the plain system call, or the way that parks, and a turn for a call
//! that has brought nothing (`turn`).

/// Defines a libc function.
///
/// It has libc's name save in a static program. There libc's own objects define and call these functions too, so some
/// of them would not link, and the rest would not find what they replace: the program is left as it is.
///
/// `kernel` is the answer of the plain system call, `parking` that of the way for coroutines: both a number, or
/// an error number negated. errno is what it was if there is no error.
macro_rules! hook {
    ($symbol:ident: fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty;
     kernel $kernel:expr; parking $parking:expr) => {
        #[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            /// Apart, so that the plain way has no registers to save for it.
            #[inline(never)]
            unsafe extern "C" fn slow($($arg: $type),*) -> $result {
                if !$crate::monkey::gate::open($crate::monkey::symbols::Symbol::$symbol) {
                    return $crate::monkey::errno::result($kernel) as $result;
                }
                let before = $crate::monkey::errno::get();
                let answer = $crate::monkey::turn::after($crate::monkey::symbols::Symbol::$symbol, $parking);
                $crate::monkey::errno::set(before);
                $crate::monkey::errno::result(answer) as $result
            }
            if $crate::monkey::gate::is_ajar($crate::monkey::symbols::Symbol::$symbol) {
                // SAFETY: the caller's duty.
                return unsafe { slow($($arg),*) };
            }
            $crate::monkey::errno::result($kernel) as $result
        }
    };
}

/// A system call with the caller's own arguments.
macro_rules! pass {
    ($number:ident $(, $arg:expr)* $(,)?) => {{
        let args = $crate::sys::raw::words![$($arg),*];
        // SAFETY: the caller of the replaced function answers for its arguments, as libc's manual demands.
        unsafe { $crate::sys::raw::call(libc::$number, args) }
    }};
}

pub(super) use {hook, pass};
