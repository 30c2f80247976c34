//! One stream socket of a simulated driver: what the engine asked for, and the completions that follow from what the network
//! holds. Asked again and again ([`Stream::poll`]) until it has nothing to say.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::world::{Key, World};
use super::{EndId, Fault, Read};
use crate::{
    Buf, Class, Close, Detached, Done, Handle, IoError, Last, Micros, Pool, Receive, Sent, Slice, Sock,
};

pub(crate) struct Stream {
    pub(crate) sock: Sock,
    pub(crate) end: EndId,
    driver: usize,
    /// The outcome of the connect was not delivered yet.
    connecting: bool,
    /// The standing permission to deliver bytes.
    receive: Option<Receive>,
    into: Option<Buf>,
    /// Receives in a row that filled their buffer.
    full_receives: u32,
    queue: VecDeque<Slice>,
    queued: usize,
    last: Last,
    /// The kernel refused bytes of the queue; it goes on when there is room, and not before `retry_at`.
    waiting: bool,
    retry_at: Micros,
    /// Our direction ends (has ended) behind the queue.
    finish: bool,
    finished: bool,
    /// `Ended`, `PeerClosed` and `Failed` come once. A failed send counts as `Failed`.
    ended: bool,
    peer_closed: bool,
    failed: bool,
    closing: Option<Close>,
    /// A close that waits for the peer gives up then.
    close_by: Micros,
    /// Bytes were queued behind the end of our direction.
    too_late: bool,
    /// Input thrown away while lingering.
    lingered: u64,
    /// The descriptor is closed; `Closed` is due.
    closed_at: Option<Micros>,
    detach_at: Option<Micros>,
    /// Where a splice of what we receive goes.
    pub(crate) splice_to: Option<(Sock, EndId)>,
    /// Who splices into us, to be told of room.
    pub(crate) splice_from: Option<Sock>,
}

/// What a poll brought.
pub(crate) enum Polled {
    /// Nothing to say now.
    Nothing,
    /// A completion, maybe more behind it.
    Done(Done),
    /// The last completion; the socket is gone.
    Gone(Done),
}

impl Stream {
    pub(crate) fn new(sock: Sock, end: EndId, driver: usize, connecting: bool) -> Stream {
        Stream {
            sock,
            end,
            driver,
            connecting,
            receive: None,
            into: None,
            full_receives: 0,
            queue: VecDeque::new(),
            queued: 0,
            last: Last::End,
            waiting: false,
            retry_at: 0,
            finish: false,
            finished: false,
            ended: false,
            peer_closed: false,
            failed: false,
            closing: None,
            close_by: 0,
            too_late: false,
            lingered: 0,
            closed_at: None,
            detach_at: None,
            splice_to: None,
            splice_from: None,
        }
    }

    // --- calls ---

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn recv(&mut self, into: Option<Buf>, size: Receive) {
        debug_assert!(into.as_ref().is_none_or(|b| b.room() > 0), "recv into a full buffer");
        self.receive = Some(size);
        if into.is_some() {
            self.into = into;
        }
    }

    pub(crate) fn pause(&mut self) -> Option<Buf> {
        self.receive = None;
        self.splice_to = None;
        self.into.take()
    }

    pub(crate) fn queue(&mut self, data: Slice) {
        if data.is_empty() || self.failed {
            return;
        }
        if self.finish {
            self.too_late = true;
            return;
        }
        self.queued += data.len();
        self.queue.push_back(data);
    }

    /// Sends the queue, gathered. What earlier flushes left over keeps its place, and is tried again only when there is room.
    pub(crate) fn flush(&mut self, world: &mut World, last: Last) -> Sent {
        if self.failed || self.too_late {
            return Sent::Failed(IoError::Reset);
        }
        self.last = last;
        self.finish |= last == Last::Fin;
        if !self.waiting {
            match self.pump(world) {
                Ok(_) => {}
                Err(error) => {
                    self.drop_queue();
                    self.failed = true;
                    return Sent::Failed(error);
                }
            }
        }
        match self.queued {
            0 => Sent::All,
            n => Sent::Queued(n),
        }
    }

