//! Listening sockets and connections being made.

use super::*;
use crate::listen;
use crate::rawaddr;
use crate::sys::RawAddr;
use std::os::fd::AsFd;

/// Connections of one event that died before they were accepted; more wait for the next event.
const ABORTED_MAX: u32 = 16;
/// A closing listener is looked at this often. Microseconds.
const LINGER_LOOK_US: Micros = 2_000;

impl<P: Poller> Streams<P> {
    pub(super) fn add_listener(
        &mut self,
        handle: Handle,
        options: AcceptOptions,
    ) -> Result<ListenerId, IoError> {
        let Handle::Fd(fd) = handle else { return Err(IoError::Unsupported) };
        sys::set_nonblocking(fd.as_raw_fd())?;
        let unix = sys::domain(fd.as_raw_fd()) == libc::AF_UNIX;
        if options.nodelay && !unix {
            // Accepted sockets inherit it.
            sys::set_int(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        }
        let (quota, watch) = (options.quota.max(1), P::Watch::default());
        let listener = Listener { fd, quota, unix, armed: false, closing: false, closes_at: 0, watch };
        Ok(self.listeners.insert(listener).into())
    }

    pub(super) fn arm(&mut self, id: ListenerId) {
        let Some(l) = self.listeners.at_mut(id.into()) else { return };
        if l.closing {
            // Emptying its queue had failed; it goes on now.
            if !self.draining.contains(&id) {
                self.draining.push_back(id);
            }
            return;
        }
        let place = l.place(id);
        match self.poller.watch_listener(place, &mut l.watch) {
            Ok(()) => l.armed = true,
            Err(errno) => {
                l.armed = false;
                self.pending.push_back(Done::AcceptFailed { listener: id, error: errno.into() });
            }
        }
    }

    pub(super) fn disarm(&mut self, id: ListenerId) {
        let Some(l) = self.listeners.at_mut(id.into()) else { return };
        l.armed = false;
        let place = l.place(id);
        self.poller.pause_listener(place, &mut l.watch);
    }

    pub(super) fn start_draining(&mut self, id: ListenerId) {
        self.disarm(id);
        if let Some(l) = self.listeners.at_mut(id.into())
            && !std::mem::replace(&mut l.closing, true)
        {
            if !l.unix && listen::stop_new_connections(l.fd.as_fd()).is_ok() {
                l.closes_at = self.clock.now() + self.config.listener_linger_us;
            }
            let place = l.place(id);
            if self.poller.release(place, &mut l.watch, true) {
                self.draining.push_back(id);
            }
        }
    }

    /// Closing listeners whose time has come are looked at again.
    pub(super) fn look_at_lingering(&mut self) {
        let now = self.clock.now();
        while let Some(&(at, id)) = self.lingering.front()
            && at <= now
        {
            self.lingering.pop_front();
            self.draining.push_back(id);
        }
    }

    pub(super) fn on_listener_event(&mut self, id: ListenerId, raw: Raw) -> Option<Done> {
        let l = self.listeners.at_mut(id.into())?;
        let place = l.place(id);
        let applied = self.poller.apply(place, &mut l.watch, raw);
        if applied.released {
            self.draining.push_back(id);
            return None;
        }
        let quota = l.quota;
        self.accept_one(id, quota)
    }

    /// Accepts one connection; with more of the quota left the listener is looked at again.
    pub(super) fn accept_one(&mut self, id: ListenerId, left: u32) -> Option<Done> {
        if !self.listeners.at(id.into())?.armed {
            return None;
        }
        match self.try_accept(id) {
            Ok(done) => {
                if left > 1 {
                    self.accepting = Some((id, left - 1));
                } else {
                    self.arm(id);
                }
                Some(done)
            }
            Err(libc::EAGAIN) => {
                self.arm(id);
                None
            }
            Err(errno) => {
                self.disarm(id);
                Some(Done::AcceptFailed { listener: id, error: errno.into() })
            }
        }
    }

    /// Accepts what waits on a closing listener, then closes it.
    pub(super) fn drain_one(&mut self, id: ListenerId) -> Option<Done> {
        match self.try_accept(id) {
            Ok(done) => Some(done),
            Err(libc::EAGAIN) => {
                self.draining.pop_front();
                let closes_at = self.listeners.at(id.into())?.closes_at;
                let now = self.clock.now();
                if now < closes_at {
                    self.lingering.push_back((closes_at.min(now + LINGER_LOOK_US), id));
                    return None;
                }
                self.listeners.remove(id.into());
                Some(Done::ListenerClosed { listener: id })
            }
            Err(errno) => {
                // `accept` goes on when descriptors are free again.
                self.draining.pop_front();
                Some(Done::AcceptFailed { listener: id, error: errno.into() })
            }
        }
    }

    fn try_accept(&mut self, id: ListenerId) -> Result<Done, Errno> {
        let l = self.listeners.at(id.into()).ok_or(libc::EAGAIN)?;
        let mut peer = RawAddr::default();
        let fd = accept_living(l.fd.as_raw_fd(), &mut peer, P::ACCEPT_FLAGS)?;
        let mut s = Socket::new(fd, Phase::Open, l.unix, P::Watch::default());
        // Nobody looked yet: the first `recv` tries.
        s.readable = true;
        let sock = self.adopt(s);
        Ok(Done::Accepted { listener: id, sock, peer: rawaddr::decode(&peer, &self.unnamed) })
    }

    pub(super) fn start_connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError> {
        let fd = sys::socket(rawaddr::family(to), libc::SOCK_STREAM)?;
        let unix = matches!(to, Addr::Unix(_));
        let started = connect(fd.as_raw_fd(), to, options);
        let sock = self.socks.insert(Socket::new(fd, Phase::Connecting, unix, P::foreign()));
        match started {
            // The output edge is the outcome; staying interested in it costs a TCP socket nothing.
            Ok(false) => self.watch(sock, Interest::Both),
            Ok(true) => {
                self.connected(sock, Ok(()));
                self.watch(sock, Interest::Input);
            }
            Err(errno) => self.connected(sock, Err(errno.into())),
        }
        Ok(sock)
    }

    fn connected(&mut self, sock: Sock, result: Result<(), IoError>) {
        if let Some(s) = self.socks.at_mut(sock) {
            s.phase = if result.is_ok() { Phase::Open } else { Phase::Broken };
            self.pending.push_back(Done::Connected { sock, result });
        }
    }

    pub(super) fn on_connect_event(&mut self, sock: Sock, events: u32) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        // With a poll for each direction the first bytes may be reported before the connection is.
        s.readable |= events & INPUT != 0;
        if events & (OUTPUT | ERROR | HANGUP) == 0 {
            return None;
        }
        let errno = sys::take_error(s.raw());
        if errno != 0 {
            s.phase = Phase::Broken;
            s.outbox.clear(&mut self.stock);
            return Some(Done::Connected { sock, result: Err(errno.into()) });
        }
        s.phase = Phase::Open;
        s.hup = events & HANGUP != 0;
        if s.readable {
            self.list(sock);
        }
        self.on_writable(sock);
        Some(Done::Connected { sock, result: Ok(()) })
    }
}

