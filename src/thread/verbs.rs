//! What a result that is not there yet can do, in the same words for both kinds of pool.
#![forbid(unsafe_code)]

/// Implements the verbs of a type `AsyncResult<T>` with private methods `wait_until(&self, Option<Instant>) ->
/// bool`, `is_done(&self) -> bool`, `take(self) -> Result<T, E>`, `ok(&self) -> Option<bool>`, and `then(&self, f)`
/// where `f` is called with a `Result<&T, &E>`.
macro_rules! async_result {
    ($name:ident<T: $bound:path>, $error:ty, called $where_called:literal) => {
        impl<T> $name<T> {
            /// Waits until the task is done. A cancellation point; the task goes on without us.
            pub fn wait(&self) {
                self.wait_until(None);
            }

            /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
            pub fn wait_timeout(&self, limit: core::time::Duration) -> bool {
                self.wait_deadline($crate::runtime::far::after(limit))
            }

            /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
            pub fn wait_deadline(&self, deadline: std::time::Instant) -> bool {
                self.wait_until(Some(deadline))
            }

            /// Tells whether the task is done. Never waits.
            pub fn is_ready(&self) -> bool {
                self.is_done()
            }
        }

        impl<T: $bound> $name<T> {
            /// Waits for the result and takes it. A cancellation point; the task goes on without us.
            ///
            /// # Errors
            /// [`TaskError`] if there is no value.
            pub fn get(self) -> Result<T, $error> {
                self.wait();
                self.take()
            }

            /// As [`get`](Self::get), but waits no longer than `limit`.
            ///
            /// # Errors
            /// This very handle, if the task is not done by then.
            pub fn get_timeout(self, limit: core::time::Duration) -> Result<Result<T, $error>, Self> {
                if self.wait_timeout(limit) { Ok(self.take()) } else { Err(self) }
            }

            /// As [`get`](Self::get), but waits no longer than until `deadline`.
            ///
            /// # Errors
            /// This very handle, if the task is not done by then.
            pub fn get_deadline(self, deadline: std::time::Instant) -> Result<Result<T, $error>, Self> {
                if self.wait_deadline(deadline) { Ok(self.take()) } else { Err(self) }
            }

            /// Tells whether the task has returned a value; `None` while it is not done. Never waits.
            pub fn successful(&self) -> Option<bool> {
                if self.is_done() { self.ok() } else { None }
            }

            #[doc = concat!("Calls `f` with the value, on ", $where_called, "; at once, here, if it is done already.")]
            pub fn on_success(self, f: impl FnOnce(&T) + Send + 'static) -> Self
            where
                T: 'static,
            {
                self.then(move |result| {
                    if let Ok(value) = result {
                        f(value);
                    }
                });
                self
            }

            #[doc = concat!("Calls `f` with the error, on ", $where_called, "; at once, here, if it is done already.")]
            pub fn on_error(self, f: impl FnOnce(&$error) + Send + 'static) -> Self
            where
                T: 'static,
            {
                self.then(move |result| {
                    if let Err(error) = result {
                        f(error);
                    }
                });
                self
            }
        }

        impl<T> core::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).field("ready", &self.is_done()).finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use async_result;
