//! Receiving: one receive per readiness, into the buffer that fits the socket's recent past.

use super::*;
use crate::Class;

/// Errors of earlier datagrams skipped before a receive gives up.
const REPORTED_MAX: usize = 16;

impl<P: Poller> Streams<P> {
    pub(super) fn start_receiving(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        if !matches!(s.phase, Phase::Connecting | Phase::Open | Phase::Datagram) || s.ended {
            return;
        }
        debug_assert!(into.as_ref().is_none_or(|buf| buf.room() > 0), "no room to receive into");
        if into.is_some() {
            s.into = into;
        }
        s.size = size;
        s.reading = true;
        if s.phase == Phase::Connecting {
            return;
        }
        if s.readable || s.send_error.is_some() {
            self.list(sock);
        } else if !s.watched() {
            // Read before and answered: a keep-alive connection. Watching reports what came meanwhile.
            let interest = s.input_interest();
            self.watch(sock, interest);
        }
    }

    pub(super) fn stop_receiving(&mut self, sock: Sock) -> Option<Buf> {
        let s = self.socks.at_mut(sock)?;
        s.reading = false;
        let into = s.into.take();
        if s.send_error.is_some() || (s.hup && !s.told && !s.ended) {
            self.list(sock);
        }
        self.pause_splice(sock);
        into
    }

    /// Puts the socket on this turn's list, once.
    pub(super) fn list(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock)
            && !std::mem::replace(&mut s.listed, true)
        {
            self.ready.push_back(sock);
        }
    }

    /// To the back of the queue: others come first, and the poller is asked in between.
    pub(super) fn list_later(&mut self, sock: Sock) {
        if let Some(s) = self.socks.at_mut(sock)
            && !std::mem::replace(&mut s.listed, true)
        {
            self.bulk_later.push(sock);
        }
    }

    pub(super) fn on_listed(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        s.listed = false;
        match s.phase {
            Phase::Datagram => return self.receive_datagrams(sock),
            Phase::Open => {}
            _ => return None,
        }
        if s.reading {
            return if s.readable { self.receive(sock) } else { None };
        }
        match s.send_error {
            Some((errno, unsent)) => Some(s.break_off(sock, errno, unsent)),
            None => s.tell_peer_closed(sock),
        }
    }

    /// The next bytes, from wherever they are.
    pub(super) fn receive(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        if s.splice.is_some() {
            self.pump(sock);
            return None;
        }
        match self.poller.input(&mut s.watch) {
            Input::Direct => self.receive_directly(sock),
            Input::Bytes(buf, more) => self.hand_over(sock, buf, more),
            Input::Nothing => {
                s.readable = false;
                None
            }
            Input::End => Some(s.end(sock)),
            Input::Failed(errno) => Some(s.fail(sock, errno, &mut self.stock)),
        }
    }

    /// One recv(2). A short one means drained; an end that is known to follow is read at once.
    fn receive_directly(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        let (mut buf, own) = match s.into.take() {
            Some(buf) if buf.room() > 0 => (buf, true),
            Some(buf) => {
                self.list(sock);
                return Some(Done::Received { sock, buf, more: true });
            }
            None => (self.stock.pool.take(s.class()), false),
        };
        let (at, room) = buf.spare();
        // SAFETY: `at[..room]` is the spare room of `buf`, which we own until it is delivered.
        let received = unsafe { sys::recv(s.raw(), at, room, 0) };
        if let Ok(sys::Received { bytes: bytes @ 1.., full }) = received {
            // SAFETY: the kernel just wrote `bytes` bytes there.
            unsafe { buf.set_received(bytes) };
            self.after_receive(sock, full);
            return Some(Done::Received { sock, buf, more: full });
        }
        if own {
            s.into = Some(buf);
        }
        match received {
            Ok(_) => Some(s.end(sock)),
            Err(libc::EAGAIN) => {
                s.readable = false;
                if let Some((errno, unsent)) = s.send_error {
                    return Some(s.break_off(sock, errno, unsent));
                }
                if !s.watched() {
                    let interest = s.input_interest();
                    self.watch(sock, interest);
                }
                None
            }
            Err(errno) => Some(s.fail(sock, errno, &mut self.stock)),
        }
    }

    fn after_receive(&mut self, sock: Sock, full: bool) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        s.fulls = if full { s.fulls.saturating_add(1) } else { 0 };
        s.readable = full || s.hup || s.send_error.is_some();
        if !s.watched() {
            self.unwatched = Some(sock);
        }
        if full {
            self.list_later(sock);
        } else if s.readable {
            self.list(sock);
        }
    }

    /// Bytes that the poller received. The session's own buffer gets a copy: the kernel never had it.
    fn hand_over(&mut self, sock: Sock, mut buf: Buf, mut more: bool) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        if let Some(mut own) = s.into.take() {
            let n = buf.len().min(own.room());
            let fits = own.append(&buf.bytes()[..n]);
            debug_assert!(fits);
            buf.advance(n);
            more |= !buf.is_empty();
            let rest = std::mem::replace(&mut buf, own);
            if !rest.is_empty() {
                self.poller.unread(&mut s.watch, rest);
            }
        }
        s.readable = more;
        if more {
            self.list(sock);
        }
        Some(Done::Received { sock, buf, more })
    }

    /// One batch; a full one means that more may wait.
    pub(super) fn receive_datagrams(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        if !s.reading || !s.readable {
            return None;
        }
        let mut batch = datagram::receive(s.raw(), &self.stock.pool, &self.unnamed);
        for _ in 0..REPORTED_MAX {
            // The error of a datagram sent earlier (an ICMP message) is no error of this socket.
            if matches!(batch, Ok(_) | Err(libc::EAGAIN)) {
                break;
            }
            batch = datagram::receive(s.raw(), &self.stock.pool, &self.unnamed);
        }
        s.readable = batch.as_ref().is_ok_and(|batch| batch.len() == datagram::BATCH);
        if s.readable {
            self.list_later(sock);
        } else if !s.watched() {
            self.watch(sock, Interest::Input);
        }
        let batch = batch.ok()?;
        Some(Done::Datagrams { sock, batch })
    }
}

impl<P: Poller> Socket<P> {
    fn class(&self) -> Class {
        match (self.size, self.fulls) {
            (Receive::Small, 0) => Class::K4,
            (Receive::Small, 1) => Class::K16,
            (Receive::Small, 2..4) | (Receive::Large, 0..2) => Class::K112,
            (Receive::Small, 4..) | (Receive::Large, 2..) => Class::K256,
        }
    }

    /// The peer's end; or the error of an earlier send, now that all input was delivered.
    pub(super) fn end(&mut self, sock: Sock) -> Done {
        self.readable = false;
        self.reading = false;
        match self.send_error {
            Some((errno, unsent)) => self.break_off(sock, errno, unsent),
            None => {
                self.ended = true;
                Done::Ended { sock }
            }
        }
    }

    pub(super) fn fail(&mut self, sock: Sock, errno: Errno, stock: &mut Stock) -> Done {
        let (errno, unsent) = match self.send_error {
            Some(failed) => failed,
            None => (errno, self.outbox.clear(stock)),
        };
        self.break_off(sock, errno, unsent)
    }
}