    pub(crate) fn shutdown(&mut self, world: &mut World) {
        self.finish = true;
        self.finish_when_drained(world);
    }

    pub(crate) fn close(&mut self, world: &mut World, how: Close) {
        if self.closed_at.is_some() || (self.closing.is_some() && how != Close::Reset) {
            return;
        }
        self.closing = Some(how);
        self.receive = None;
        self.into = None;
        self.detach_at = None;
        self.splice_to = None;
        match how {
            Close::Reset => self.reset(world),
            Close::Linger { deadline, .. } => self.give_up_at(world, deadline),
            Close::Graceful => self.give_up_at(world, world.now + CLOSE_IDLE),
        }
        self.go_on_closing(world);
        world.mark(self.driver, self.key());
    }

    fn give_up_at(&mut self, world: &mut World, at: Micros) {
        self.close_by = at;
        world.plan_ready(at, self.driver, self.key());
    }

    fn reset(&mut self, world: &mut World) {
        self.drop_queue();
        world.reset(self.end);
        self.set_closed(world);
    }

    pub(crate) fn detach(&mut self, world: &mut World) {
        self.receive = None;
        self.into = None;
        let late = match world.strikes(Fault::LateDetached) {
            true => world.rng.between(1, 500),
            false => 0,
        };
        self.detach_at = Some(world.now + late);
        world.plan_ready(world.now + late, self.driver, self.key());
        world.mark(self.driver, self.key());
    }

    // --- completions ---

    /// The next completion, if there is one now. With `splice_held` a splice waits: its target has bytes of its own to send.
    pub(crate) fn poll(&mut self, world: &mut World, pool: &Pool, splice_held: bool) -> Polled {
        if self.closing.is_some() {
            return self.poll_closing(world);
        }
        if self.connecting {
            let Some(result) = world.connected(self.end) else { return Polled::Nothing };
            self.connecting = false;
            self.failed |= result.is_err();
            return Polled::Done(Done::Connected { sock: self.sock, result });
        }
        if let Some(at) = self.detach_at {
            return match world.now < at {
                true => Polled::Nothing,
                false => self.finish_detach(world),
            };
        }
        let first = world.rng.chance(500_000);
        let done = match first {
            true => self.poll_send(world).or_else(|| self.poll_receive(world, pool, splice_held)),
            false => self.poll_receive(world, pool, splice_held).or_else(|| self.poll_send(world)),
        };
        done.map_or(Polled::Nothing, Polled::Done)
    }

    fn go_on_closing(&mut self, world: &mut World) {
        if self.closed_at.is_none() && self.close_goes_on(world) {
            world.close(self.end);
            self.set_closed(world);
        }
        if self.closed_at.is_none() && world.now >= self.close_by {
            // A reset would destroy what is on its way to a slow reader.
            match self.closing {
                Some(Close::Linger { .. }) if self.queued == 0 => {
                    world.close(self.end);
                    self.set_closed(world);
                }
                _ => self.reset(world),
            }
        }
    }

    fn poll_closing(&mut self, world: &mut World) -> Polled {
        self.go_on_closing(world);
        match self.closed_at {
            Some(at) if at <= world.now => Polled::Gone(Done::Closed { sock: self.sock }),
            _ => Polled::Nothing,
        }
    }

    /// Works on a close; true when the descriptor can be closed.
    fn close_goes_on(&mut self, world: &mut World) -> bool {
        if self.connecting || world.error(self.end).is_some() {
            self.drop_queue();
            return true;
        }
        let progress = match self.pump(world) {
            Ok(taken) => taken > 0,
            Err(_) => {
                self.drop_queue();
                return true;
            }
        };
        match self.closing {
            Some(Close::Linger { bytes, .. }) => self.linger(world, bytes),
            _ => {
                if progress && self.queued > 0 {
                    self.give_up_at(world, world.now + CLOSE_IDLE);
                }
                self.queued == 0
            }
        }
    }

