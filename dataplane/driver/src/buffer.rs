//! Receive and send buffers: [`Buf`] (unique, writable) and [`Slice`] (shared, read-only), recycled by a per-thread [`Pool`].
//!
//! The count of users and the way home stand in a header in front of the bytes, so neither type allocates and turning a
//! `Buf` into slices costs nothing. None of them is `Send`: the counts are plain cells. A buffer may outlive its
//! `Pool` handle; the pool's memory goes when the last of them does.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::{HEADROOM, TAILROOM};

/// Size classes of pooled buffers. The number is the payload between [`HEADROOM`] and [`TAILROOM`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// 4 KiB: heads, small messages.
    K4,
    /// 16 KiB: large heads.
    K16,
    /// 112 KiB: bodies. Never exactly 64 KiB: the read of the tail costs a fifth.
    K112,
    /// 256 KiB: bulk.
    K256,
}

impl Class {
    /// All classes, smallest first.
    pub const ALL: [Class; 4] = [Class::K4, Class::K16, Class::K112, Class::K256];
    /// Payload bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Class::K4 => 4 << 10,
            Class::K16 => 16 << 10,
            Class::K112 => 112 << 10,
            Class::K256 => 256 << 10,
        }
    }
    /// The smallest class holding `bytes`, if one does.
    pub fn holding(bytes: usize) -> Option<Class> {
        Class::ALL.into_iter().find(|c| c.bytes() >= bytes)
    }
    /// Free buffers kept for reuse; more go back to the allocator.
    const fn kept_max(self) -> usize {
        match self {
            Class::K4 => 256,
            Class::K16 => 64,
            Class::K112 => 8,
            Class::K256 => 4,
        }
    }
}

/// Where the memory of a buffer came from.
const ORIGIN_RING: u8 = 255;

#[repr(C, align(64))]
struct Header {
    refs: Cell<u32>,
    /// Bytes behind the header.
    capacity: u32,
    /// Index into `Class::ALL`, or `ORIGIN_RING`.
    origin: u8,
    /// Ring group and buffer id, for `ORIGIN_RING`.
    group: u8,
    id: u16,
    pool: *const Shared,
}

#[derive(Default)]
struct Shared {
    free: [RefCell<Vec<NonNull<Header>>>; 4],
    /// Ring buffers dropped since the driver looked: (group, id).
    returned: RefCell<Vec<(u8, u16)>>,
    /// Memory of rings, freed with the pool.
    rings: RefCell<Vec<(NonNull<u8>, Layout)>>,
    out: Cell<usize>,
    allocated_bytes: Cell<usize>,
}

/// Counts of a pool, for metrics and leak checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Buffers in use.
    pub out: usize,
    /// Bytes allocated, in use or kept for reuse (rings included).
    pub allocated_bytes: usize,
}

/// A per-thread buffer pool; clones share it.
#[derive(Clone)]
pub struct Pool(Rc<Shared>);

impl Default for Pool {
    fn default() -> Self {
        Pool::new()
    }
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Pool {
        Pool(Rc::new(Shared::default()))
    }

    /// A buffer of that class, empty, with [`HEADROOM`] in front.
    pub fn take(&self, class: Class) -> Buf {
        let header = match self.0.free[class as usize].borrow_mut().pop() {
            Some(h) => h,
            None => self.allocate(class.bytes(), class as u8),
        };
        self.hand_out(header)
    }

    /// Counts.
    pub fn stats(&self) -> BufferStats {
        BufferStats { out: self.0.out.get(), allocated_bytes: self.0.allocated_bytes.get() }
    }

    /// Gives memory kept for reuse back to the allocator.
    pub fn trim(&self) {
        for list in &self.0.free {
            for header in list.borrow_mut().drain(..) {
                // SAFETY: `header` was in the free list, so nothing else refers to it.
                unsafe { free(&self.0, header) };
            }
        }
    }

    fn hand_out(&self, header: NonNull<Header>) -> Buf {
        self.0.out.set(self.0.out.get() + 1);
        // SAFETY: `self.0` is alive; the count taken here is given back when the buffer returns (`put_back`).
        unsafe { Rc::increment_strong_count(Rc::as_ptr(&self.0)) };
        // SAFETY: the header is initialised and owned by the caller, who got it from the free list, the allocator or a ring.
        unsafe { header.as_ref() }.refs.set(1);
        Buf { header, start: HEADROOM as u32, end: HEADROOM as u32 }
    }

