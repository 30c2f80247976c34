//! Sending: at once where the kernel takes it, else when the socket is writable again.

use super::*;

impl<P: Poller> Streams<P> {
    pub(super) fn send_now(&mut self, sock: Sock, data: Slice, last: Last) -> Sent {
        let Some(s) = self.socks.at_mut(sock) else { return STALE };
        if !s.may_send() {
            return STALE;
        }
        if s.must_queue() || s.outbox.bytes() > 0 {
            s.outbox.push(data, &mut self.stock);
            return self.send_queued(sock, last);
        }
        let flushed = s.outbox.send_one(s.raw(), data, last, &mut self.stock);
        self.sent(sock, flushed)
    }

    pub(super) fn send_queued(&mut self, sock: Sock, last: Last) -> Sent {
        let Some(s) = self.socks.at_mut(sock) else { return STALE };
        if !s.may_send() {
            return STALE;
        }
        s.outbox.mark(last);
        if s.must_queue() {
            return Sent::Queued(s.outbox.bytes());
        }
        let flushed = s.outbox.flush(s.raw(), &mut self.stock);
        self.sent(sock, flushed)
    }

    fn sent(&mut self, sock: Sock, flushed: Flushed) -> Sent {
        match flushed {
            Flushed::All => Sent::All,
            Flushed::Blocked => {
                // Asked for after a partial send only; room that appeared meanwhile is reported as an event.
                self.watch(sock, Interest::Both);
                Sent::Queued(self.queued(sock))
            }
            Flushed::Failed { errno, .. } => Sent::Failed(errno.into()),
        }
    }

    /// Continues the pipe and the queue; progress and failure are reported as completions.
    pub(super) fn on_writable(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        if s.piped || (s.outbox.settled() && !s.fed_by.is_none()) {
            let from = s.fed_by;
            self.pump(from);
        }
        self.continue_queue(sock);
    }

    pub(super) fn continue_queue(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        if s.must_queue() || s.outbox.settled() {
            return;
        }
        let before = s.outbox.bytes();
        let flushed = s.outbox.flush(s.raw(), &mut self.stock);
        if let Flushed::Failed { errno, unsent } = flushed {
            self.send_failed(sock, errno, unsent);
            return;
        }
        let queued = s.outbox.bytes();
        let fed_by = s.fed_by;
        if before > queued {
            self.pending.push_back(Done::Sent { sock, bytes: before - queued, queued });
        }
        match flushed {
            Flushed::All if !fed_by.is_none() => self.pump(fed_by),
            // A TCP socket is told of room only after it ran out of it: staying interested is free, and saves the next
            // change. A unix socket is told at every receive of its peer.
            Flushed::All if s.unix => {
                let place = s.place(sock);
                self.poller.unwatch_output(place, &mut s.watch);
            }
            Flushed::Blocked => self.watch(sock, Interest::Both),
            _ => {}
        }
    }

    /// What the peer sent before it broke the connection is delivered first, if it is wanted.
    pub(super) fn send_failed(&mut self, sock: Sock, errno: Errno, unsent: usize) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        if s.reading {
            s.send_error = Some((errno, unsent));
            s.readable = true;
            self.list(sock);
        } else {
            self.pending.push_back(s.break_off(sock, errno, unsent));
        }
    }
}

impl<P: Poller> Socket<P> {
    pub(super) fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
            && !self.outbox.ended
            && self.send_error.is_none()
    }

    /// The socket is not there yet, or bytes in a pipe go first.
    fn must_queue(&self) -> bool {
        self.phase == Phase::Connecting || self.piped
    }
}

/// The answer to a send on a socket that is closed, broken or ended.
const STALE: Sent = Sent::Failed(IoError::Reset);
