//! A read-only table from bytes to numbers: open addressing, a fixed hash, keys in one arena. Built once, never changed.
//! The hash needs no seed: only the configuration inserts keys, so nobody outside can make them collide.

/// Maps `(scope, key)` to a number. A lookup costs about as much with 10,000 keys as with one, and nothing when empty.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Length is 0 or a power of two, at least four times the number of keys: a look-up seldom takes a second step.
    slots: Box<[Slot]>,
    keys: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    scope: u32,
    start: u32,
    len: u32,
    value: u32,
}

impl Table {
    /// The table of these entries. Of two with the same scope and key the first is found.
    pub(crate) fn build<'k>(entries: impl ExactSizeIterator<Item = (u32, &'k [u8], u32)>) -> Table {
        if entries.len() == 0 {
            return Table::default();
        }
        let mut slots = vec![Slot::FREE; (entries.len() * 4).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        let mut keys = Vec::new();
        for (scope, key, value) in entries {
            let hash = hash(scope, key);
            let mut at = hash as usize & mask;
            while slots[at].value != FREE {
                at = (at + 1) & mask;
            }
            slots[at] = Slot { hash, scope, start: keys.len() as u32, len: key.len() as u32, value };
            keys.extend_from_slice(key);
        }
        Table { slots, keys: keys.into_boxed_slice() }
    }

    /// The number of that key, compared by `case`.
    #[inline]
    pub(crate) fn find(&self, scope: u32, key: &[u8], case: Case) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let hash = hash(scope, key);
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.value == FREE {
                return None;
            }
            if slot.hash == hash && slot.scope == scope && slot.len as usize == key.len() {
                let stored = &self.keys[slot.start as usize..(slot.start + slot.len) as usize];
                let equal = match case {
                    Case::Exact => stored == key,
                    Case::Ignore => stored.eq_ignore_ascii_case(key),
                };
                if equal {
                    return Some(slot.value);
                }
            }
            at = (at + 1) & mask;
        }
    }
}

/// How keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Byte for byte.
    Exact,
    /// ASCII case ignored.
    Ignore,
}

impl Slot {
    const FREE: Slot = Slot { hash: 0, scope: 0, start: 0, len: 0, value: FREE };
}

/// Multiply and fold, eight bytes at a time. Bit 5 of each byte is ignored, so that both comparisons share one table.
#[inline]
fn hash(scope: u32, bytes: &[u8]) -> u32 {
    let mut state = (u64::from(scope) ^ ((bytes.len() as u64) << 32)).wrapping_mul(MULTIPLIER);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        state = fold(state, u64::from_le_bytes(*word));
    }
    // The last eight bytes, some of them again; of a shorter key all bytes.
    let last = match (bytes.last_chunk::<8>(), tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        (Some(word), _, _) => u64::from_le_bytes(*word),
        (None, Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low))
                | u64::from(u32::from_le_bytes(*high)) << (8 * (tail.len() - 4))
        }
        _ => tail.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    state = fold(state, last);
    (state ^ (state >> 32)) as u32
}

/// The two halves of the whole product, so that every bit of the word reaches the low bits of the state.
#[inline]
fn fold(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ (word | LOWER_CASE)) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

/// Marks a free slot; no value reaches it.
const FREE: u32 = u32::MAX;
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;
/// Odd, from the digits of pi.
const MULTIPLIER: u64 = 0x517C_C1B7_2722_0A95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let keys: Vec<String> = (0..1_000).map(|number| format!("service-{number}.example.com")).collect();
        let table =
            Table::build(keys.iter().enumerate().map(|(value, key)| (0, key.as_bytes(), value as u32)));
        for (value, key) in keys.iter().enumerate() {
            assert_eq!(table.find(0, key.as_bytes(), Case::Exact), Some(value as u32));
            assert_eq!(table.find(1, key.as_bytes(), Case::Exact), None);
            let upper = key.to_ascii_uppercase();
            assert_eq!(table.find(0, upper.as_bytes(), Case::Ignore), Some(value as u32));
            assert_eq!(table.find(0, upper.as_bytes(), Case::Exact), None);
        }
        assert_eq!(table.find(0, b"service-1000.example.com", Case::Exact), None);
    }

    #[test]
    fn empty_keys_and_empty_tables() {
        assert!(Table::build([].into_iter()).slots.is_empty());
        assert_eq!(Table::default().find(0, b"", Case::Exact), None);
        let table = Table::build([(3, &b""[..], 9)].into_iter());
        assert_eq!(table.find(3, b"", Case::Exact), Some(9));
        assert_eq!(table.find(3, b"x", Case::Exact), None);
    }

    #[test]
    fn regular_keys_do_not_pile_up() {
        let forms: [fn(u32) -> String; 6] = [
            |n| format!("s{n:04}"),
            |n| format!("{n:04}"),
            |n| format!("service-{n:04}"),
            |n| format!("service-{n:04}.example.com"),
            |n| format!("s{n:04}.svc.cluster.local"),
            |n| format!("{n}"),
        ];
        for form in forms {
            let keys: Vec<String> = (0..4_096).map(form).collect();
            let table =
                Table::build(keys.iter().enumerate().map(|(value, key)| (0, key.as_bytes(), value as u32)));
            let mask = table.slots.len() - 1;
            let taken = table.slots.iter().enumerate().filter(|(_, slot)| slot.value != FREE);
            let probes: usize = taken.map(|(at, slot)| at.wrapping_sub(slot.hash as usize) & mask).sum();
            // By chance a table a quarter full takes a sixth of a probe beyond the first.
            assert!(
                probes < keys.len() / 4,
                "{probes} extra probes for {} keys like {}",
                keys.len(),
                keys[7]
            );
        }
    }
}