    fn allocate(&self, payload: usize, origin: u8) -> NonNull<Header> {
        let capacity = HEADROOM + payload + TAILROOM;
        let layout = layout(capacity);
        // SAFETY: the layout is not zero-sized.
        let memory = unsafe { std::alloc::alloc(layout) };
        let Some(header) = NonNull::new(memory.cast::<Header>()) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: freshly allocated, large enough and aligned for a header.
        unsafe {
            header.as_ptr().write(Header {
                refs: Cell::new(0),
                capacity: capacity as u32,
                origin,
                group: 0,
                id: 0,
                pool: Rc::as_ptr(&self.0),
            });
        }
        self.0.allocated_bytes.set(self.0.allocated_bytes.get() + layout.size());
        header
    }

    /// Allocates the memory of a ring of `count` buffers with `payload` bytes each; the pool frees it.
    pub(crate) fn ring(&self, group: u8, count: u16, payload: usize) -> RingMemory {
        let capacity = HEADROOM + payload + TAILROOM;
        let stride = layout(capacity).size().next_multiple_of(64);
        let Ok(all) = Layout::from_size_align(stride * count as usize, 4096) else {
            unreachable!("ring sizes are constants")
        };
        // SAFETY: the layout is not zero-sized.
        let memory = unsafe { std::alloc::alloc(all) };
        let Some(base) = NonNull::new(memory) else { std::alloc::handle_alloc_error(all) };
        for id in 0..count {
            // SAFETY: inside the allocation, aligned because the stride is a multiple of 64.
            unsafe {
                base.as_ptr().add(stride * id as usize).cast::<Header>().write(Header {
                    refs: Cell::new(0),
                    capacity: capacity as u32,
                    origin: ORIGIN_RING,
                    group,
                    id,
                    pool: Rc::as_ptr(&self.0),
                });
            }
        }
        self.0.rings.borrow_mut().push((base, all));
        self.0.allocated_bytes.set(self.0.allocated_bytes.get() + all.size());
        RingMemory { base, stride, count, payload }
    }

    /// Turns ring buffer `id`, filled by the kernel with `len` bytes, into a `Buf`.
    ///
    /// # Safety
    /// The kernel must have given the buffer back (its completion was seen), once, and `ring` must come from this pool.
    pub(crate) unsafe fn ring_buf(&self, ring: &RingMemory, id: u16, len: usize) -> Buf {
        debug_assert!(id < ring.count && len <= ring.payload);
        // SAFETY: `id` is within the ring; its header was written by `ring`.
        let header =
            unsafe { NonNull::new_unchecked(ring.base.as_ptr().add(ring.stride * id as usize).cast()) };
        let mut buf = self.hand_out(header);
        buf.end = buf.start + len as u32;
        buf
    }

    /// Moves the ring buffers dropped since the last call into `into`.
    pub(crate) fn take_returned(&self, into: &mut Vec<(u8, u16)>) {
        into.append(&mut self.0.returned.borrow_mut());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for list in &self.free {
            for header in list.borrow_mut().drain(..) {
                // SAFETY: free-listed buffers have no users, and nobody else frees them.
                unsafe { free(self, header) };
            }
        }
        for (memory, layout) in self.rings.borrow_mut().drain(..) {
            // SAFETY: allocated in `Pool::ring` with this layout; every ring buffer out held a count on us, so none is.
            unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
        }
    }
}

/// The memory of a provided-buffer ring.
pub(crate) struct RingMemory {
    base: NonNull<u8>,
    stride: usize,
    pub(crate) count: u16,
    pub(crate) payload: usize,
}

impl RingMemory {
    /// Address of the payload (behind header and headroom) of buffer `id`, for the ring entry.
    pub(crate) fn payload_address(&self, id: u16) -> u64 {
        debug_assert!(id < self.count);
        self.base.as_ptr() as u64 + (self.stride * id as usize + size_of::<Header>() + HEADROOM) as u64
    }
}

/// A unique, writable buffer. Dropping it returns it to its pool.
pub struct Buf {
    header: NonNull<Header>,
    start: u32,
    end: u32,
}

