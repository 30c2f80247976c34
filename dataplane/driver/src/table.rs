//! A slab whose handles carry a generation, so that a stale handle finds nothing.

use crate::{ListenerId, Sock};

/// Values under [`Sock`]-shaped handles. Slots are reused last-in first-out: the warmest first.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Stores a value under a fresh handle.
    pub(crate) fn insert(&mut self, value: T) -> Sock {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, value: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.value.is_none());
        // 0 is reserved for "none", also after 2^32 users of one slot.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.value = Some(value);
        Sock { index, generation: slot.generation }
    }

    #[inline]
    pub(crate) fn at(&self, sock: Sock) -> Option<&T> {
        let slot = self.slots.get(sock.index as usize)?;
        if slot.generation == sock.generation { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, sock: Sock) -> Option<&mut T> {
        let slot = self.slots.get_mut(sock.index as usize)?;
        if slot.generation == sock.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the value out; the handle is stale from now on and the slot free.
    pub(crate) fn remove(&mut self, sock: Sock) -> Option<T> {
        let slot = self.slots.get_mut(sock.index as usize)?;
        if slot.generation != sock.generation {
            return None;
        }
        let value = slot.value.take()?;
        self.free.push(sock.index);
        Some(value)
    }

    /// Values stored.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All values with their handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Sock, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let sock = Sock { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (sock, value))
        })
    }
}

impl From<ListenerId> for Sock {
    fn from(id: ListenerId) -> Sock {
        Sock { index: id.index, generation: id.generation }
    }
}

impl From<Sock> for ListenerId {
    fn from(sock: Sock) -> ListenerId {
        ListenerId { index: sock.index, generation: sock.generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_finds_nothing() {
        let mut table = Table::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(table.at(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.at(second), Some(&"second"));
        assert_eq!((table.len(), table.iter().count()), (1, 1));
    }
}
