//! Receiving: one receive per readiness, into the buffer that fits the socket's recent past.

use super::*;
use crate::Class;

/// Errors of earlier datagrams skipped before a receive gives up.
const REPORTED_MAX: usize = 16;

impl Epoll {
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
        } else if s.interest == 0 {
            // Read before and answered: a keep-alive connection. Registering reports what came meanwhile.
            self.register(sock, EDGE_INPUT);
        }
    }

    pub(super) fn stop_receiving(&mut self, sock: Sock) -> Option<Buf> {
        let s = self.socks.at_mut(sock)?;
        s.reading = false;
        let into = s.into.take();
        if s.send_error.is_some() || (s.hup && !s.told && !s.ended) {
            self.list(sock);
        }
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

    pub(super) fn on_listed(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        s.listed = false;
        if s.phase == Phase::Datagram {
            return self.receive_datagrams(sock);
        }
        if s.phase != Phase::Open {
            return None;
        }
        if s.reading {
            return if s.readable { self.receive(sock) } else { None };
        }
        match s.send_error {
            Some((errno, unsent)) => Some(s.break_off(sock, errno, unsent)),
            None => s.tell_peer_closed(sock),
        }
    }

    /// One receive. A short one means drained; an end that is known to follow is read at once.
    pub(super) fn receive(&mut self, sock: Sock) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        let mut buf = match s.into.take() {
            Some(buf) if buf.room() > 0 => buf,
            Some(buf) => {
                self.list(sock);
                return Some(Done::Received { sock, buf, more: true });
            }
            None => self.stock.pool.take(s.class()),
        };
        let fresh = buf.is_empty();
        let (at, room) = buf.spare();
        // SAFETY: `at[..room]` is the spare room of `buf`, which we own until it is delivered.
        let received = unsafe { sys::recv(s.raw(), at, room, 0) };
        match received {
            Ok(sys::Received { bytes: 0, .. }) => {
                s.keep_unused(buf, fresh);
                s.readable = false;
                s.reading = false;
                Some(match s.send_error {
                    Some((errno, unsent)) => s.break_off(sock, errno, unsent),
                    None => {
                        s.ended = true;
                        Done::Ended { sock }
                    }
                })
            }
            Ok(sys::Received { bytes, full }) => {
                // SAFETY: the kernel just wrote `bytes` bytes there.
                unsafe { buf.set_received(bytes) };
                self.after_receive(sock, full);
                Some(Done::Received { sock, buf, more: full })
            }
            Err(libc::EAGAIN) => {
                s.keep_unused(buf, fresh);
                s.readable = false;
                if let Some((errno, unsent)) = s.send_error {
                    return Some(s.break_off(sock, errno, unsent));
                }
                if s.interest == 0 {
                    self.register(sock, EDGE_INPUT);
                }
                None
            }
            Err(errno) => {
                s.keep_unused(buf, fresh);
                let (errno, unsent) = match s.send_error {
                    Some(failed) => failed,
                    None => (errno, s.outbox.clear(&mut self.stock)),
                };
                Some(s.break_off(sock, errno, unsent))
            }
        }
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
        if s.readable && !std::mem::replace(&mut s.listed, true) {
            self.bulk_later.push(sock);
        }
        let batch = batch.ok()?;
        Some(Done::Datagrams { sock, batch })
    }

    fn after_receive(&mut self, sock: Sock, full: bool) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        s.fulls = if full { s.fulls.saturating_add(1) } else { 0 };
        s.readable = full || s.hup || s.send_error.is_some();
        if full {
            // To the back of the queue: others come first, and the poller is asked in between.
            if !std::mem::replace(&mut s.listed, true) {
                self.bulk_later.push(sock);
            }
        } else if s.readable {
            self.list(sock);
        }
        if self.socks.at(sock).is_some_and(|s| s.interest == 0) {
            self.unregistered = Some(sock);
        }
    }
}

impl Socket {
    fn class(&self) -> Class {
        match (self.size, self.fulls) {
            (Receive::Small, 0) => Class::K4,
            (Receive::Small, 1) => Class::K16,
            (Receive::Small, 2..4) | (Receive::Large, 0..2) => Class::K112,
            (Receive::Small, 4..) | (Receive::Large, 2..) => Class::K256,
        }
    }

    /// A buffer with data in it was the engine's and stays with the socket; an empty one returns to the pool.
    fn keep_unused(&mut self, buf: Buf, fresh: bool) {
        if !fresh {
            self.into = Some(buf);
        }
    }
}
