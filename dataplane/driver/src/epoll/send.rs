//! Sending: at once where the kernel takes it, else when the socket is writable again.

use super::*;

impl Epoll {
    pub(super) fn send_now(&mut self, sock: Sock, data: Slice, last: Last) -> Sent {
        let Some(s) = self.socks.at_mut(sock) else { return STALE };
        if !s.may_send() {
            return STALE;
        }
        if s.phase == Phase::Connecting || s.outbox.bytes() > 0 {
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
        if s.phase == Phase::Connecting {
            return Sent::Queued(s.outbox.bytes());
        }
        let flushed = s.outbox.flush(s.raw(), &mut self.stock);
        self.sent(sock, flushed)
    }

    fn sent(&mut self, sock: Sock, flushed: Flushed) -> Sent {
        match flushed {
            Flushed::All => Sent::All,
            Flushed::Blocked => {
                self.want_output(sock);
                Sent::Queued(self.socks.at(sock).map_or(0, |s| s.outbox.bytes()))
            }
            Flushed::Failed { errno, .. } => Sent::Failed(errno.into()),
        }
    }

    /// The output edge, asked for after a partial send only. The change reports existing room as an event.
    pub(super) fn want_output(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at(sock) {
            let interest = s.interest | EDGE_INPUT | OUTPUT;
            self.register(sock, interest);
        }
    }

    /// Continues the queue; progress and failure are reported as completions.
    pub(super) fn on_writable(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let before = s.outbox.bytes();
        if before == 0 && s.outbox.settled() {
            return;
        }
        let flushed = s.outbox.flush(s.raw(), &mut self.stock);
        if let Flushed::Failed { errno, unsent } = flushed {
            self.send_failed(sock, errno, unsent);
            return;
        }
        let queued = s.outbox.bytes();
        if before > queued {
            self.pending.push_back(Done::Sent { sock, bytes: before - queued, queued });
        }
        let unix = s.unix;
        match flushed {
            // A TCP socket is told of room only after it ran out of it: staying interested is free, and saves the next
            // change. A unix socket is told at every receive of its peer.
            Flushed::All if unix => self.register(sock, EDGE_INPUT),
            Flushed::Blocked => self.want_output(sock),
            _ => {}
        }
    }

    /// What the peer sent before it broke the connection is delivered first, if it is wanted.
    fn send_failed(&mut self, sock: Sock, errno: i32, unsent: usize) {
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

impl Socket {
    pub(super) fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
            && !self.outbox.ended
            && self.send_error.is_none()
    }
}

/// The answer to a send on a socket that is closed, broken or ended.
const STALE: Sent = Sent::Failed(IoError::Reset);
