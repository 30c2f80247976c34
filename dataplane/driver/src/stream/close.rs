//! Closing in its three kinds, and giving a connection away.

use super::*;
use crate::Class;

impl<P: Poller> Streams<P> {
    pub(super) fn start_closing(&mut self, sock: Sock, how: Close) {
        self.end_splices(sock);
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
            Phase::Detaching => return self.close_detaching(sock),
            Phase::Releasing | Phase::Closed => return,
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
        let place = s.place(sock);
        self.poller.read_directly(place, &mut s.watch);
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
            Flushed::Blocked => self.watch_closing(sock, Interest::Both),
            Flushed::All => self.watch_closing(sock, Interest::Input),
        }
    }

    fn watch_closing(&mut self, sock: Sock, interest: Interest) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let place = s.place(sock);
        if self.poller.watch(place, &mut s.watch, interest).is_err() {
            self.finish_closing(sock);
        }
    }

    /// True when there is nothing more to wait for: the peer's end, an error, or the bound.
    fn discard_input(&mut self, sock: Sock) -> bool {
        let Some(s) = self.socks.at_mut(sock) else { return false };
        let mut scratch = self.stock.pool.take(Class::K112);
        let (at, room) = scratch.spare();
        while s.linger_bytes > 0 {
            let discarded = match self.poller.input(&mut s.watch) {
                Input::Bytes(buf, _) => Ok(buf.len()),
                Input::Nothing => Err(libc::EAGAIN),
                Input::End => Ok(0),
                Input::Failed(errno) => Err(errno),
                Input::Direct => {
                    let len = room.min(usize::try_from(s.linger_bytes).unwrap_or(room));
                    // SAFETY: `at[..len]` is the spare room of `scratch`, owned here.
                    unsafe { sys::recv(s.raw(), at, len, 0) }.map(|received| received.bytes)
                }
            };
            match discarded {
                Ok(0) => return s.outbox.bytes() == 0,
                Ok(n) => s.linger_bytes = s.linger_bytes.saturating_sub(n as u64),
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
            // A reset would destroy what the kernel still sends to a slow reader.
            let sent = waiting.is_some_and(|s| s.phase == Phase::Lingering && s.outbox.bytes() == 0);
            let deadline = waiting.map(|s| s.deadline);
            if deadline.is_some() && at > now {
                return;
            }
            self.closing.pop();
            match deadline {
                Some(moved) if moved > now => self.closing.push(Reverse((moved, sock))),
                Some(_) if sent => self.finish_closing(sock),
                Some(_) => self.reset(sock),
                None => {}
            }
        }
    }

    fn reset(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock) {
            s.outbox.clear(&mut self.stock);
            sys::linger_zero(s.raw());
            self.let_go(sock);
        }
    }

    fn finish_closing(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        s.outbox.clear(&mut self.stock);
        if self.let_go(sock) {
            return;
        }
        // The descriptor is closed a little later; what was held back by MSG_MORE and the FIN leave now.
        if let Some(s) = self.socks.at(sock)
            && !s.outbox.ended
        {
            sys::shutdown_write(s.raw());
        }
    }

    /// Closes the descriptor as soon as the poller lets go of it. True: that was now.
    fn let_go(&mut self, sock: Sock) -> bool {
        let Some(s) = self.socks.at_mut(sock) else { return true };
        debug_assert!(!matches!(s.phase, Phase::Releasing | Phase::Closed));
        s.phase = Phase::Releasing;
        let place = s.place(sock);
        let released = self.poller.release(place, &mut s.watch, false);
        if released {
            self.close_descriptor(sock);
        }
        released
    }

    pub(super) fn close_descriptor(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock) {
            s.fd = None;
            s.phase = Phase::Closed;
            // Input that the poller had received goes back.
            while let Input::Bytes(..) = self.poller.input(&mut s.watch) {}
            self.pending.push_back(Done::Closed { sock });
        }
    }

    pub(super) fn start_detaching(&mut self, sock: Sock) {
        self.end_splices(sock);
        let Some(s) = self.socks.at_mut(sock) else { return };
        if !matches!(s.phase, Phase::Open | Phase::Broken) {
            return;
        }
        s.reading = false;
        s.into = None;
        if s.phase == Phase::Broken || s.outbox.bytes() > 0 || s.outbox.ended || s.ended {
            let result = Err(IoError::Unsupported);
            self.pending.push_back(Done::Detached { sock, result });
            return;
        }
        s.phase = Phase::Detaching;
        let place = s.place(sock);
        if self.poller.release(place, &mut s.watch, true) {
            self.finish_detaching(sock);
        }
    }

    /// The poller let go: a connection without input goes, any other stays (paused, to be closed).
    pub(super) fn finish_detaching(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let idle = match self.poller.input(&mut s.watch) {
            Input::Direct => s.has_no_input(),
            Input::Bytes(buf, _) => {
                self.poller.unread(&mut s.watch, buf);
                Err(IoError::Reset)
            }
            Input::Nothing | Input::End => Err(IoError::Reset),
            Input::Failed(errno) => Err(errno.into()),
        };
        let result = idle.and_then(|()| s.fd.take().ok_or(IoError::Unsupported));
        if result.is_err() {
            s.phase = Phase::Open;
            s.readable = true;
        }
        let result = result.map(|fd| Detached { handle: Handle::Fd(fd) });
        self.pending.push_back(Done::Detached { sock, result });
    }

    fn close_detaching(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        match s.fd {
            // The poller has not let go yet, and will say so.
            Some(_) => s.phase = Phase::Releasing,
            // The completion with the descriptor is on its way; it becomes `Closed`.
            None => s.phase = Phase::Closed,
        }
    }
}

impl<P: Poller> Socket<P> {
    fn has_no_input(&self) -> Result<(), IoError> {
        let mut byte = 0u8;
        // SAFETY: one byte of this frame, for the duration of the call.
        match unsafe { sys::recv(self.raw(), &mut byte, 1, libc::MSG_PEEK) } {
            Err(libc::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(_) => Err(IoError::Reset),
        }
    }
}
