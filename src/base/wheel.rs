//! A hierarchical timer wheel whose entries live with whoever waits.
//!
//! Time is counted in ticks of 2^16 ns (65.5 µs). Level `l` has 64 slots of 64^l ticks each; eight
//! levels reach as far as a `u64` of nanoseconds. An entry lies on the level of the highest digit (base
//! 64) in which its tick differs from the wheel's own, so insert and remove cost a few instructions and
//! an entry moves down at most seven times.
//!
//! Invariants:
//! * I1: every entry's tick is later than the wheel's (`elapsed`), so its slot on its level lies ahead
//!   of the wheel's: the lowest set bit of the lowest occupied level is the next to come.
//! * I2: an entry never fires before its deadline: ticks of deadlines are rounded up, of now, down.
//!
//! Source: Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987.

use core::ptr::{self, NonNull};

const TICK_BITS: u32 = 16;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
const UNLINKED: u16 = u16::MAX;

/// An entry: on the stack of whoever waits, linked into the wheel while it waits.
#[derive(Debug)]
pub struct Timer {
    tick: u64,
    prev: *mut Timer,
    next: *mut Timer,
    /// Level * 64 + slot.
    place: u16,
    /// What the owner of the wheel wants to find here.
    pub payload: *mut (),
}

impl Timer {
    /// Makes an entry for `deadline` (ns), not linked yet.
    pub fn new(deadline: u64, payload: *mut ()) -> Self {
        let tick = (deadline >> TICK_BITS) + u64::from(deadline & ((1 << TICK_BITS) - 1) != 0);
        Self { tick, prev: ptr::null_mut(), next: ptr::null_mut(), place: UNLINKED, payload }
    }

    /// Tells whether it is in a wheel.
    pub fn is_linked(&self) -> bool {
        self.place != UNLINKED
    }
}

/// The wheel. One thread's.
#[derive(Debug)]
pub struct Wheel {
    elapsed: u64,
    len: usize,
    occupied: [u64; LEVELS],
    heads: Box<[[*mut Timer; SLOTS]; LEVELS]>,
}

// SAFETY: the entries are the owner's, who moves the wheel to another thread only with them.
unsafe impl Send for Wheel {}

