//! One direction of a simulated connection: the sender's buffer, the bytes on their way, the receiver's buffer, and the end.
//! Pure: times come from the caller. Bytes are never lost, invented or swapped here; only [`Pipe::lose`] drops any.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::Micros;

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Written and not delivered, oldest first.
    flight: VecDeque<u8>,
    /// When the bytes of `flight` may arrive, one entry per write.
    stamps: VecDeque<Stamp>,
    /// Delivered and not read.
    inbox: VecDeque<u8>,
    /// Bytes ever written, delivered, and read.
    written: u64,
    delivered: u64,
    read: u64,
    end: End,
    /// Most bytes in `flight`, and in `inbox`.
    send_max: usize,
    receive_max: usize,
    /// Nothing arrives before.
    stalled_until: Micros,
    /// The earliest delivery event that is already planned.
    pub(crate) planned: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    /// `written` after this write.
    upto: u64,
    not_before: Micros,
    /// Held back because the sender announced more.
    corked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Open,
    /// The sender has finished; the end arrives behind the last byte, not before that time.
    Finished(Micros),
    Arrived,
}

/// What a delivery brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) bytes: usize,
    /// The end of the stream arrived.
    pub(crate) end: bool,
}

impl Pipe {
    pub(crate) fn new(send_max: usize, receive_max: usize) -> Pipe {
        Pipe {
            flight: VecDeque::new(),
            stamps: VecDeque::new(),
            inbox: VecDeque::new(),
            written: 0,
            delivered: 0,
            read: 0,
            end: End::Open,
            send_max,
            receive_max,
            stalled_until: 0,
            planned: None,
        }
    }

    /// Bytes the sender's buffer still takes.
    pub(crate) fn space(&self) -> usize {
        self.send_max.saturating_sub(self.flight.len())
    }

    /// Takes what fits of `bytes`; they arrive at `at` at the earliest, and never before bytes written earlier.
    /// With `corked` they wait for the next write without, [`Pipe::uncork`] or, at the latest, for `at`.
    pub(crate) fn write(&mut self, bytes: &[u8], at: Micros, corked: bool) -> usize {
        debug_assert_eq!(self.end, End::Open, "a write after the end");
        if !corked {
            self.uncork(at);
        }
        let taken = bytes.len().min(self.space());
        if taken == 0 {
            return 0;
        }
        self.flight.extend(&bytes[..taken]);
        self.written += taken as u64;
        let not_before = self.stamps.back().map_or(at, |last| at.max(last.not_before));
        self.stamps.push_back(Stamp { upto: self.written, not_before, corked });
        self.check();
        taken
    }

    /// Lets held-back bytes go, to arrive at `at` at the earliest.
    pub(crate) fn uncork(&mut self, at: Micros) {
        let mut floor = 0;
        for stamp in &mut self.stamps {
            if std::mem::take(&mut stamp.corked) {
                stamp.not_before = at;
            }
            stamp.not_before = stamp.not_before.max(floor);
            floor = stamp.not_before;
        }
    }

    /// Ends the direction behind what was written. A second time does nothing.
    pub(crate) fn finish(&mut self, at: Micros) {
        self.uncork(at);
        if self.end == End::Open {
            self.end = End::Finished(self.stamps.back().map_or(at, |last| at.max(last.not_before)));
        }
    }

    /// The sender has ended its direction.
    pub(crate) fn is_finished(&self) -> bool {
        self.end != End::Open
    }

