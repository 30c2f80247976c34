//! The driver of a production worker: `uring` where it works, else `epoll`, chosen once when it is opened.

use crate::{
    AcceptOptions, Addr, Buf, Choice, Close, ConnectOptions, Datagram, Detached, Done, Driver, DriverConfig,
    Epoll, Handle, IoError, Last, ListenerId, Micros, Pool, Receive, Selected, Sent, Slice, Sock, Uring,
    Usage, Waker, uring,
};

/// One of the two OS drivers. A branch per call; the engine compiles once.
pub enum OsDriver {
    /// io_uring(7).
    Uring(Box<Uring>),
    /// epoll(7).
    Epoll(Box<Epoll>),
}

impl OsDriver {
    /// Whether io_uring does here what this crate needs: what `open` asks itself, in words for people.
    ///
    /// # Errors
    /// One sentence: what did not work.
    pub fn uring_works() -> Result<(), String> {
        uring::self_test()
    }

    /// Opens a driver for the calling thread, and tells which one and why.
    ///
    /// # Errors
    /// Out of descriptors or memory; with [`Choice::Uring`] also that its self-test failed
    /// ([`OsDriver::uring_works`] says why).
    pub fn open(choice: Choice, config: &DriverConfig) -> Result<(OsDriver, Selected), IoError> {
        let reason = match choice {
            Choice::Epoll => "asked for".to_owned(),
            Choice::Uring | Choice::Auto => match open_uring(config) {
                Ok(driver) => {
                    let reason = "its self-test passed".to_owned();
                    return Ok((driver, Selected { name: "uring", reason }));
                }
                Err((error, _)) if choice == Choice::Uring => return Err(error),
                Err((_, reason)) => format!("io_uring is not usable here: {reason}"),
            },
        };
        let driver = OsDriver::Epoll(Box::new(Epoll::open(config)?));
        Ok((driver, Selected { name: "epoll", reason }))
    }
}

fn open_uring(config: &DriverConfig) -> Result<OsDriver, (IoError, String)> {
    uring::self_test().map_err(|reason| (IoError::Unsupported, reason))?;
    match Uring::open(config) {
        Ok(driver) => Ok(OsDriver::Uring(Box::new(driver))),
        Err(error) => Err((error, format!("opening the ring: {error:?}"))),
    }
}

/// Calls the same method of whichever driver it is.
macro_rules! each {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        match $self {
            OsDriver::Uring(driver) => driver.$method($($arg),*),
            OsDriver::Epoll(driver) => driver.$method($($arg),*),
        }
    };
}

impl Driver for OsDriver {
    fn now(&self) -> Micros {
        each!(self.now())
    }
    fn unix_now(&self) -> u64 {
        each!(self.unix_now())
    }
    fn pool(&self) -> &Pool {
        each!(self.pool())
    }
    fn listen(&mut self, handle: Handle, options: AcceptOptions) -> Result<ListenerId, IoError> {
        each!(self.listen(handle, options))
    }
    fn accept(&mut self, listener: ListenerId) {
        each!(self.accept(listener))
    }
    fn accept_pause(&mut self, listener: ListenerId) {
        each!(self.accept_pause(listener))
    }
    fn close_listener(&mut self, listener: ListenerId) {
        each!(self.close_listener(listener))
    }
    fn connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError> {
        each!(self.connect(to, options))
    }
    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        each!(self.recv(sock, into, size))
    }
    fn pause(&mut self, sock: Sock) -> Option<Buf> {
        each!(self.pause(sock))
    }
    fn queue(&mut self, sock: Sock, data: Slice) {
        each!(self.queue(sock, data))
    }
    fn flush(&mut self, sock: Sock, last: Last) -> Sent {
        each!(self.flush(sock, last))
    }
    fn send(&mut self, sock: Sock, data: Slice, last: Last) -> Sent {
        each!(self.send(sock, data, last))
    }
    fn queued(&self, sock: Sock) -> usize {
        each!(self.queued(sock))
    }
    fn shutdown(&mut self, sock: Sock) {
        each!(self.shutdown(sock))
    }
    fn close(&mut self, sock: Sock, how: Close) {
        each!(self.close(sock, how))
    }
    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        each!(self.splice(from, to))
    }
    fn detach(&mut self, sock: Sock) {
        each!(self.detach(sock))
    }
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        each!(self.attach(detached))
    }
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        each!(self.datagram(handle))
    }
    fn send_to(&mut self, sock: Sock, batch: Vec<Datagram>) -> usize {
        each!(self.send_to(sock, batch))
    }
    fn local_addr(&self, sock: Sock) -> Option<Addr> {
        each!(self.local_addr(sock))
    }
    fn waker(&self) -> Waker {
        each!(self.waker())
    }
    fn turn(&mut self, until: Micros, spin: bool) {
        each!(self.turn(until, spin))
    }
    fn next(&mut self) -> Option<Done> {
        each!(self.next())
    }
    fn usage(&self) -> Usage {
        each!(self.usage())
    }
    fn name(&self) -> &'static str {
        each!(self.name())
    }
}