impl Wheel {
    /// Makes an empty wheel that stands at `now` (ns).
    pub fn new(now: u64) -> Self {
        let heads = Box::new([[ptr::null_mut(); SLOTS]; LEVELS]);
        Self { elapsed: now >> TICK_BITS, len: 0, occupied: [0; LEVELS], heads }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Links an entry; one whose deadline has passed fires at the next tick.
    ///
    /// # Safety
    /// * The entry is not linked, stays where it is, and is removed before it goes away.
    #[inline]
    pub unsafe fn insert(&mut self, timer: NonNull<Timer>) {
        self.len += 1;
        // SAFETY: the caller's duty.
        unsafe { self.link(timer) };
    }

    /// # Safety
    /// * As for `insert`.
    unsafe fn link(&mut self, timer: NonNull<Timer>) {
        // SAFETY: the caller gives an entry that lives, and that nobody else touches.
        let entry = unsafe { &mut *timer.as_ptr() };
        let tick = entry.tick.max(self.elapsed + 1);
        entry.tick = tick;
        let highest = 63 - (tick ^ self.elapsed).leading_zeros();
        let level = (highest / SLOT_BITS) as usize;
        let slot = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
        let head = &mut self.heads[level][slot];
        entry.place = (level * SLOTS + slot) as u16;
        entry.prev = ptr::null_mut();
        entry.next = *head;
        // SAFETY: a linked entry lives.
        if let Some(next) = unsafe { head.as_mut() } {
            next.prev = timer.as_ptr();
        }
        *head = timer.as_ptr();
        self.occupied[level] |= 1 << slot;
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// * It is linked in this wheel.
    #[inline]
    pub unsafe fn remove(&mut self, timer: NonNull<Timer>) {
        // SAFETY: the caller gives an entry that lives, and that nobody else touches.
        let entry = unsafe { &mut *timer.as_ptr() };
        let (level, slot) = (usize::from(entry.place) / SLOTS, usize::from(entry.place) % SLOTS);
        // SAFETY: a linked entry lives.
        match unsafe { entry.prev.as_mut() } {
            Some(prev) => prev.next = entry.next,
            None => {
                self.heads[level][slot] = entry.next;
                if entry.next.is_null() {
                    self.occupied[level] &= !(1 << slot);
                }
            }
        }
        // SAFETY: a linked entry lives.
        if let Some(next) = unsafe { entry.next.as_mut() } {
            next.prev = entry.prev;
        }
        entry.place = UNLINKED;
        self.len -= 1;
    }

    /// The next slot to come: level, slot, and the tick it begins with.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = level as u32 * SLOT_BITS;
        let above = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }

    /// When (ns) the wheel next has something to do: no later than the first deadline.
    pub fn next_expiry(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, tick)| tick << TICK_BITS)
    }

    /// Moves on to `now` (ns); calls `fire` with each entry whose time has come, unlinked.
    pub fn advance(&mut self, now: u64, mut fire: impl FnMut(NonNull<Timer>)) {
        let now = now >> TICK_BITS;
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > now {
                break;
            }
            self.elapsed = tick;
            self.occupied[level] &= !(1 << slot);
            let mut list = core::mem::replace(&mut self.heads[level][slot], ptr::null_mut());
            while let Some(timer) = NonNull::new(list) {
                // SAFETY: a linked entry lives, and nobody else touches it.
                let entry = unsafe { &mut *timer.as_ptr() };
                list = entry.next;
                entry.place = UNLINKED;
                if entry.tick <= tick {
                    self.len -= 1;
                    fire(timer);
                } else {
                    // SAFETY: it has just been unlinked, and its owner has promised the rest.
                    unsafe { self.link(timer) };
                }
            }
        }
        self.elapsed = self.elapsed.max(now);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A small generator with a printed seed (xorshift64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    #[test]
    fn entries_fire_once_in_time_and_never_early() {
        for seed in 1..200u64 {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut now = random.next() >> 20;
            let mut wheel = Wheel::new(now);
            let mut timers: Vec<_> = (0..200)
                .map(|_| {
                    let far = random.next() % 45 + 1;
                    let deadline = now + random.next() % (1 << far);
                    (deadline, Box::new(Timer::new(deadline, ptr::null_mut())))
                })
                .collect();
            for (_, timer) in &mut timers {
                // SAFETY: boxed, and kept until the end.
                unsafe { wheel.insert(NonNull::from(&mut **timer)) };
            }
            for (index, (_, timer)) in timers.iter_mut().enumerate() {
                if index % 5 == 0 {
                    // SAFETY: linked above.
                    unsafe { wheel.remove(NonNull::from(&mut **timer)) };
                }
            }
            let mut left: Vec<_> = (0..200).filter(|index| index % 5 != 0).collect();
            while !wheel.is_empty() {
                let expiry = wheel.next_expiry().expect("an entry waits");
                let earliest = left.iter().map(|index| timers[*index].0).min().expect("an entry waits");
                assert!(expiry < earliest + (2 << TICK_BITS), "seed {seed}");
                now = now.max(expiry) + random.next() % (1 << (random.next() % 40));
                let mut fired = Vec::new();
                wheel.advance(now, |timer| fired.push(timer.as_ptr().cast_const()));
                left.retain(|index| {
                    let (deadline, timer) = &timers[*index];
                    let has_fired = fired.contains(&ptr::from_ref(&**timer));
                    assert!(!has_fired || *deadline <= now, "early, seed {seed}");
                    assert!(has_fired || *deadline + (1 << TICK_BITS) > now, "late, seed {seed}");
                    !has_fired
                });
                assert_eq!(left.len(), wheel.len(), "seed {seed}");
            }
        }
    }
}