    /// Everything was delivered and the end has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        self.end == End::Arrived
    }

    /// When the next byte or the end can arrive; `None` when there is nothing, or the receiver has no room.
    pub(crate) fn due(&self) -> Option<Micros> {
        let at = match (self.stamps.front(), self.end) {
            (Some(stamp), _) if self.inbox.len() < self.receive_max => stamp.not_before,
            (None, End::Finished(at)) => at,
            _ => return None,
        };
        Some(at.max(self.stalled_until))
    }

    /// Bytes that may arrive at `now`.
    pub(crate) fn ripe(&self, now: Micros) -> usize {
        if now < self.stalled_until {
            return 0;
        }
        let upto = self.stamps.iter().take_while(|s| s.not_before <= now).last();
        let ripe = upto.map_or(0, |s| (s.upto - self.delivered) as usize);
        ripe.min(self.receive_max.saturating_sub(self.inbox.len()))
    }

    /// Delivers at most `max` of the ripe bytes, and the end when it is its turn.
    pub(crate) fn deliver(&mut self, now: Micros, max: usize) -> Delivery {
        let bytes = self.ripe(now).min(max);
        // In slices: byte by byte it was most of the cost of a simulated exchange.
        let (front, back) = self.flight.as_slices();
        let first = bytes.min(front.len());
        self.inbox.extend(&front[..first]);
        self.inbox.extend(&back[..bytes - first]);
        self.flight.drain(..bytes);
        self.delivered += bytes as u64;
        while self.stamps.front().is_some_and(|s| s.upto <= self.delivered) {
            self.stamps.pop_front();
        }
        let end = match self.end {
            End::Finished(at) => self.flight.is_empty() && at.max(self.stalled_until) <= now,
            _ => false,
        };
        if end {
            self.end = End::Arrived;
        }
        self.check();
        Delivery { bytes, end }
    }

    /// Nothing arrives before `until`.
    pub(crate) fn stall(&mut self, until: Micros) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Delivered bytes that nobody read yet.
    pub(crate) fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// Reads at most `max` bytes, in up to two pieces.
    pub(crate) fn read(&mut self, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        let n = max.min(self.inbox.len());
        let (front, back) = self.inbox.as_slices();
        let first = n.min(front.len());
        take(&front[..first]);
        if n > first {
            take(&back[..n - first]);
        }
        self.inbox.drain(..n);
        self.read += n as u64;
        self.check();
        n
    }

    /// Drops everything on its way; how many bytes that were. What was delivered stays readable.
    pub(crate) fn lose(&mut self) -> usize {
        let lost = self.flight.len();
        self.flight = VecDeque::new();
        self.stamps = VecDeque::new();
        self.delivered += lost as u64;
        self.read += lost as u64;
        lost
    }

    /// Drops everything, delivered bytes included.
    pub(crate) fn empty(&mut self) {
        self.lose();
        self.read += self.inbox.len() as u64;
        self.inbox = VecDeque::new();
    }

    /// No byte is ever lost or invented: what was written is on its way, delivered or read.
    fn check(&self) {
        debug_assert_eq!(self.written - self.delivered, self.flight.len() as u64);
        debug_assert_eq!(self.delivered - self.read, self.inbox.len() as u64);
        debug_assert_eq!(self.flight.is_empty(), self.stamps.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pipe: &mut Pipe) -> Vec<u8> {
        let mut out = Vec::new();
        pipe.read(usize::MAX, |b| out.extend_from_slice(b));
        out
    }

    #[test]
    fn nothing_arrives_before_its_time_and_order_holds() {
        let mut pipe = Pipe::new(100, 100);
        assert_eq!(pipe.write(b"late", 50, false), 4);
        assert_eq!(pipe.write(b"early", 10, false), 5);
        assert_eq!(pipe.deliver(49, 100), Delivery::default());
        assert_eq!(pipe.due(), Some(50));
        assert_eq!(pipe.deliver(50, 6).bytes, 6);
        assert_eq!(read_all(&mut pipe), b"lateea");
        assert_eq!(pipe.deliver(50, 100).bytes, 3);
        assert_eq!(read_all(&mut pipe), b"rly");
    }

    #[test]
    fn both_buffers_are_bounded() {
        let mut pipe = Pipe::new(8, 4);
        assert_eq!(pipe.write(b"0123456789", 0, false), 8);
        assert_eq!(pipe.write(b"x", 0, false), 0);
        assert_eq!(pipe.deliver(1, 100).bytes, 4);
        assert_eq!(pipe.due(), None, "the receiver is full");
        assert_eq!(pipe.space(), 4);
        assert_eq!(read_all(&mut pipe), b"0123");
        assert_eq!(pipe.deliver(1, 100).bytes, 4);
    }

    #[test]
    fn the_end_comes_last_and_passes_a_full_receiver() {
        let mut pipe = Pipe::new(8, 4);
        assert_eq!(pipe.write(b"abcd", 5, false), 4);
        pipe.finish(2);
        assert_eq!(pipe.deliver(4, 100), Delivery::default());
        assert_eq!(pipe.deliver(5, 2), Delivery { bytes: 2, end: false });
        assert_eq!(pipe.deliver(5, 2), Delivery { bytes: 2, end: true });
        assert!(pipe.has_ended() && pipe.due().is_none());
    }

    #[test]
    fn corked_bytes_wait_for_what_follows() {
        let mut pipe = Pipe::new(100, 100);
        pipe.write(b"head", 200_000, true);
        assert_eq!(pipe.due(), Some(200_000));
        pipe.write(b"body", 20, false);
        assert_eq!(pipe.deliver(20, 100).bytes, 8);
        assert_eq!(read_all(&mut pipe), b"headbody");
    }

    #[test]
    fn a_stall_holds_bytes_and_the_end() {
        let mut pipe = Pipe::new(100, 100);
        pipe.write(b"a", 5, false);
        pipe.finish(5);
        pipe.stall(90);
        assert_eq!((pipe.deliver(89, 9), pipe.due()), (Delivery::default(), Some(90)));
        assert_eq!(pipe.deliver(90, 9), Delivery { bytes: 1, end: true });
    }

    #[test]
    fn lost_bytes_were_only_those_on_their_way() {
        let mut pipe = Pipe::new(100, 100);
        pipe.write(b"abcdef", 0, false);
        pipe.deliver(0, 2);
        assert_eq!(pipe.lose(), 4);
        assert_eq!(read_all(&mut pipe), b"ab");
    }
}
