//! Peers scripted byte by byte: a raw client, and an upstream that records what it got and answers as told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::PATIENCE;

/// How long a connection that should stay open is watched for an end or further bytes.
pub const QUIET: Duration = Duration::from_millis(60);

/// How a connection stood when the last answer was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing came and it was not closed.
    Open,
    /// The peer closed it in order.
    Closed,
    /// The peer reset it.
    Reset,
}

/// A raw TCP client.
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not taken yet.
    pub received: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("the listener accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, received: Vec::new() }
    }

    /// Takes over a connection.
    pub fn from_stream(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a TCP socket");
        Client { stream, received: Vec::new() }
    }

    /// Sends; an error is what the peer may do to a hostile client, so it is returned.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the sending direction.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with unread bytes, which resets the connection: waits for a byte that it does not take.
    pub fn reset(self) {
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        assert!(self.stream.peek(&mut [0]).is_ok_and(|n| n == 1), "a byte to leave unread");
    }

    /// Another handle of the same connection.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Reads until `done` says that enough is there, or the connection ended.
    pub fn read_until(&mut self, mut done: impl FnMut(&[u8]) -> bool) -> End {
        self.read_within(PATIENCE, &mut done)
    }

    /// Reads what comes until the connection ends; waits at most [`PATIENCE`].
    pub fn read_to_end(&mut self) -> End {
        self.read_within(PATIENCE, &mut |_| false)
    }

    /// Whether the connection stays open and quiet for [`QUIET`].
    pub fn watch(&mut self) -> End {
        self.read_within(QUIET, &mut |_| false)
    }

    fn read_within(&mut self, patience: Duration, done: &mut dyn FnMut(&[u8]) -> bool) -> End {
        let mut chunk = [0; 16 << 10];
        self.stream.set_read_timeout(Some(patience)).expect("not zero");
        while !done(&self.received) {
            match self.stream.read(&mut chunk) {
                Ok(0) => return End::Closed,
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return End::Open;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return End::Reset,
            }
        }
        End::Open
    }
}

/// What an upstream does with one connection: reads, answers, closes. Runs on its own thread.
pub type Script = dyn Fn(&mut Client) + Send + Sync;

/// A scripted upstream: each connection runs the present script; everything it received is recorded at its end.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    script: Arc<Mutex<Arc<Script>>>,
    seen: Receiver<Vec<u8>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Listens on a free port.
    pub fn start(script: impl Fn(&mut Client) + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (sender, seen) = channel();
        let (scripts, stopped) = (script.clone(), stop.clone());
        let accepting = std::thread::spawn(move || accept(&listener, &scripts, &stopped, &sender));
        Upstream { address, script, seen, stop, accepting: Some(accepting) }
    }

    /// Connections accepted from now on run this script.
    pub fn set_script(&self, script: impl Fn(&mut Client) + Send + Sync + 'static) {
        *self.script.lock().expect("no panic while it is held") = Arc::new(script);
    }

    /// What a connection received, once it has ended; `None` when none ended within `patience`.
    pub fn seen(&self, patience: Duration) -> Option<Vec<u8>> {
        self.seen.recv_timeout(patience).ok()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(
    listener: &TcpListener,
    scripts: &Mutex<Arc<Script>>,
    stop: &std::sync::atomic::AtomicBool,
    sender: &Sender<Vec<u8>>,
) {
    while let Ok((stream, _)) = listener.accept() {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let script = scripts.lock().expect("no panic while it is held").clone();
        let sender = sender.clone();
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut client = Client { stream, received: Vec::new() };
            script(&mut client);
            let _ = sender.send(std::mem::take(&mut client.received));
        });
    }
}
