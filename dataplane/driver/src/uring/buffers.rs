//! The provided-buffer ring: small receive buffers that the kernel picks from, each with headroom in front.
//!
//! It starts small and grows by equal parts when the kernel found it empty, up to a cap. Buffers that were handed out
//! come back when the engine drops them; `recycle` offers them to the kernel again.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::buffer::RingMemory;
use crate::{Buf, Class, Pool};

/// The ring's number.
pub(super) const GROUP: u16 = 0;
/// Parts the memory may come in: a part's number stands in a byte of each buffer's header.
const PARTS_MAX: usize = 256;
/// Entries of a buffer ring at most (the kernel's limit).
const ENTRIES_MAX: usize = 32_768;
const PAGE: usize = 4096;

pub(super) struct Buffers {
    pool: Pool,
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    /// Entries, a power of two that all parts together never exceed.
    count: u16,
    tail: u16,
    parts: Vec<RingMemory>,
    part_buffers: u16,
    parts_max: usize,
    /// (part, number in it) of buffers that came back.
    returned: Vec<(u8, u16)>,
}

impl Buffers {
    /// `part_buffers` buffers at once, and as many again at each growth while all together stay under `bytes_max`.
    pub(super) fn new(pool: &Pool, part_buffers: u16, bytes_max: usize) -> Buffers {
        let part_buffers = part_buffers.clamp(1, 4096);
        let part_bytes = usize::from(part_buffers) * (Class::K4.bytes() + crate::HEADROOM);
        let fitting = ENTRIES_MAX / usize::from(part_buffers);
        let parts_max = (bytes_max / part_bytes).clamp(1, PARTS_MAX.min(fitting));
        let count = (parts_max * usize::from(part_buffers)).next_power_of_two();
        let Ok(layout) = Layout::from_size_align(count * size_of::<BufRingEntry>(), PAGE) else {
            unreachable!("bounded by ENTRIES_MAX")
        };
        // SAFETY: the layout is not zero-sized. Zeroed, so that every entry and the tail are initialised.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast()) else { std::alloc::handle_alloc_error(layout) };
        let mut buffers = Buffers {
            pool: pool.clone(),
            entries,
            layout,
            count: count as u16,
            tail: 0,
            parts: Vec::new(),
            part_buffers,
            parts_max,
            returned: Vec::new(),
        };
        buffers.grow();
        buffers
    }

    pub(super) fn entries_address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(super) fn entries(&self) -> u16 {
        self.count
    }

    /// Bytes one buffer takes.
    pub(super) fn payload(&self) -> usize {
        Class::K4.bytes()
    }

    /// One more part, unless that is too much.
    pub(super) fn grow(&mut self) {
        if self.parts.len() >= self.parts_max {
            return;
        }
        let part = self.parts.len();
        self.parts.push(self.pool.ring(part as u8, self.part_buffers, self.payload()));
        for id in 0..self.part_buffers {
            self.offer(part, id);
        }
        self.publish();
    }

    /// Offers what came back since the last time.
    pub(super) fn recycle(&mut self) {
        let mut returned = std::mem::take(&mut self.returned);
        self.pool.take_returned(&mut returned);
        if !returned.is_empty() {
            for &(part, id) in &returned {
                self.offer(usize::from(part), id);
            }
            self.publish();
            returned.clear();
        }
        self.returned = returned;
    }

    /// The buffer of a completion, with `len` received bytes.
    pub(super) fn claim(&mut self, id: u16, len: usize) -> Buf {
        let (part, id) = (id / self.part_buffers, id % self.part_buffers);
        // SAFETY: the kernel named the buffer in a completion, which is seen once: it is ours until it is offered again.
        unsafe { self.pool.ring_buf(&self.parts[usize::from(part)], id, len) }
    }

    fn offer(&mut self, part: usize, id: u16) {
        let address = self.parts[part].payload_address(id);
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `at` is within the ring. The kernel does not look at entries from the tail on, and there are at least
        // as many entries as buffers, so this one was consumed. Field by field: the tail lives in the first entry.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(address);
            entry.set_len(self.payload() as u32);
            entry.set_bid(part as u16 * self.part_buffers + id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail is a field of the first entry, aligned, alive, and written by us alone; the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        // Release: the entries are written before the kernel sees them.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring that knew the address is gone.
        unsafe { std::alloc::dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_stops_at_the_cap() {
        let pool = Pool::new();
        let mut buffers = Buffers::new(&pool, 16, 400_000);
        let one = pool.stats().allocated_bytes;
        for _ in 0..100 {
            buffers.grow();
        }
        assert_eq!(pool.stats().allocated_bytes, one * 5);
        assert_eq!((buffers.tail, buffers.entries()), (80, 128));
    }

    #[test]
    fn a_dropped_buffer_is_offered_again() {
        let pool = Pool::new();
        let mut buffers = Buffers::new(&pool, 4, 0);
        let buf = buffers.claim(2, 10);
        assert_eq!((buf.len(), buf.headroom()), (10, crate::HEADROOM));
        drop(buf);
        buffers.recycle();
        assert_eq!(buffers.tail, 5);
        // SAFETY: the first entry is initialised and nobody else uses it here.
        let entry = unsafe { &*buffers.entries.as_ptr() };
        assert_eq!(entry.bid(), 2);
    }
}