impl Buf {
    /// The data.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start <= end <= capacity; bytes below `end` and above `start` were written through this handle or the kernel.
        unsafe { std::slice::from_raw_parts(base(self.header).add(self.start as usize), self.len()) }
    }
    /// The data, writable.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `self` is the only user of the memory.
        unsafe { std::slice::from_raw_parts_mut(base(self.header).add(self.start as usize), self.len()) }
    }
    /// Bytes of data.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
    /// No data.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    /// Free bytes in front of the data.
    pub fn headroom(&self) -> usize {
        self.start as usize
    }
    /// Free bytes behind the data, [`TAILROOM`] included.
    pub fn tailroom(&self) -> usize {
        (self.capacity() - self.end) as usize
    }
    /// Free bytes a receive may fill: behind the data, [`TAILROOM`] kept free.
    pub fn room(&self) -> usize {
        self.tailroom().saturating_sub(TAILROOM)
    }
    fn capacity(&self) -> u32 {
        // SAFETY: the header lives as long as the buffer.
        unsafe { self.header.as_ref() }.capacity
    }
    /// Drops the first `n` bytes of the data (they become headroom). Panics when there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len());
        self.start += n as u32;
    }
    /// Keeps the first `n` bytes of the data. Longer than the data does nothing.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.end = self.start + n as u32;
        }
    }
    /// Forgets the data and restores the standard headroom.
    pub fn clear(&mut self) {
        self.start = HEADROOM as u32;
        self.end = HEADROOM as u32;
    }
    /// Writes `bytes` right in front of the data. False (and nothing changed) when the headroom is too small.
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.headroom() {
            return false;
        }
        self.start -= bytes.len() as u32;
        // SAFETY: the headroom in front of the data belongs to this buffer alone and was just checked. It may never have
        // been written, so no reference to it is made.
        unsafe {
            let to = base(self.header).add(self.start as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        true
    }
    /// Appends to the data, using [`TAILROOM`] too. False (and nothing changed) when it does not fit.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.tailroom() {
            return false;
        }
        // SAFETY: the room behind `end` belongs to this buffer alone and was just checked.
        unsafe {
            let to = base(self.header).add(self.end as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.end += bytes.len() as u32;
        true
    }
    /// Where the next received byte goes, and how many may; for the kernel.
    pub(crate) fn spare(&mut self) -> (*mut u8, usize) {
        // SAFETY: `end` is within the capacity.
        (unsafe { base(self.header).add(self.end as usize) }, self.room())
    }
    /// Declares `n` bytes behind the data as written.
    ///
    /// # Safety
    /// The kernel (or the caller) wrote them at the address `spare` gave.
    pub(crate) unsafe fn set_received(&mut self, n: usize) {
        debug_assert!(n <= self.room());
        self.end += n as u32;
    }
    /// Makes it shareable and read-only.
    pub fn freeze(self) -> Slice {
        let slice = Slice {
            // SAFETY: `start` is within the capacity.
            data: unsafe { NonNull::new_unchecked(base(self.header).add(self.start as usize)) },
            len: self.len(),
            header: Some(self.header),
        };
        std::mem::forget(self);
        slice
    }
    /// Splits off everything behind the first `n` bytes as a new buffer of `pool` with a copy of those bytes
    /// (the smallest class that holds them). `None` when there is no such class.
    pub fn copy_tail(&self, n: usize, pool: &Pool) -> Option<Buf> {
        let tail = self.bytes().get(n..)?;
        let mut other = pool.take(Class::holding(tail.len())?);
        other.append(tail).then_some(other)
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: a `Buf` is the only user of its memory.
        unsafe { put_back(self.header) };
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} B)", self.len())
    }
}

/// Shared, read-only bytes: a part of a buffer (which returns to its pool when the last slice of it is dropped), or static ones.
pub struct Slice {
    data: NonNull<u8>,
    len: usize,
    header: Option<NonNull<Header>>,
}

impl Slice {
    /// Bytes that live for ever (ready-made answers).
    pub fn from_static(bytes: &'static [u8]) -> Slice {
        Slice { data: NonNull::from(bytes).cast(), len: bytes.len(), header: None }
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the header's count (or 'static) keeps the memory alive, and nobody writes while slices exist.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// A part of it. Panics when out of range.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.len);
        let mut part = self.clone();
        // SAFETY: within the slice, as just checked.
        part.data = unsafe { NonNull::new_unchecked(self.data.as_ptr().add(range.start)) };
        part.len = range.len();
        part
    }
    /// Drops the first `n` bytes. Panics when there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len);
        // SAFETY: within the slice, as just checked.
        self.data = unsafe { NonNull::new_unchecked(self.data.as_ptr().add(n)) };
        self.len -= n;
    }
    /// Bytes of memory this slice keeps from returning to the pool.
    pub fn pinned_bytes(&self) -> usize {
        // SAFETY: the header lives as long as a slice of it.
        self.header.map_or(0, |h| unsafe { h.as_ref() }.capacity as usize)
    }
}