    /// Throws input away, also while bytes are queued: the peer may not read before it has written.
    fn linger(&mut self, world: &mut World, bytes: u64) -> bool {
        self.finish = true;
        self.finish_when_drained(world);
        while self.lingered < bytes {
            match world.read(self.end, LINGER_PIECE, |_| {}) {
                Read::Bytes(n) => self.lingered += n as u64,
                Read::Empty => return false,
                Read::End => return self.queued == 0,
                Read::Failed(_) => return true,
            }
        }
        true
    }

    fn set_closed(&mut self, world: &mut World) {
        let mut at = world.now;
        if world.strikes(Fault::LateClosed) {
            at += world.rng.between(1, 5_000);
            world.plan_ready(at, self.driver, self.key());
        }
        self.closed_at = Some(at);
    }

    fn finish_detach(&mut self, world: &mut World) -> Polled {
        self.detach_at = None;
        let quiet = world.unread(self.end) == 0 && !world.has_ended(self.end) && self.queued == 0;
        if let Some(error) = world.error(self.end) {
            self.failed = true;
            return Polled::Done(Done::Detached { sock: self.sock, result: Err(error) });
        }
        if !quiet {
            return Polled::Done(Done::Detached { sock: self.sock, result: Err(IoError::Reset) });
        }
        world.set_owner(self.end, super::world::Owner::Nobody);
        let detached = Detached { handle: Handle::Sim(self.end.0) };
        Polled::Gone(Done::Detached { sock: self.sock, result: Ok(detached) })
    }

    fn poll_send(&mut self, world: &mut World) -> Option<Done> {
        if !self.waiting || self.failed {
            return None;
        }
        match self.pump(world) {
            Ok(0) => None,
            Ok(bytes) => Some(Done::Sent { sock: self.sock, bytes, queued: self.queued }),
            Err(error) => Some(self.fail(error)),
        }
    }

    fn poll_receive(&mut self, world: &mut World, pool: &Pool, splice_held: bool) -> Option<Done> {
        if let Some((_, to)) = self.splice_to {
            return if splice_held { None } else { self.poll_splice(world, to) };
        }
        let Some(size) = self.receive else { return self.poll_paused(world) };
        if self.ended {
            return None;
        }
        if world.unread(self.end) > 0 {
            return Some(self.receive(world, pool, size));
        }
        self.poll_end(world)
    }

    /// Everything was read: the end of the stream, or its failure, each once.
    fn poll_end(&mut self, world: &mut World) -> Option<Done> {
        let error = world.error(self.end);
        if error.is_none() && !world.has_ended(self.end) {
            return None;
        }
        if let Some(error) = error
            && !self.failed
        {
            return Some(self.fail(error));
        }
        if self.ended || (error.is_some() && self.receive.is_none() && self.splice_to.is_none()) {
            return None;
        }
        self.ended = true;
        Some(Done::Ended { sock: self.sock })
    }

    fn poll_paused(&mut self, world: &mut World) -> Option<Done> {
        if let Some(error) = world.error(self.end) {
            return (!self.failed).then(|| self.fail(error));
        }
        if world.has_ended(self.end) && !self.ended && !self.peer_closed {
            self.peer_closed = true;
            if world.strikes(Fault::EndUnseen) {
                return None;
            }
            return Some(Done::PeerClosed { sock: self.sock });
        }
        None
    }

    fn receive(&mut self, world: &mut World, pool: &Pool, size: Receive) -> Done {
        let mut buf = self.into.take().unwrap_or_else(|| {
            pool.take(match (size, self.full_receives) {
                (Receive::Small, _) => Class::K4,
                (Receive::Large, 0..=1) => Class::K112,
                (Receive::Large, _) => Class::K256,
            })
        });
        let room = buf.room();
        let max = match world.strikes(Fault::ShortRead) {
            true => world.rng.magnitude(room as u64) as usize,
            false => room,
        };
        let before = buf.len();
        let _ = world.read(self.end, max, |bytes| {
            let fits = buf.append(bytes);
            debug_assert!(fits, "a read is no longer than its room");
        });
        let full = buf.len() - before == room;
        self.full_receives = if full { self.full_receives + 1 } else { 0 };
        let more = full && world.unread(self.end) > 0;
        Done::Received { sock: self.sock, buf, more }
    }

