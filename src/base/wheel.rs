//! A hierarchical timer wheel.
//!
//! Time is counted in ticks of 2^16 ns (65.5 µs). Level `l` has 64 slots of 64^l ticks each; eight
//! levels reach as far as a `u64` of nanoseconds. An entry lies on the level of the highest digit (base
//! 64) in which its tick differs from the wheel's own, so insert and remove cost a few instructions and
//! an entry moves down at most seven times.
//!
//! ```text
//! heads[level][slot] ──▶ node 7 ⇄ node 3 ⇄ node 9        nodes: one array, 40 bytes each
//! spare ──▶ node 4 ──▶ node 5                             Key: index and generation of a node
//! ```
//!
//! Entries lie side by side in one array, not with whoever waits: a slot of a high level holds ten thousands,
//! and to move them down must not touch as many stacks, each a page and a miss of the TLB of its own.
//!
//! Invariants:
//! * I1: every entry's tick is later than the wheel's (`elapsed`), so its slot on its level lies ahead
//!   of the wheel's: the lowest set bit of the lowest occupied level is the next to come.
//! * I2: an entry never fires before its deadline: ticks of deadlines are rounded up, of now, down.
//! * I3: a node's generation changes when its entry leaves, so a key finds its own entry or none.
//!
//! Source: Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987.
#![forbid(unsafe_code)]

const TICK_BITS: u32 = 16;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
/// The end of a list.
const NONE: u32 = u32::MAX;
/// Nodes that an empty wheel keeps.
const KEPT: usize = 1024;

/// Names an entry that was inserted; stale once that has fired or was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Node<P> {
    tick: u64,
    payload: P,
    prev: u32,
    /// The next of its slot; of a spare node, the next spare one.
    next: u32,
    generation: u32,
    /// Level * 64 + slot.
    place: u16,
}

/// The wheel. One thread's.
#[derive(Debug)]
pub struct Wheel<P> {
    elapsed: u64,
    len: usize,
    occupied: [u64; LEVELS],
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    nodes: Vec<Node<P>>,
    spare: u32,
    /// The generation of nodes to come: above those of all nodes that were given up.
    first_generation: u32,
}

impl<P: Copy> Wheel<P> {
    /// Makes an empty wheel that stands at `now` (ns).
    pub fn new(now: u64) -> Self {
        Self {
            elapsed: now >> TICK_BITS,
            len: 0,
            occupied: [0; LEVELS],
            heads: Box::new([[NONE; SLOTS]; LEVELS]),
            nodes: Vec::new(),
            spare: NONE,
            first_generation: 0,
        }
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

    /// Enters `payload` for `deadline` (ns); if that has passed, it fires at the next tick.
    ///
    /// # Panics
    /// If 2^32 - 1 entries wait.
    #[inline]
    pub fn insert(&mut self, deadline: u64, payload: P) -> Key {
        let tick = (deadline >> TICK_BITS) + u64::from(deadline & ((1 << TICK_BITS) - 1) != 0);
        let tick = tick.max(self.elapsed + 1);
        let index = self.spare;
        let key = if let Some(node) = self.nodes.get_mut(index as usize) {
            self.spare = node.next;
            (node.tick, node.payload) = (tick, payload);
            Key { index, generation: node.generation }
        } else {
            self.grow(tick, payload)
        };
        self.len += 1;
        self.link(key.index);
        key
    }

    #[cold]
    fn grow(&mut self, tick: u64, payload: P) -> Key {
        let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("fewer than 2^32 - 1 timers at once");
        let generation = self.first_generation;
        self.nodes.push(Node { tick, payload, prev: NONE, next: NONE, generation, place: 0 });
        Key { index, generation }
    }

    /// Puts a node into the slot of its tick.
    #[inline]
    fn link(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let highest = 63 - (node.tick ^ self.elapsed).leading_zeros();
        let level = (highest / SLOT_BITS) as usize;
        let slot = (node.tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
        let next = core::mem::replace(&mut self.heads[level][slot], index);
        node.place = (level * SLOTS + slot) as u16;
        (node.prev, node.next) = (NONE, next);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = index;
        }
        self.occupied[level] |= 1 << slot;
    }

    /// Takes an entry out; false if it has fired or was removed before.
    #[inline]
    pub fn remove(&mut self, key: Key) -> bool {
        let Some(node) = self.nodes.get(key.index as usize) else { return false };
        if node.generation != key.generation {
            return false;
        }
        let (prev, next, place) = (node.prev, node.next, usize::from(node.place));
        let (level, slot) = (place / SLOTS, place % SLOTS);
        match self.nodes.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => {
                self.heads[level][slot] = next;
                if next == NONE {
                    self.occupied[level] &= !(1 << slot);
                }
            }
        }
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
        self.give_up(key.index);
        self.shrink();
        true
    }

