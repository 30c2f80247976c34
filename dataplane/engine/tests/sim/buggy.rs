//! A driver that behaves as if the code above or below it had a bug: what the oracle must catch.

use std::collections::VecDeque;

use ringway_driver::{
    AcceptOptions, Addr, Buf, Class, Close, ConnectOptions, Datagram, Detached, Done, Driver, Handle,
    IoError, Last, ListenerId, Micros, Pool, Receive, Sent, Slice, Sock, Usage, Waker,
};

/// A planted bug. It shows at one occasion only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Half of a send is never sent, and nobody says so.
    ShortSendIgnored,
    /// A receive takes a buffer and never gives it back.
    BufferLeaked,
    /// `Closed` comes twice.
    ClosedTwice,
    /// A socket is closed twice.
    ClosesTwice,
    /// A socket is never closed.
    NeverCloses,
    /// The last byte of a receive is missing.
    ByteDropped,
    /// One byte of a send comes twice.
    ByteDoubled,
    /// `Sent` with an empty queue is not told.
    SentLost,
    /// A `recv` has no effect.
    RecvLost,
    /// A connection that was given up in the middle of an answer serves the next request.
    PooledDirty,
}

/// A driver with a bug.
pub struct Buggy<D: Driver> {
    pub inner: D,
    bug: Option<Bug>,
    /// Occasions still to pass before it shows.
    after: u64,
    /// Completions of our own making.
    forged: VecDeque<Done>,
    /// Connections we opened, and the one kept back by `PooledDirty`.
    opened: Vec<(Sock, Addr)>,
    kept: Option<(Sock, Addr)>,
}

impl<D: Driver> Buggy<D> {
    /// `bug` shows at its occasion number `after`.
    pub fn new(inner: D, bug: Option<Bug>, after: u64) -> Buggy<D> {
        Buggy { inner, bug, after, forged: VecDeque::new(), opened: Vec::new(), kept: None }
    }

    /// This is an occasion for that bug; is it the one?
    fn shows(&mut self, bug: Bug) -> bool {
        if self.bug != Some(bug) {
            return false;
        }
        match self.after.checked_sub(1) {
            Some(left) => {
                self.after = left;
                false
            }
            None => {
                self.bug = None;
                true
            }
        }
    }

    fn spoil(&mut self, done: Done) -> Option<Done> {
        let of_kept = |sock: Sock| self.kept.as_ref().is_some_and(|(kept, _)| *kept == sock);
        match done {
            // Whoever gave the connection up hears nothing of it.
            Done::Sent { sock, .. } | Done::PeerClosed { sock } if of_kept(sock) => None,
            Done::Failed { sock, .. } | Done::Ended { sock } if of_kept(sock) => None,
            Done::Received { sock, mut buf, more } => {
                if self.shows(Bug::BufferLeaked) {
                    std::mem::forget(self.inner.pool().take(Class::K4));
                }
                if buf.len() > 100 && self.shows(Bug::ByteDropped) {
                    buf.truncate(buf.len() - 1);
                }
                Some(Done::Received { sock, buf, more })
            }
            Done::Sent { queued: 0, .. } if self.shows(Bug::SentLost) => None,
            Done::Closed { sock } => {
                if self.shows(Bug::ClosedTwice) {
                    self.forged.push_back(Done::Closed { sock });
                }
                Some(Done::Closed { sock })
            }
            done => Some(done),
        }
    }
}

impl<D: Driver> Driver for Buggy<D> {
    fn now(&self) -> Micros {
        self.inner.now()
    }
    fn unix_now(&self) -> u64 {
        self.inner.unix_now()
    }
    fn pool(&self) -> &Pool {
        self.inner.pool()
    }
    fn listen(&mut self, handle: Handle, options: AcceptOptions) -> Result<ListenerId, IoError> {
        self.inner.listen(handle, options)
    }
    fn accept(&mut self, listener: ListenerId) {
        self.inner.accept(listener);
    }
    fn accept_pause(&mut self, listener: ListenerId) {
        self.inner.accept_pause(listener);
    }
    fn close_listener(&mut self, listener: ListenerId) {
        self.inner.close_listener(listener);
    }
    fn connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError> {
        if let Some((sock, _)) = self.kept.take_if(|(_, addr)| addr == to) {
            self.forged.push_back(Done::Connected { sock, result: Ok(()) });
            return Ok(sock);
        }
        let sock = self.inner.connect(to, options)?;
        if self.bug == Some(Bug::PooledDirty) {
            self.opened.push((sock, to.clone()));
        }
        Ok(sock)
    }
    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        if !self.shows(Bug::RecvLost) {
            self.inner.recv(sock, into, size);
        }
    }
    fn pause(&mut self, sock: Sock) -> Option<Buf> {
        self.inner.pause(sock)
    }
    fn queue(&mut self, sock: Sock, data: Slice) {
        if data.len() > 1 && self.shows(Bug::ShortSendIgnored) {
            return self.inner.queue(sock, data.slice(0..data.len() / 2));
        }
        if data.len() > 1 && self.shows(Bug::ByteDoubled) {
            self.inner.queue(sock, data.slice(0..data.len()));
            return self.inner.queue(sock, data.slice(data.len() - 1..data.len()));
        }
        self.inner.queue(sock, data);
    }
    fn flush(&mut self, sock: Sock, last: Last) -> Sent {
        self.inner.flush(sock, last)
    }
    fn queued(&self, sock: Sock) -> usize {
        self.inner.queued(sock)
    }
    fn shutdown(&mut self, sock: Sock) {
        self.inner.shutdown(sock);
    }
    fn close(&mut self, sock: Sock, how: Close) {
        let upstream = self.opened.iter().position(|(s, _)| *s == sock).map(|at| self.opened.swap_remove(at));
        if let Some((sock, addr)) = upstream
            && how == Close::Reset
            && self.shows(Bug::PooledDirty)
        {
            self.inner.pause(sock);
            self.kept = Some((sock, addr));
            self.forged.push_back(Done::Closed { sock });
            return;
        }
        if self.shows(Bug::NeverCloses) {
            self.forged.push_back(Done::Closed { sock });
            return;
        }
        self.inner.close(sock, how);
        if self.shows(Bug::ClosesTwice) {
            self.inner.close(sock, Close::Graceful);
        }
    }
    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        self.inner.splice(from, to)
    }
    fn detach(&mut self, sock: Sock) {
        self.inner.detach(sock);
    }
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        self.inner.attach(detached)
    }
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        self.inner.datagram(handle)
    }
    fn send_to(&mut self, sock: Sock, batch: Vec<Datagram>) -> usize {
        self.inner.send_to(sock, batch)
    }
    fn local_addr(&self, sock: Sock) -> Option<Addr> {
        self.inner.local_addr(sock)
    }
    fn waker(&self) -> Waker {
        self.inner.waker()
    }
    fn turn(&mut self, until: Micros, spin: bool) {
        // What is forged waits for nothing.
        let until = if self.forged.is_empty() { until } else { 0 };
        self.inner.turn(until, spin);
    }
    fn next(&mut self) -> Option<Done> {
        if let Some(done) = self.forged.pop_front() {
            return Some(done);
        }
        let done = self.inner.next()?;
        match self.spoil(done) {
            Some(done) => Some(done),
            None => self.next(),
        }
    }
    fn usage(&self) -> Usage {
        self.inner.usage()
    }
    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