    fn poll_splice(&mut self, world: &mut World, to: EndId) -> Option<Done> {
        let max = world.space(to).min(SPLICE_PIECE);
        if max == 0 || world.error(to).is_some() || world.connected(to) != Some(Ok(())) {
            world.want_space(to, self.driver, self.key());
            return None;
        }
        let mut moved = Vec::new();
        match world.read(self.end, max, |bytes| moved.extend_from_slice(bytes)) {
            Read::Bytes(n) => match world.write(to, &moved, false) {
                Ok(_) => Some(Done::Spliced { from: self.sock, bytes: n as u64 }),
                Err(_) => None,
            },
            Read::Empty => None,
            Read::End | Read::Failed(_) => {
                let done = self.poll_end(world);
                self.splice_to = None;
                done
            }
        }
    }

    // --- sending ---

    /// Hands the queue to the network as far as it takes it; how many bytes that were.
    fn pump(&mut self, world: &mut World) -> Result<usize, IoError> {
        if self.connecting {
            self.waiting = self.queued > 0;
            return Ok(0);
        }
        if world.now < self.retry_at {
            return Ok(0);
        }
        if let Some(error) = world.error(self.end) {
            return Err(error);
        }
        let mut allowed = self.queued;
        if self.queued > 0 && world.strikes(Fault::SendBlocked) {
            allowed = 0;
        } else if self.queued > 1 && world.strikes(Fault::ShortSend) {
            allowed = world.rng.magnitude(self.queued as u64 - 1) as usize;
        }
        let held_back = allowed < self.queued;
        let taken = self.write(world, allowed)?;
        if let Some(from) = self.splice_from.filter(|_| taken > 0 && self.queued == 0) {
            world.mark(self.driver, Key::Sock(from));
        }
        self.waiting = self.queued > 0;
        if held_back && taken == allowed {
            self.retry_at = world.now + world.rng.between(1, 1_000);
            world.plan_ready(self.retry_at, self.driver, self.key());
        }
        if self.queued == 0 && self.last != Last::More && taken == 0 {
            world.push(self.end);
        }
        self.finish_when_drained(world);
        Ok(taken)
    }

    fn write(&mut self, world: &mut World, allowed: usize) -> Result<usize, IoError> {
        let mut taken = 0;
        while taken < allowed
            && let Some(first) = self.queue.front_mut()
        {
            let piece = first.len().min(allowed - taken);
            let more = self.last == Last::More || self.finish || taken + piece < self.queued;
            let n = world.write(self.end, &first.bytes()[..piece], more)?;
            first.advance(n);
            taken += n;
            if first.is_empty() {
                self.queue.pop_front();
            }
            if n < piece {
                break;
            }
        }
        self.queued -= taken;
        if self.queued > 0 {
            // The kernel pushes what it has when it refuses the rest.
            world.push(self.end);
        }
        Ok(taken)
    }

    fn finish_when_drained(&mut self, world: &mut World) {
        if self.finish && !self.finished && self.queued == 0 && !self.connecting {
            self.finished = true;
            world.shutdown(self.end);
        }
    }

    fn drop_queue(&mut self) -> usize {
        self.queue.clear();
        self.waiting = false;
        std::mem::take(&mut self.queued)
    }

    fn fail(&mut self, error: IoError) -> Done {
        self.failed = true;
        self.ended = true;
        let unsent = self.drop_queue();
        Done::Failed { sock: self.sock, error, unsent }
    }

    pub(crate) fn key(&self) -> Key {
        Key::Sock(self.sock)
    }
}

/// Bytes thrown away at once while lingering.
const LINGER_PIECE: usize = 64 << 10;
/// A graceful close without progress for this long becomes a reset.
const CLOSE_IDLE: Micros = 30_000_000;
/// Bytes one splice moves at most (the size of a pipe).
const SPLICE_PIECE: usize = 64 << 10;