impl<P: Poller> Listener<P> {
    fn place(&self, id: ListenerId) -> Place {
        Place { token: Token::Listener(id), fd: self.fd.as_raw_fd() }
    }
}

/// accept4(2), skipping connections that died in the queue.
fn accept_living(listener: RawFd, peer: &mut RawAddr, flags: libc::c_int) -> Result<OwnedFd, Errno> {
    for _ in 0..ABORTED_MAX {
        match sys::accept(listener, peer, flags) {
            // Errors of the connection, not of the listener (accept(2), "Error handling").
            Err(
                libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::EPERM
                | libc::ETIMEDOUT,
            ) => {}
            other => return other,
        }
    }
    Err(libc::EAGAIN)
}

/// Binds where asked and starts connecting; `Ok(true)` = done at once.
fn connect(fd: RawFd, to: &Addr, options: &ConnectOptions) -> Result<bool, Errno> {
    if matches!(to, Addr::Inet(_)) {
        sys::set_int(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        if let Some(source) = options.source {
            // Ports are chosen at connect, per destination.
            let _ = sys::set_int(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
            sys::bind(fd, &rawaddr::encode(&Addr::Inet((source, 0).into()))?)?;
        }
    }
    sys::connect(fd, &rawaddr::encode(to)?)
}
