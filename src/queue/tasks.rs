//! The public queues: one set of verbs over three buffers, with open tasks counted.
#![forbid(unsafe_code)]

macro_rules! queue {
    ($(#[$doc:meta])* $name:ident<T: $bound:ident $(+ $more:ident)?>, $buffer:ty, $make:expr) => {
        $(#[$doc])*
        pub struct $name<T> {
            core: $crate::queue::core::Core<T, $buffer>,
            tasks: $crate::sync::WaitGroup,
        }

        impl<T: $bound $(+ $more)?> $name<T> {
            fn with(capacity: Option<usize>) -> Self {
                let make: fn(Option<usize>) -> $buffer = $make;
                Self { core: $crate::queue::core::Core::new(make(capacity)), tasks: $crate::sync::WaitGroup::new() }
            }

            /// Makes a queue for at most `capacity` values.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// assert_eq!(queue.put(7), Ok(()));
            /// assert!(queue.is_full());
            /// ```
            ///
            /// # Panics
            /// If the capacity is zero: nothing could ever be put. A channel of capacity zero hands over
            /// directly.
            pub fn bounded(capacity: usize) -> Self {
                assert!(
                    capacity > 0,
                    concat!("a ", stringify!($name), " of capacity 0 could never take a value; use at least 1, or ropewalk::channel::bounded(0)")
                );
                Self::with(Some(capacity))
            }

            /// Makes a queue that is never full.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// (0..1000).for_each(|n| queue.put(n).unwrap());
            /// assert!(queue.len() == 1000 && !queue.is_full());
            /// ```
            pub fn unbounded() -> Self {
                Self::with(None)
            }

            /// Puts a value; waits while the queue is full. A cancellation point if it has to wait.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// assert_eq!(queue.put(7), Ok(()));
            /// queue.close();
            /// assert_eq!(queue.put(8).unwrap_err().0, 8);
            /// ```
            ///
            /// # Errors
            /// The value, if the queue is closed.
            pub fn put(&self, value: T) -> Result<(), $crate::queue::Closed<T>> {
                self.count(|core| core.put(value, None))
                    .map_err(|error| $crate::queue::Closed(error.into_inner()))
            }

            /// Puts a value if there is room. Never waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// assert!(queue.try_put(7).is_ok());
            /// assert_eq!(queue.try_put(8).unwrap_err().into_inner(), 8);
            /// ```
            ///
            /// # Errors
            /// The value, if the queue is full or closed.
            pub fn try_put(&self, value: T) -> Result<(), $crate::queue::PutError<T>> {
                self.count(|core| core.try_put(value))
            }

            /// As `put`, but waits no longer than `limit`.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// queue.put(7).unwrap();
            /// assert!(queue.put_timeout(8, std::time::Duration::from_millis(1)).is_err());
            /// ```
            ///
            /// # Errors
            /// The value, if the queue stays full or is closed.
            pub fn put_timeout(&self, value: T, limit: ::core::time::Duration) -> Result<(), $crate::queue::PutError<T>> {
                self.put_deadline(value, $crate::runtime::far::after(limit))
            }

            /// As `put`, but waits no longer than until `deadline`.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// let soon = std::time::Instant::now() + std::time::Duration::from_millis(1);
            /// assert!(queue.put_deadline(7, soon).is_ok());
            /// assert_eq!(queue.put_deadline(8, soon).unwrap_err().into_inner(), 8);
            /// ```
            ///
            /// # Errors
            /// The value, if the queue stays full or is closed.
            pub fn put_deadline(&self, value: T, deadline: std::time::Instant) -> Result<(), $crate::queue::PutError<T>> {
                self.count(|core| core.put(value, Some(deadline)))
            }

            /// Counts the task before its value can be seen, and uncounts it if it was not put.
            fn count(
                &self,
                put: impl FnOnce(&$crate::queue::core::Core<T, $buffer>) -> Result<(), $crate::queue::core::PutFailed<T>>,
            ) -> Result<(), $crate::queue::PutError<T>> {
                struct Uncount<'a>(Option<&'a $crate::sync::WaitGroup>);
                impl Drop for Uncount<'_> {
                    fn drop(&mut self) {
                        if let Some(tasks) = self.0 {
                            tasks.done();
                        }
                    }
                }
                self.tasks.add(1);
                // A cancelled put unwinds through here.
                let mut uncount = Uncount(Some(&self.tasks));
                put(&self.core)?;
                uncount.0 = None;
                Ok(())
            }

            /// Takes the next value; waits while the queue is empty. A cancellation point if it has to wait.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// queue.close();
            /// assert_eq!(queue.get(), Ok(7));
            /// assert_eq!(queue.get(), Err(ropewalk::queue::GetError::Closed));
            /// ```
            ///
            /// # Errors
            /// `Closed`, if the queue is closed and drained.
            pub fn get(&self) -> Result<T, $crate::queue::GetError> {
                Ok(self.core.get(None)?)
            }

            /// Takes the next value if there is one. Never waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// assert!(queue.try_get().is_err());
            /// queue.put(7).unwrap();
            /// assert_eq!(queue.try_get(), Ok(7));
            /// ```
            ///
            /// # Errors
            /// `Empty`, or `Closed` if the queue is closed and drained.
            pub fn try_get(&self) -> Result<T, $crate::queue::GetError> {
                Ok(self.core.try_get()?)
            }

            /// As `get`, but waits no longer than `limit`.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::unbounded();")]
            /// let got = queue.get_timeout(std::time::Duration::from_millis(1));
            /// assert_eq!(got, Err(ropewalk::queue::GetError::Empty));
            /// ```
            ///
            /// # Errors
            /// `Empty`, if the queue stays so; `Closed`, if it is closed and drained.
            pub fn get_timeout(&self, limit: ::core::time::Duration) -> Result<T, $crate::queue::GetError> {
                self.get_deadline($crate::runtime::far::after(limit))
            }

            /// As `get`, but waits no longer than until `deadline`.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::unbounded();")]
            /// let soon = std::time::Instant::now() + std::time::Duration::from_millis(1);
            /// assert_eq!(queue.get_deadline(soon), Err(ropewalk::queue::GetError::Empty));
            /// ```
            ///
            /// # Errors
            /// `Empty`, if the queue stays so; `Closed`, if it is closed and drained.
            pub fn get_deadline(&self, deadline: std::time::Instant) -> Result<T, $crate::queue::GetError> {
                Ok(self.core.get(Some(deadline))?)
            }

            /// How many values wait.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// assert_eq!(queue.len(), 1);
            /// ```
            pub fn len(&self) -> usize {
                $crate::queue::buffer::Buffer::len(&self.core.buffer)
            }

            /// Tells whether no value waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::unbounded();")]
            /// assert!(queue.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                $crate::queue::buffer::Buffer::is_empty(&self.core.buffer)
            }

            /// Tells whether a put would have to wait.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::bounded(1);")]
            /// assert!(!queue.is_full());
            /// queue.put(7).unwrap();
            /// assert!(queue.is_full());
            /// ```
            pub fn is_full(&self) -> bool {
                $crate::queue::buffer::Buffer::is_full(&self.core.buffer)
            }

            /// How many values fit; `None` without bound.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::bounded(8);")]
            /// assert_eq!(queue.capacity(), Some(8));
            /// ```
            pub fn capacity(&self) -> Option<usize> {
                $crate::queue::buffer::Buffer::capacity(&self.core.buffer)
            }

            /// Lets nothing more in: what is there can still be got, then `get` says `Closed`. Never waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// queue.close();
            /// assert!(queue.put(8).is_err() && queue.get() == Ok(7) && queue.get().is_err());
            /// ```
            pub fn close(&self) {
                self.core.close();
            }

            /// Closes, and gives back all values that were not got, their tasks counted as done. Never waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// assert_eq!(queue.close_now(), [7]);
            /// assert!(queue.is_closed() && queue.get().is_err());
            /// ```
            pub fn close_now(&self) -> Vec<T> {
                self.core.close();
                let left = self.core.drain();
                left.iter().for_each(|_| self.tasks.done());
                left
            }

            /// Tells whether the queue is closed.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::unbounded();")]
            /// assert!(!queue.is_closed());
            /// queue.close();
            /// assert!(queue.is_closed());
            /// ```
            pub fn is_closed(&self) -> bool {
                $crate::queue::buffer::Buffer::is_closed(&self.core.buffer)
            }

            /// Says that a value which was got has been worked on. Never waits.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// queue.get().unwrap();
            /// assert_eq!(queue.unfinished_tasks(), 1);
            /// queue.task_done();
            /// assert_eq!(queue.unfinished_tasks(), 0);
            /// ```
            ///
            /// # Panics
            /// If that was said more often than values were put.
            pub fn task_done(&self) {
                assert!(
                    self.tasks.count() > 0,
                    concat!(stringify!($name), "::task_done was called more often than values were put")
                );
                self.tasks.done();
            }

            /// How many values were put and not yet said to be done.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// assert_eq!((queue.get(), queue.unfinished_tasks()), (Ok(7), 1));
            /// ```
            pub fn unfinished_tasks(&self) -> usize {
                self.tasks.count()
            }

            /// Waits until every value that was put has been said to be done. A cancellation point.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// (0..3).for_each(|n| queue.put(n).unwrap());
            /// ropewalk::scope(|s| {
            ///     s.spawn(|| queue.iter().for_each(|_| queue.task_done()));
            ///     queue.join();
            ///     assert_eq!(queue.unfinished_tasks(), 0);
            ///     queue.close();
            /// });
            /// ```
            pub fn join(&self) {
                self.tasks.wait();
            }

            /// As `join`, but waits no longer than `limit`. False if that came first.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// queue.put(7).unwrap();
            /// assert!(!queue.join_timeout(std::time::Duration::from_millis(1)));
            /// ```
            pub fn join_timeout(&self, limit: ::core::time::Duration) -> bool {
                self.tasks.wait_timeout(limit)
            }

            /// As `join`, but waits no longer than until `deadline`. False if that came first.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::<u8>::unbounded();")]
            /// assert!(queue.join_deadline(std::time::Instant::now()), "nothing was put");
            /// ```
            pub fn join_deadline(&self, deadline: std::time::Instant) -> bool {
                self.tasks.wait_deadline(deadline)
            }

            /// Takes values, waiting for each, until the queue is closed and drained.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = ropewalk::queue::", stringify!($name), "::unbounded();")]
            /// (1..=3).for_each(|n| queue.put(n).unwrap());
            /// queue.close();
            /// assert_eq!(queue.iter().sum::<i32>(), 6);
            /// ```
            pub fn iter(&self) -> $crate::queue::Iter<'_, Self> {
                $crate::queue::Iter(self)
            }
        }

        $crate::queue::iter::iterates!($name<T: $bound $(+ $more)?>);
    };
}
pub(super) use queue;
