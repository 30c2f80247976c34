//! Closing in its three kinds, and giving a connection away.

use super::*;
use crate::Class;

impl Epoll {
    pub(super) fn start_closing(&mut self, sock: Sock, how: Close) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        s.reading = false;
        s.into = None;
        let open = match s.phase {
            Phase::Open => true,
            Phase::Connecting | Phase::Datagram | Phase::Broken => false,
            // Only an end by force overtakes a close that waits for the peer.
            Phase::Draining | Phase::Lingering => {
                if how == Close::Reset {
                    self.reset(sock);
                }
                return;
            }
            Phase::Detaching => {
                s.phase = Phase::Closed;
                return;
            }
            Phase::Closed => return,
        };
        match how {
            Close::Reset => self.reset(sock),
            _ if !open => self.finish_closing(sock),
            Close::Graceful if s.outbox.bytes() == 0 => self.finish_closing(sock),
            Close::Graceful => self.wait_closing(sock, Phase::Draining, None),
            Close::Linger { bytes, deadline } => {
                s.linger_bytes = bytes;
                s.outbox.mark(Last::Fin);
                self.wait_closing(sock, Phase::Lingering, Some(deadline));
            }
        }
    }

    fn wait_closing(&mut self, sock: Sock, phase: Phase, deadline: Option<Micros>) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        s.phase = phase;
        s.deadline = deadline.unwrap_or(self.clock.now() + self.config.close_idle_us);
        self.closing.push(Reverse((s.deadline, sock)));
        self.continue_closing(sock);
    }

    /// Sends what is queued, then (lingering) throws input away until the peer's end.
    pub(super) fn continue_closing(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let before = s.outbox.bytes();
        let flushed = s.outbox.flush(s.raw(), &mut self.stock);
        if s.phase == Phase::Draining && s.outbox.bytes() < before {
            s.deadline = self.clock.now() + self.config.close_idle_us;
        }
        let lingering = s.phase == Phase::Lingering;
        match flushed {
            Flushed::Failed { .. } => self.finish_closing(sock),
            Flushed::All if !lingering => self.finish_closing(sock),
            // Input is thrown away while bytes are still queued, too: the peer may not read before it has written.
            _ if lingering && self.discard_input(sock) => self.finish_closing(sock),
            Flushed::Blocked => self.want_output(sock),
            Flushed::All => {
                if self.socks.at(sock).is_some_and(|s| s.interest == 0) {
                    self.register(sock, EDGE_INPUT);
                }
            }
        }
    }

    /// True when there is nothing more to wait for: the peer's end, an error, or the bound.
    fn discard_input(&mut self, sock: Sock) -> bool {
        let Some(s) = self.socks.at_mut(sock) else { return false };
        let mut scratch = self.stock.pool.take(Class::K112);
        let (at, room) = scratch.spare();
        while s.linger_bytes > 0 {
            let len = room.min(usize::try_from(s.linger_bytes).unwrap_or(room));
            // SAFETY: `at[..len]` is the spare room of `scratch`, owned here.
            match unsafe { sys::recv(s.raw(), at, len, 0) } {
                Ok(sys::Received { bytes: 0, .. }) => return s.outbox.bytes() == 0,
                Ok(received) => s.linger_bytes -= received.bytes as u64,
                Err(libc::EAGAIN) => return false,
                Err(_) => return true,
            }
        }
        true
    }

    /// Ends the closing sockets whose patience is over.
    pub(super) fn end_overdue(&mut self) {
        let now = self.clock.now();
        while let Some(&Reverse((at, sock))) = self.closing.peek() {
            let waiting =
                self.socks.at(sock).filter(|s| matches!(s.phase, Phase::Draining | Phase::Lingering));
            let deadline = waiting.map(|s| s.deadline);
            if deadline.is_some() && at > now {
                return;
            }
            self.closing.pop();
            match deadline {
                Some(moved) if moved > now => self.closing.push(Reverse((moved, sock))),
                Some(_) => self.reset(sock),
                None => {}
            }
        }
    }

    fn reset(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock) {
            s.outbox.clear(&mut self.stock);
            sys::linger_zero(s.raw());
            self.finish_closing(sock);
        }
    }

    /// Closes the descriptor; the poller forgets it by itself.
    fn finish_closing(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock) {
            debug_assert!(s.phase != Phase::Closed);
            s.outbox.clear(&mut self.stock);
            s.fd = None;
            s.phase = Phase::Closed;
            self.pending.push_back(Done::Closed { sock });
        }
    }

    pub(super) fn start_detaching(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        if !matches!(s.phase, Phase::Open | Phase::Broken) {
            return;
        }
        s.reading = false;
        s.into = None;
        let result = s.give_away(&self.epoll);
        if result.is_ok() {
            s.phase = Phase::Detaching;
        }
        self.pending.push_back(Done::Detached { sock, result });
    }
}

impl Socket {
    /// Takes the descriptor out of an idle connection.
    fn give_away(&mut self, epoll: &OwnedFd) -> Result<Detached, IoError> {
        if self.phase != Phase::Open || self.outbox.bytes() > 0 || self.outbox.ended || self.ended {
            return Err(IoError::Unsupported);
        }
        let mut byte = 0u8;
        // SAFETY: one byte of this frame, for the duration of the call.
        match unsafe { sys::recv(self.raw(), &mut byte, 1, libc::MSG_PEEK) } {
            Err(libc::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Err(IoError::Reset),
        }
        if self.interest != 0 {
            sys::epoll_control(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, self.raw(), 0, 0)?;
            self.interest = 0;
        }
        let fd = self.fd.take().ok_or(IoError::Unsupported)?;
        Ok(Detached { handle: Handle::Fd(fd) })
    }
}