    /// Makes the node of an entry that has left its slot a spare one.
    #[inline]
    fn give_up(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = core::mem::replace(&mut self.spare, index);
        self.len -= 1;
    }

    /// Frees the memory of many nodes when none is needed.
    #[inline]
    fn shrink(&mut self) {
        if self.len == 0 && self.nodes.capacity() > KEPT {
            self.free();
        }
    }

    #[cold]
    fn free(&mut self) {
        // Entries of old keys must not be found in new nodes (I3).
        let highest = self.nodes.iter().map(|node| node.generation).max();
        self.first_generation = highest.map_or(0, |highest| highest.wrapping_add(1));
        (self.nodes, self.spare) = (Vec::new(), NONE);
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

    /// Moves on to `now` (ns); calls `fire` with each payload whose time has come, its entry taken out.
    pub fn advance(&mut self, now: u64, mut fire: impl FnMut(P)) {
        let now = now >> TICK_BITS;
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > now {
                break;
            }
            self.elapsed = tick;
            self.occupied[level] &= !(1 << slot);
            let mut index = core::mem::replace(&mut self.heads[level][slot], NONE);
            while let Some(node) = self.nodes.get(index as usize) {
                let (next, payload, is_due) = (node.next, node.payload, node.tick <= tick);
                if is_due {
                    self.give_up(index);
                    fire(payload);
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        self.elapsed = self.elapsed.max(now);
        self.shrink();
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
        for seed in 1..if cfg!(miri) { 2 } else { 200u64 } {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut now = random.next() >> 20;
            let mut wheel = Wheel::new(now);
            let timers: Vec<_> = (0..200usize)
                .map(|index| {
                    let far = random.next() % 45 + 1;
                    let deadline = now + random.next() % (1 << far);
                    (deadline, wheel.insert(deadline, index))
                })
                .collect();
            for (_, key) in timers.iter().step_by(5) {
                assert!(wheel.remove(*key), "seed {seed}");
                assert!(!wheel.remove(*key), "a key is used up, seed {seed}");
            }
            let mut left: Vec<_> = (0..200).filter(|index| index % 5 != 0).collect();
            while !wheel.is_empty() {
                let expiry = wheel.next_expiry().expect("an entry waits");
                let earliest = left.iter().map(|index| timers[*index].0).min().expect("an entry waits");
                assert!(expiry < earliest + (2 << TICK_BITS), "seed {seed}");
                now = now.max(expiry) + random.next() % (1 << (random.next() % 40));
                let mut fired = Vec::new();
                wheel.advance(now, |index| fired.push(index));
                left.retain(|index| {
                    let (deadline, key) = timers[*index];
                    let has_fired = fired.contains(index);
                    assert!(!has_fired || !wheel.remove(key), "its key is stale, seed {seed}");
                    assert!(!has_fired || deadline <= now, "early, seed {seed}");
                    assert!(has_fired || deadline + (1 << TICK_BITS) > now, "late, seed {seed}");
                    !has_fired
                });
                assert_eq!(left.len(), wheel.len(), "seed {seed}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "nodes are freed from thousands on, which takes it minutes")]
    fn a_key_stays_stale_when_its_node_is_used_again_and_after_the_nodes_were_freed() {
        let mut wheel = Wheel::new(0);
        let old: Vec<_> = (0..5000).map(|n| wheel.insert(n << 20, n)).collect();
        wheel.advance(u64::MAX >> 1, |_| ());
        assert!(wheel.is_empty() && wheel.nodes.capacity() == 0);
        let now = u64::MAX >> 1;
        let new: Vec<_> = (0..5000).map(|n| wheel.insert(now + (n << 20), n)).collect();
        assert!(old.iter().all(|key| !wheel.remove(*key)));
        assert!(wheel.remove(new[7]));
        let again = wheel.insert(now + 5, 5);
        assert!(!wheel.remove(new[7]) && wheel.remove(again));
        assert_eq!(wheel.len(), 4999);
    }
}