impl Clone for Slice {
    fn clone(&self) -> Slice {
        if let Some(header) = self.header {
            // SAFETY: the header lives as long as a slice of it.
            let refs = &unsafe { header.as_ref() }.refs;
            assert!(refs.get() < u32::MAX, "a buffer cannot have more users than that");
            refs.set(refs.get() + 1);
        }
        Slice { data: self.data, len: self.len, header: self.header }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let Some(header) = self.header else { return };
        // SAFETY: the header lives as long as a slice of it.
        let refs = &unsafe { header.as_ref() }.refs;
        match refs.get() {
            // SAFETY: this was the last user.
            1 => unsafe { put_back(header) },
            n => refs.set(n - 1),
        }
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slice({} B)", self.len)
    }
}

fn layout(capacity: usize) -> Layout {
    match Layout::from_size_align(size_of::<Header>() + capacity, align_of::<Header>()) {
        Ok(layout) => layout,
        Err(_) => unreachable!("buffer sizes are constants"),
    }
}

fn base(header: NonNull<Header>) -> *mut u8 {
    // SAFETY: the bytes follow the header in the same allocation.
    unsafe { header.as_ptr().cast::<u8>().add(size_of::<Header>()) }
}

/// # Safety
/// `header` has no users left and is not in a free list.
unsafe fn put_back(header: NonNull<Header>) {
    // SAFETY: the buffer held a count on the pool since `hand_out`, so it is alive; we take that count over here.
    let (pool, h) = unsafe { (Rc::from_raw(header.as_ref().pool), header.as_ref()) };
    pool.out.set(pool.out.get() - 1);
    if h.origin == ORIGIN_RING {
        pool.returned.borrow_mut().push((h.group, h.id));
        return;
    }
    let mut free_list = pool.free[h.origin as usize].borrow_mut();
    if free_list.len() < Class::ALL[h.origin as usize].kept_max() {
        free_list.push(header);
    } else {
        drop(free_list);
        // SAFETY: no users, in no list.
        unsafe { free(&pool, header) };
    }
}

/// # Safety
/// `header` came from `Pool::allocate`, has no users and is in no list.
unsafe fn free(pool: &Shared, header: NonNull<Header>) {
    // SAFETY: see above; the layout is the one it was allocated with.
    unsafe {
        let layout = layout(header.as_ref().capacity as usize);
        pool.allocated_bytes.set(pool.allocated_bytes.get() - layout.size());
        std::alloc::dealloc(header.as_ptr().cast(), layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_reused() {
        let pool = Pool::new();
        let at = pool.take(Class::K4).bytes().as_ptr();
        assert_eq!(pool.take(Class::K4).bytes().as_ptr(), at);
        assert_eq!(pool.stats().out, 0);
    }

    #[test]
    fn slices_share_and_the_last_one_returns_the_buffer() {
        let pool = Pool::new();
        let mut buf = pool.take(Class::K4);
        assert!(buf.append(b"hello world"));
        assert!(buf.prepend(b"> "));
        let whole = buf.freeze();
        let mut part = whole.slice(2..7);
        assert_eq!(part.bytes(), b"hello");
        drop(whole);
        assert_eq!(pool.stats().out, 1);
        part.advance(1);
        assert_eq!(part.bytes(), b"ello");
        drop(part);
        assert_eq!(pool.stats().out, 0);
    }

    #[test]
    fn buffers_outlive_the_pool_handle() {
        let pool = Pool::new();
        let mut buf = pool.take(Class::K16);
        drop(pool);
        assert!(buf.append(b"still here"));
        assert_eq!(buf.freeze().bytes(), b"still here");
    }

    #[test]
    fn prepend_and_append_stop_at_the_ends() {
        let pool = Pool::new();
        let mut buf = pool.take(Class::K4);
        assert!(!buf.prepend(&[0; HEADROOM + 1]));
        assert!(buf.append(&[1; 4096]));
        assert_eq!(buf.room(), 0);
        assert!(buf.append(&[2; TAILROOM]));
        assert!(!buf.append(&[3]));
        assert!(buf.prepend(&[4; HEADROOM]));
        assert_eq!(buf.len(), HEADROOM + 4096 + TAILROOM);
    }

    #[test]
    fn trim_frees_what_is_kept() {
        let pool = Pool::new();
        drop((pool.take(Class::K256), pool.take(Class::K112)));
        assert!(pool.stats().allocated_bytes > 300 << 10);
        pool.trim();
        assert_eq!(pool.stats().allocated_bytes, 0);
    }
}
