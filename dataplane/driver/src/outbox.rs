//! The send queue of one stream socket: gathers, sends at once, keeps what the kernel does not take.
//!
//! Shared by the OS drivers; it knows sockets only as descriptors and never waits: the driver calls again when the
//! socket is writable. An empty queue holds no memory: emptied deques go back to a per-driver stock.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use crate::sys::{self, Errno};
use crate::{Class, GATHER_MAX, Last, Pool, Slice};

/// Deques kept for reuse; more are freed, and so are longer ones.
const STOCK_MAX: usize = 64;
const STOCKED_SLICES_MAX: usize = 256;
/// A queued slice smaller than its buffer by this factor is copied out, so that ten slow bytes do not pin 256 KiB.
const PINNED_RATIO: usize = 4;

/// What a queue needs from its driver.
pub(crate) struct Stock {
    pub(crate) pool: Pool,
    deques: Vec<VecDeque<Slice>>,
}

impl Stock {
    pub(crate) fn new(pool: Pool) -> Stock {
        Stock { pool, deques: Vec::new() }
    }

    fn keep(&mut self, deque: VecDeque<Slice>) {
        debug_assert!(deque.is_empty());
        if self.deques.len() < STOCK_MAX && (1..=STOCKED_SLICES_MAX).contains(&deque.capacity()) {
            self.deques.push(deque);
        }
    }
}

/// How far a flush came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// Nothing is queued any more.
    All,
    /// The kernel takes no more now.
    Blocked,
    /// The socket is broken; the queue was dropped, this many bytes were in it.
    Failed { errno: Errno, unsent: usize },
}

/// Slices waiting for the kernel, and what follows them.
#[derive(Default)]
pub(crate) struct Outbox {
    slices: VecDeque<Slice>,
    bytes: usize,
    /// MSG_MORE on the last piece.
    more: bool,
    /// Our direction ends after the queue.
    fin: bool,
    /// Our direction has ended.
    pub(crate) ended: bool,
}

impl Outbox {
    /// Bytes queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing is queued, and no FIN waits to be sent either.
    pub(crate) fn settled(&self) -> bool {
        self.bytes == 0 && (!self.fin || self.ended)
    }

    /// Appends without sending.
    pub(crate) fn push(&mut self, data: Slice, stock: &mut Stock) {
        if data.is_empty() {
            return;
        }
        if self.slices.capacity() == 0 {
            self.slices = stock.deques.pop().unwrap_or_default();
        }
        self.bytes += data.len();
        self.slices.push_back(data);
    }

    /// Notes what follows the queue, before a flush.
    pub(crate) fn mark(&mut self, last: Last) {
        self.more = last == Last::More;
        self.fin |= last == Last::Fin;
    }

    /// Sends `data` and nothing else: the common case of an empty queue. What is not taken gets queued.
    pub(crate) fn send_one(&mut self, fd: RawFd, mut data: Slice, last: Last, stock: &mut Stock) -> Flushed {
        debug_assert!(self.slices.is_empty());
        self.mark(last);
        while !data.is_empty() {
            match sys::send(fd, data.bytes(), self.more || self.fin) {
                Ok(n) => data.advance(n),
                Err(libc::EAGAIN) => {
                    self.push(data, stock);
                    self.compact(stock);
                    return Flushed::Blocked;
                }
                Err(errno) => return self.fail(errno, data.len(), stock),
            }
        }
        self.drained(fd, stock)
    }

    /// Sends everything queued until the kernel refuses.
    pub(crate) fn flush(&mut self, fd: RawFd, stock: &mut Stock) -> Flushed {
        while !self.slices.is_empty() {
            match self.gather(fd) {
                Ok(n) => self.taken(n),
                Err(libc::EAGAIN) => {
                    self.compact(stock);
                    return Flushed::Blocked;
                }
                Err(errno) => return self.fail(errno, 0, stock),
            }
        }
        self.drained(fd, stock)
    }

    /// Drops the queue; returns the bytes that were in it.
    pub(crate) fn clear(&mut self, stock: &mut Stock) -> usize {
        self.slices.clear();
        self.give_back(stock);
        self.fin = false;
        std::mem::take(&mut self.bytes)
    }

    fn gather(&self, fd: RawFd) -> Result<usize, Errno> {
        let follows = self.more || self.fin;
        if let [only] = self.slices.as_slices().0
            && self.slices.len() == 1
        {
            return sys::send(fd, only.bytes(), follows);
        }
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut pieces = [empty; GATHER_MAX];
        let count = self.slices.len().min(GATHER_MAX);
        for (piece, slice) in pieces.iter_mut().zip(&self.slices) {
            *piece = libc::iovec { iov_base: slice.bytes().as_ptr() as *mut _, iov_len: slice.len() };
        }
        let more = follows || count < self.slices.len();
        // SAFETY: the slices are owned by this queue, which is borrowed during the call; the kernel only reads them.
        unsafe { sys::send_pieces(fd, &mut pieces[..count], more) }
    }

