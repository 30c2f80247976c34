//! A driver under audit: whoever calls it must keep the contract's rules of ownership, and so must it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway_driver::{
    AcceptOptions, Addr, Buf, Close, ConnectOptions, Datagram, Detached, Done, Driver, Handle, IoError, Last,
    ListenerId, Micros, Pool, Receive, Sent, Slice, Sock, Usage, Waker,
};

/// What was found, shared with the run.
pub type Findings = Rc<RefCell<Vec<String>>>;

/// Passes everything on and writes down what breaks a rule.
pub struct Audit<D: Driver> {
    pub inner: D,
    place: &'static str,
    socks: BTreeMap<Sock, State>,
    findings: Findings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Ended,
    Failed,
    Closing,
}

impl<D: Driver> Audit<D> {
    pub fn new(inner: D, place: &'static str, findings: &Findings) -> Audit<D> {
        Audit { inner, place, socks: BTreeMap::new(), findings: Rc::clone(findings) }
    }

    fn find(&self, what: String) {
        self.findings.borrow_mut().push(format!("{}: {what}", self.place));
    }

    fn opened(&mut self, sock: Sock) {
        if self.socks.insert(sock, State::Open).is_some() {
            self.find(format!("{sock:?} was handed out while it was in use"));
        }
    }

    /// A completion of a socket that must be open.
    fn told(&mut self, sock: Sock, what: &str) {
        match self.socks.get(&sock) {
            Some(State::Open | State::Ended) => {}
            state => self.find(format!("{what} of {sock:?}, which is {state:?}")),
        }
    }

    fn set(&mut self, sock: Sock, state: State) {
        if let Some(now) = self.socks.get_mut(&sock)
            && *now != State::Closing
        {
            *now = state;
        }
    }

    fn check(&mut self, done: &Done) {
        match done {
            Done::Accepted { sock, .. } => self.opened(*sock),
            Done::Closed { sock } => match self.socks.remove(sock) {
                Some(State::Closing) => {}
                state => self.find(format!("Closed of {sock:?}, which is {state:?}")),
            },
            Done::Failed { sock, .. } => {
                self.told(*sock, "Failed");
                self.set(*sock, State::Failed);
            }
            Done::Ended { sock } => {
                if self.socks.get(sock) == Some(&State::Ended) {
                    self.find(format!("{sock:?} ended twice"));
                }
                self.told(*sock, "Ended");
                self.set(*sock, State::Ended);
            }
            Done::Detached { sock, result } => {
                self.told(*sock, "Detached");
                if result.is_ok() {
                    self.socks.remove(sock);
                }
            }
            Done::Received { sock, buf, .. } => {
                self.told(*sock, "Received");
                if buf.is_empty() || self.socks.get(sock) == Some(&State::Ended) {
                    self.find(format!("{sock:?} received {} bytes at the wrong time", buf.len()));
                }
            }
            Done::Connected { sock, .. } | Done::PeerClosed { sock } | Done::Sent { sock, .. } => {
                self.told(*sock, "a completion");
            }
            Done::Spliced { from, .. } => self.told(*from, "Spliced"),
            Done::AcceptFailed { .. }
            | Done::ListenerClosed { .. }
            | Done::Datagrams { .. }
            | Done::Woken => {}
        }
    }
}

impl<D: Driver> Driver for Audit<D> {
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
        let sock = self.inner.connect(to, options)?;
        self.opened(sock);
        Ok(sock)
    }
    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        if into.as_ref().is_some_and(|buf| buf.room() == 0) {
            self.find(format!("{sock:?} is to receive into a full buffer"));
        }
        self.inner.recv(sock, into, size);
    }
    fn pause(&mut self, sock: Sock) -> Option<Buf> {
        self.inner.pause(sock)
    }
    fn queue(&mut self, sock: Sock, data: Slice) {
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
        match self.socks.get(&sock) {
            Some(State::Closing) if how != Close::Reset => self.find(format!("{sock:?} was closed twice")),
            None => self.find(format!("{sock:?} was closed though it is gone")),
            _ => {}
        }
        self.set(sock, State::Closing);
        self.inner.close(sock, how);
    }
    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        self.inner.splice(from, to)
    }
    fn detach(&mut self, sock: Sock) {
        self.inner.detach(sock);
    }
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        let sock = self.inner.attach(detached)?;
        self.opened(sock);
        Ok(sock)
    }
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        let sock = self.inner.datagram(handle)?;
        self.opened(sock);
        Ok(sock)
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
        self.inner.turn(until, spin);
    }
    fn next(&mut self) -> Option<Done> {
        let done = self.inner.next()?;
        self.check(&done);
        Some(done)
    }
    fn usage(&self) -> Usage {
        self.inner.usage()
    }
    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
