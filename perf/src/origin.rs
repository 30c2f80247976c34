//! The origin: answers fixed bytes, to HTTP/1.1 requests without a body or to L4 requests of a fixed length, in a
//! thread of its own or in the load generator's loop. One request at a time per connection; pipelining is not spoken.

use crate::{
    answer::BODY_BYTE,
    failure::Result,
    net::{self, Poller, Received},
};
use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How often the stop flag is looked at.
const STOP_LOOK: Duration = Duration::from_millis(50);
/// Receive buffer of the thread.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Set in every token of an origin, so that it can share a poller.
pub const TOKENS: u64 = 1 << 62;
/// Token of the listening socket; connections use their descriptor number.
const LISTENER: u64 = TOKENS | u32::MAX as u64;

/// What the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speaks {
    /// HTTP/1.1 with a body of this many bytes.
    Http {
        /// Bytes of each answer's body.
        body: usize,
    },
    /// Plain bytes: after each `request` bytes, `answer` bytes.
    Framed {
        /// Bytes of a request.
        request: usize,
        /// Bytes of an answer.
        answer: usize,
    },
}

/// A running origin; it ends when dropped.
pub struct Origin {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts the origin on a free port, its thread on `core` when one is given.
    ///
    /// # Errors
    /// When no port or descriptor is free.
    pub fn start(speaks: Speaks, core: Option<usize>) -> Result<Self> {
        let mut server = Server::new(speaks)?;
        let address = server.address();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("origin".into()).spawn(move || {
            if let Some(core) = core {
                net::pin(core).unwrap_or_else(|error| eprintln!("origin: {error}"));
            }
            server.run(&ended).unwrap_or_else(|error| eprintln!("origin: {error}"));
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|_| eprintln!("origin: the thread panicked"));
        }
    }
}

/// The origin without its thread: for a loop that also does something else.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    speaks: Speaks,
    answer: Vec<u8>,
    /// By descriptor number.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
}

struct Connection {
    socket: OwnedFd,
    /// Bytes of an L4 request seen so far, or of a head that came in pieces.
    seen: usize,
    tail: [u8; 4],
    /// Bytes of the answer still to send.
    owed: usize,
}

impl Server {
    /// Listens on a free port; nothing is served before `attach`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(speaks: Speaks) -> Result<Self> {
        let listener = net::listen()?;
        let address = listener.local_addr()?;
        let answer = match speaks {
            Speaks::Framed { answer, .. } => vec![BODY_BYTE; answer],
            Speaks::Http { body } => http_answer(body),
        };
        let buffer = vec![0; RECEIVE_BYTES];
        Ok(Self { listener, address, speaks, answer, connections: Vec::new(), buffer })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Registers the listening socket; from then on `on_event` takes the tokens that have `TOKENS` set.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn attach(&self, poller: &Poller) -> Result<()> {
        poller.add(&self.listener, LISTENER, rustix::event::epoll::EventFlags::IN)
    }

    /// Serves the socket behind a token.
    ///
    /// # Errors
    /// When a new connection cannot be registered.
    pub fn on_event(&mut self, poller: &Poller, token: u64) -> Result<()> {
        if token == LISTENER {
            return self.accept(poller);
        }
        let number = (token & !TOKENS) as usize;
        if !self.serve(number) {
            self.connections[number] = None;
        }
        Ok(())
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let (mut poller, mut ready) = (Poller::new()?, Vec::new());
        self.attach(&poller)?;
        while !stop.load(Ordering::Relaxed) {
            poller.wait(STOP_LOOK, &mut ready)?;
            for token in &ready {
                self.on_event(&poller, *token)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, poller: &Poller) -> Result<()> {
        while let Some(socket) = net::accept(&self.listener) {
            let number = socket.as_raw_fd() as usize;
            poller.add(&socket, TOKENS | number as u64, net::READ_WRITE)?;
            if number >= self.connections.len() {
                self.connections.resize_with(number + 1, || None);
            }
            self.connections[number] = Some(Connection { socket, seen: 0, tail: [0; 4], owed: 0 });
        }
        Ok(())
    }

    /// Sends what is owed, takes what has come, answers it; `false` when the connection is over.
    fn serve(&mut self, number: usize) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(number) else { return true };
        if connection.owed > 0 && !connection.send(&self.answer) {
            return false;
        }
        loop {
            match net::receive(&connection.socket, &mut self.buffer) {
                Received::Empty => return true,
                Received::End | Received::Broken(_) => return false,
                Received::Bytes(count) => {
                    if connection.asked(&self.buffer[..count], self.speaks) {
                        connection.owed += self.answer.len();
                        if !connection.send(&self.answer) {
                            return false;
                        }
                    }
                    if count < self.buffer.len() {
                        return true;
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Whether these bytes complete a request.
    fn asked(&mut self, bytes: &[u8], speaks: Speaks) -> bool {
        match speaks {
            Speaks::Framed { request, .. } => {
                self.seen += bytes.len();
                let complete = self.seen >= request;
                self.seen -= if complete { request } else { 0 };
                complete
            }
            Speaks::Http { .. } => {
                for byte in &bytes[bytes.len().saturating_sub(4)..] {
                    self.tail.rotate_left(1);
                    self.tail[3] = *byte;
                }
                self.tail == *b"\r\n\r\n"
            }
        }
    }

    fn send(&mut self, answer: &[u8]) -> bool {
        let from = answer.len().saturating_sub(self.owed);
        match net::send(&self.socket, &answer[from..]) {
            Ok(sent) => {
                self.owed -= sent;
                true
            }
            Err(_) => false,
        }
    }
}

fn http_answer(body: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body, BODY_BYTE);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Expect, Progress, Reader};
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    fn ask(origin: &Origin, pieces: &[&[u8]], expect: Expect) -> std::io::Result<Progress> {
        let mut stream = TcpStream::connect(origin.address())?;
        stream.set_nodelay(true)?;
        for piece in pieces {
            stream.write_all(piece)?;
        }
        let (mut reader, mut buffer) = (Reader::new(expect), vec![0; 4096]);
        loop {
            let count = stream.read(&mut buffer)?;
            match reader.feed(&buffer[..count]) {
                Progress::More if count > 0 => {}
                progress => return Ok(progress),
            }
        }
    }

    #[test]
    fn answers_http_whole_and_in_pieces() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let origin = Origin::start(Speaks::Http { body: 70_000 }, None)?;
        for pieces in [&[&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..]][..], &[b"GET / HTTP/1.1\r\n\r", b"\n"]] {
            assert_eq!(ask(&origin, pieces, Expect::Http(70_000))?, Progress::Done { close: false });
        }
        Ok(())
    }

    #[test]
    fn answers_frames_by_length() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let origin = Origin::start(Speaks::Framed { request: 10, answer: 20 }, None)?;
        let progress = ask(&origin, &[b"12345", b"67890"], Expect::Framed(20))?;
        assert_eq!(progress, Progress::Done { close: false });
        Ok(())
    }
}
