//! A hierarchical timer wheel: one entry per owner, linked in place, so that moving a deadline allocates nothing.
//!
//! Owners move a deadline *later* by a field of their own and check it when the entry fires; only an *earlier* deadline
//! touches the wheel ([`Wheel::no_later_than`]). Resolution is one [`TICK_US`]; an entry never fires early.

use ringway_driver::Micros;

/// Resolution, microseconds.
pub(crate) const TICK_US: Micros = 1 << TICK_SHIFT;
const TICK_SHIFT: u32 = 10;
const LEVELS: usize = 6;
const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;
const UNLINKED: u16 = u16::MAX;
/// Farther deadlines are clamped (about two years).
const SPAN_MAX: u64 = (1 << (6 * LEVELS)) - 1;

/// An owner's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

struct Node<K> {
    due: u64,
    prev: u32,
    next: u32,
    bucket: u16,
    owner: K,
}

/// The wheel; `K` names an owner.
pub(crate) struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: Vec<u32>,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    tick: u64,
}

impl<K: Copy> Wheel<K> {
    pub(crate) fn new(now: Micros) -> Wheel<K> {
        Wheel {
            nodes: Vec::new(),
            free: Vec::new(),
            heads: [NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            tick: now >> TICK_SHIFT,
        }
    }

    /// A new entry, not scheduled.
    pub(crate) fn add(&mut self, owner: K) -> TimerId {
        let node = Node { due: 0, prev: NONE, next: NONE, bucket: UNLINKED, owner };
        match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                TimerId(id)
            }
            None => {
                self.nodes.push(node);
                TimerId(self.nodes.len() as u32 - 1)
            }
        }
    }

    /// Forgets the entry.
    pub(crate) fn remove(&mut self, id: TimerId) {
        self.unlink(id.0);
        self.free.push(id.0);
    }

    /// Makes sure the entry fires at `at` or before (it may fire before: the owner checks its own deadline).
    #[inline]
    pub(crate) fn no_later_than(&mut self, id: TimerId, at: Micros) {
        let due = at.saturating_add(TICK_US - 1) >> TICK_SHIFT;
        let node = &self.nodes[id.0 as usize];
        if node.bucket != UNLINKED && node.due <= due {
            return;
        }
        self.unlink(id.0);
        self.nodes[id.0 as usize].due = due.clamp(self.tick + 1, self.tick.saturating_add(SPAN_MAX));
        self.link(id.0);
    }

    /// When [`Wheel::expire`] should be called next; `Micros::MAX` when nothing is scheduled.
    pub(crate) fn next_due(&self) -> Micros {
        self.next_slot().map_or(Micros::MAX, |(_, _, at)| at << TICK_SHIFT)
    }

    /// Appends the owners whose entries are due at `now` to `fired`; the entries stay, unscheduled.
    pub(crate) fn expire(&mut self, now: Micros, fired: &mut Vec<K>) {
        let target = now >> TICK_SHIFT;
        while let Some((level, slot, at)) = self.next_slot().filter(|s| s.2 <= target) {
            self.tick = self.tick.max(at);
            let bucket = level * SLOTS + slot;
            let mut id = std::mem::replace(&mut self.heads[bucket], NONE);
            self.occupied[level] &= !(1 << slot);
            while id != NONE {
                let node = &mut self.nodes[id as usize];
                let next = node.next;
                node.bucket = UNLINKED;
                if node.due <= self.tick {
                    fired.push(node.owner);
                } else {
                    self.link(id);
                }
                id = next;
            }
        }
        self.tick = self.tick.max(target);
    }

    /// The earliest occupied slot: level, slot, and the tick it begins at.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        (0..LEVELS).find_map(|level| {
            let occupied = self.occupied[level];
            if occupied == 0 {
                return None;
            }
            let shift = 6 * level as u32;
            let now_slot = (self.tick >> shift) & 63;
            let ahead = occupied.rotate_right(now_slot as u32).trailing_zeros() as u64;
            let slot = (now_slot + ahead) & 63;
            let round = (self.tick >> shift) - now_slot + if slot < now_slot { 64 } else { 0 };
            Some((level, slot as usize, ((round + slot) << shift).max(self.tick)))
        })
    }

    fn link(&mut self, id: u32) {
        let due = self.nodes[id as usize].due;
        let level = (63 - ((due ^ self.tick) | 63).leading_zeros() as usize) / 6;
        let level = level.min(LEVELS - 1);
        let slot = ((due >> (6 * level)) & 63) as usize;
        let bucket = level * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[bucket], id);
        if head != NONE {
            self.nodes[head as usize].prev = id;
        }
        let node = &mut self.nodes[id as usize];
        (node.prev, node.next, node.bucket) = (NONE, head, bucket as u16);
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, id: u32) {
        let node = &mut self.nodes[id as usize];
        let bucket = std::mem::replace(&mut node.bucket, UNLINKED);
        if bucket == UNLINKED {
            return;
        }
        let (prev, next) = (node.prev, node.next);
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NONE {
            self.nodes[prev as usize].next = next;
        } else {
            self.heads[bucket as usize] = next;
            if next == NONE {
                self.occupied[bucket as usize / SLOTS] &= !(1 << (bucket as usize % SLOTS));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel<u32>, now: Micros) -> Vec<u32> {
        let mut owners = Vec::new();
        wheel.expire(now, &mut owners);
        owners.sort_unstable();
        owners
    }

    #[test]
    fn fires_in_time_and_never_early() {
        // Deterministic spread over all levels.
        let mut wheel = Wheel::new(5_000_000);
        let mut due: Vec<(Micros, u32)> = Vec::new();
        let mut x = 9_u64;
        for owner in 0..2_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = 5_000_000 + (x >> 20) % (1 << (12 + owner % 28));
            let id = wheel.add(owner);
            wheel.no_later_than(id, at);
            due.push((at, owner));
        }
        let mut now = 5_000_000;
        let mut seen = 0;
        while wheel.next_due() != Micros::MAX {
            assert!(wheel.next_due() > now, "progress");
            now = wheel.next_due();
            for owner in fired(&mut wheel, now) {
                let at = due[owner as usize].0;
                assert!(at <= now && now <= at + 2 * TICK_US, "owner {owner} due {at} fired {now}");
                seen += 1;
            }
        }
        assert_eq!(seen, 2_000);
    }

    #[test]
    fn an_earlier_deadline_moves_the_entry_and_a_later_one_does_not() {
        let mut wheel = Wheel::new(0);
        let id = wheel.add(7);
        wheel.no_later_than(id, 3_600_000_000);
        wheel.no_later_than(id, 10_000);
        wheel.no_later_than(id, 500_000_000);
        assert_eq!(fired(&mut wheel, 9_000), []);
        assert_eq!(fired(&mut wheel, 11_264), [7]);
        assert_eq!(wheel.next_due(), Micros::MAX);
    }

    #[test]
    fn removed_entries_never_fire_and_are_reused() {
        let mut wheel = Wheel::new(0);
        let (a, b) = (wheel.add(1), wheel.add(2));
        wheel.no_later_than(a, 5_000);
        wheel.no_later_than(b, 5_000);
        wheel.remove(a);
        let c = wheel.add(3);
        assert_eq!(c, a);
        wheel.no_later_than(c, 1 << 40);
        assert_eq!(fired(&mut wheel, 1 << 20), [2]);
        assert_eq!(fired(&mut wheel, 1 << 41), [3]);
    }

    #[test]
    fn a_long_jump_fires_everything_once() {
        let mut wheel = Wheel::new(0);
        for owner in 0..500 {
            let id = wheel.add(owner);
            wheel.no_later_than(id, u64::from(owner) * 7_777_777 + 1);
        }
        assert_eq!(fired(&mut wheel, 1 << 50).len(), 500);
    }
}
