//! The self-test at start: does io_uring do what this driver needs, here and now? Kernel versions and probes lie;
//! seccomp filters, sysctls and old backports are found out only by doing it.

use std::os::fd::AsRawFd;

use super::Uring;
use crate::rawaddr;
use crate::sys;
use crate::{
    AcceptOptions, Close, ConnectOptions, Done, Driver, DriverConfig, Handle, IoError, Last, Micros, Receive,
    Sent, Slice, Sock,
};

/// The test takes well under a millisecond; a ring that does not answer for this long does not work. Microseconds.
const PATIENCE_US: Micros = 1_000_000;
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";

/// Runs a connection through a scratch driver: accept, a direct receive, a multishot receive into a ring buffer, send,
/// end of stream, cancellation, close.
///
/// # Errors
/// One sentence that says what did not work.
pub(crate) fn self_test() -> Result<(), String> {
    let config = DriverConfig { ring_entries: 8, small_buffers: 8, ring_bytes_max: 0, ..Default::default() };
    let driver = Uring::open(&config).map_err(|e| format!("setting up a ring: {}", describe(e)))?;
    Test { driver, got: Vec::new(), closed: 0, accepted: None, ended: false, broken: None }.run()
}

struct Test {
    driver: Uring,
    accepted: Option<Sock>,
    got: Vec<u8>,
    ended: bool,
    closed: usize,
    broken: Option<String>,
}

impl Test {
    fn run(mut self) -> Result<(), String> {
        let client = self.connect().map_err(|e| format!("a local connection: {}", describe(e)))?;
        self.until("accept", |t| t.accepted.is_some())?;
        let server = self.accepted.unwrap_or(Sock::NONE);
        self.driver.recv(server, None, Receive::Small);
        self.send(client, FIRST, Last::End)?;
        self.until("receive", |t| t.got == FIRST)?;
        // The first message was read directly, the second one comes into a ring buffer.
        self.driver.turn(0, false);
        self.drain();
        self.send(client, SECOND, Last::End)?;
        self.until("multishot receive", |t| t.got.ends_with(SECOND))?;
        self.send(client, b"", Last::Fin)?;
        self.until("end of stream", |t| t.ended)?;
        for sock in [client, server] {
            self.driver.close(sock, Close::Graceful);
        }
        self.until("cancel and close", |t| t.closed == 2)
    }

    /// A unix socket without a name in the file system: needs no network and leaves nothing behind.
    fn connect(&mut self) -> Result<Sock, IoError> {
        let listener = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
        sys::bind(listener.as_raw_fd(), &rawaddr::any_unix())?;
        sys::listen(listener.as_raw_fd(), 1)?;
        let addr = rawaddr::decode(&sys::local_addr(listener.as_raw_fd())?, &"".into());
        let id = self.driver.listen(Handle::Fd(listener), AcceptOptions::default())?;
        self.driver.accept(id);
        self.driver.connect(&addr, &ConnectOptions::default())
    }

    fn send(&mut self, sock: Sock, bytes: &'static [u8], last: Last) -> Result<(), String> {
        match self.driver.send(sock, Slice::from_static(bytes), last) {
            Sent::All => Ok(()),
            other => Err(format!("send: {other:?}")),
        }
    }

    fn until(&mut self, step: &str, done: impl Fn(&Test) -> bool) -> Result<(), String> {
        let deadline = self.driver.now() + PATIENCE_US;
        while !done(self) {
            if let Some(what) = self.broken.take() {
                return Err(format!("{step}: {what}"));
            }
            if self.driver.now() >= deadline {
                return Err(format!("{step}: no completion"));
            }
            self.driver.turn(deadline, false);
            self.drain();
        }
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(done) = self.driver.next() {
            match done {
                Done::Accepted { sock, .. } => self.accepted = Some(sock),
                Done::Received { buf, .. } => self.got.extend_from_slice(buf.bytes()),
                Done::Ended { .. } => self.ended = true,
                Done::Closed { .. } => self.closed += 1,
                Done::Connected { result: Ok(()), .. } => {}
                other => self.broken = Some(format!("{other:?}")),
            }
        }
    }
}

fn describe(error: IoError) -> String {
    match error {
        IoError::Other(libc::EPERM | libc::EACCES) => "not permitted (seccomp or sysctl)".to_owned(),
        IoError::Other(libc::ENOSYS) => "not in this kernel".to_owned(),
        IoError::Other(libc::EINVAL) => "this kernel lacks the needed features (6.1)".to_owned(),
        other => format!("{other:?}"),
    }
}