    fn taken(&mut self, mut n: usize) {
        debug_assert!(n <= self.bytes);
        self.bytes -= n;
        while let Some(first) = self.slices.front_mut() {
            if n < first.len() {
                first.advance(n);
                return;
            }
            n -= first.len();
            self.slices.pop_front();
        }
        debug_assert_eq!(n, 0);
    }

    fn drained(&mut self, fd: RawFd, stock: &mut Stock) -> Flushed {
        debug_assert_eq!(self.bytes, 0);
        self.give_back(stock);
        if self.fin && !self.ended {
            self.ended = true;
            sys::shutdown_write(fd);
        }
        Flushed::All
    }

    fn fail(&mut self, errno: Errno, unsent: usize, stock: &mut Stock) -> Flushed {
        self.ended = true;
        let unsent = unsent + self.clear(stock);
        Flushed::Failed { errno, unsent }
    }

    fn give_back(&mut self, stock: &mut Stock) {
        if self.slices.capacity() > 0 {
            stock.keep(std::mem::take(&mut self.slices));
        }
    }

    /// Copies slices that pin much more than they hold into small buffers, neighbours into one.
    fn compact(&mut self, stock: &mut Stock) {
        if !self.slices.iter().any(wasteful) {
            return;
        }
        let mut kept = stock.deques.pop().unwrap_or_default();
        let mut gathering: Option<crate::Buf> = None;
        for slice in self.slices.drain(..) {
            if !wasteful(&slice) {
                kept.extend(gathering.take().map(crate::Buf::freeze));
                kept.push_back(slice);
                continue;
            }
            if gathering.as_ref().is_some_and(|buf| buf.room() < slice.len()) {
                kept.extend(gathering.take().map(crate::Buf::freeze));
            }
            let buf = gathering.get_or_insert_with(|| stock.pool.take(smallest(slice.len())));
            let fits = buf.append(slice.bytes());
            debug_assert!(fits);
        }
        kept.extend(gathering.map(crate::Buf::freeze));
        let emptied = std::mem::replace(&mut self.slices, kept);
        stock.keep(emptied);
        debug_assert_eq!(self.bytes, self.slices.iter().map(Slice::len).sum::<usize>());
    }
}

/// A slice in the smallest class is never wasteful: there is nothing smaller to copy it to.
fn wasteful(slice: &Slice) -> bool {
    let pinned = slice.pinned_bytes();
    pinned > smallest(slice.len()).bytes() * 2 && pinned / PINNED_RATIO > slice.len()
}

fn smallest(bytes: usize) -> Class {
    Class::holding(bytes).unwrap_or(Class::K256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn slice(pool: &Pool, class: Class, bytes: &[u8]) -> Slice {
        let mut buf = pool.take(class);
        assert!(buf.append(bytes));
        buf.freeze()
    }

    #[test]
    fn more_pieces_than_one_call_gathers_arrive_in_order_then_the_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stock = Stock::new(Pool::new());
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..200u8 {
            expected.extend_from_slice(&[i; 3]);
            outbox.push(slice(&stock.pool.clone(), Class::K4, &[i; 3]), &mut stock);
        }
        outbox.mark(Last::Fin);
        assert_eq!(outbox.flush(ours.as_raw_fd(), &mut stock), Flushed::All);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, expected);
        assert_eq!(stock.pool.stats().out, 0);
        assert_eq!(outbox.slices.capacity(), 0, "an idle queue holds no memory");
    }

    #[test]
    fn small_leftovers_do_not_pin_large_buffers() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut stock = Stock::new(Pool::new());
        let mut outbox = Outbox::default();
        let pool = stock.pool.clone();
        let mut expected = vec![7; 4 << 20];
        let filler: &'static [u8] = vec![7; 4 << 20].leak();
        outbox.push(Slice::from_static(filler), &mut stock);
        for i in 0..20u8 {
            expected.extend_from_slice(&[i; 10]);
            outbox.push(slice(&pool, Class::K256, &[i; 10]), &mut stock);
        }
        assert_eq!(pool.stats().out, 20);
        assert_eq!(outbox.flush(ours.as_raw_fd(), &mut stock), Flushed::Blocked);
        assert_eq!(pool.stats().out, 1, "twenty times ten bytes share one small buffer");
        assert!(outbox.slices.iter().all(|s| s.pinned_bytes() < 8 << 10));
        let mut got = vec![0; 1 << 20];
        let mut all = Vec::new();
        while all.len() < expected.len() {
            let n = theirs.read(&mut got).unwrap();
            all.extend_from_slice(&got[..n]);
            let _ = outbox.flush(ours.as_raw_fd(), &mut stock);
        }
        assert!(all == expected);
        assert_eq!((outbox.bytes(), pool.stats().out), (0, 0));
    }

    #[test]
    fn a_broken_socket_reports_every_byte_that_was_queued() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut stock = Stock::new(Pool::new());
        let mut outbox = Outbox::default();
        outbox.push(Slice::from_static(b"hello "), &mut stock);
        outbox.push(Slice::from_static(b"world"), &mut stock);
        let flushed = outbox.flush(ours.as_raw_fd(), &mut stock);
        assert_eq!(flushed, Flushed::Failed { errno: libc::EPIPE, unsent: 11 });
        assert_eq!(outbox.bytes(), 0);
    }
}
