//! A running Ringway, an upstream to put behind it, and a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Everything here happens within this time on any machine, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`wait_until`] looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A folder that is removed at the end of the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringway-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("writes");
        path
    }

    /// Replaces a file the way editors and deployment tools do.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let fresh = self.write(&format!(".{name}.new"), text);
        std::fs::rename(fresh, self.path(name)).expect("renames");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process and everything it logged so far.
pub(crate) struct Ringway {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    pub(crate) first_line: String,
}

impl Ringway {
    /// Starts with a configuration file and waits until it serves.
    pub(crate) fn start(config: &Path, args: &[&str]) -> Ringway {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["run", "--driver", "epoll", "--workers", "2", "--config"])
            .arg(config)
            .args(args)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (lines, reader) = (log.clone(), BufReader::new(child.stderr.take().expect("is piped")));
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                lines.0.lock().expect("no panic").push(line);
                lines.1.notify_all();
            }
        });
        let mut this = Ringway { child, log, first_line: String::new() };
        this.first_line = this.wait_for_log(" driver=");
        this
    }

    /// Waits for a line that contains `text`, from the first line on.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.log.0.lock().expect("no panic");
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} in the log:\n{}", lines.join("\n"));
            lines = self.log.1.wait_timeout(lines, left).expect("no panic").0;
        }
    }

    /// The address after `name=` in the first line.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let marker = format!(" {name}=");
        let found = self.first_line.split_once(&marker).map(|(_, rest)| rest.split(['(', ' ']).next());
        let text = found.flatten().unwrap_or_else(|| panic!("no {name} in {}", self.first_line));
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no address"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("is running");
    }

    /// Waits for the end of the process.
    pub(crate) fn exit_code(mut self) -> i32 {
        let mut code = None;
        wait_until("the process ends", || {
            code = self.child.try_wait().expect("is our child");
            code.is_some()
        });
        code.and_then(|status| status.code()).expect("was not killed")
    }
}

impl Drop for Ringway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs to the end.
pub(crate) fn ringway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(args).output().expect("runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("is text")
}

/// Looks again and again, giving way to others in between, until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(connect(address), "GET", path, &[("Host", &address.to_string())])
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("is set");
    stream
}

pub(crate) fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("is set");
    stream
}

/// Sends a request that ends the connection and reads the answer.
pub(crate) fn ask<S: Read + Write>(
    mut stream: S,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("sends");
    read_answer(stream)
}

/// Reads to the end of the connection.
pub(crate) fn read_answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("receives");
    let whole = text(&bytes);
    let (head, body) = whole.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but {whole:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("has a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_string() }
}

/// Sends a request on a connection that stays open and reads its answer, whose length is given.
pub(crate) fn ask_again(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).expect("sends");
    let mut reader = BufReader::new(&mut *stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("receives") > 0, "the connection ended");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("receives");
    text(&body)
}

/// An HTTP server that answers every request with its name; for `/held` only once it is released.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    held: Receiver<()>,
    release: Sender<()>,
}

impl Upstream {
    pub(crate) fn start(name: &'static str) -> Upstream {
        Upstream::on(TcpListener::bind(("127.0.0.1", 0)).expect("binds"), name)
    }

    pub(crate) fn on(listener: TcpListener, name: &'static str) -> Upstream {
        let address = listener.local_addr().expect("is bound");
        let (arrived, held) = channel();
        let (release, gate) = channel();
        let gate = Arc::new(Mutex::new(gate));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (arrived, gate) = (arrived.clone(), gate.clone());
                std::thread::spawn(move || serve(stream, name, &arrived, &gate));
            }
        });
        Upstream { address, held, release }
    }

    /// Waits until a request for `/held` has arrived.
    pub(crate) fn wait_for_held(&self) {
        self.held.recv_timeout(PATIENCE).expect("a request arrives");
    }

    /// Lets one of them be answered.
    pub(crate) fn release(&self) {
        self.release.send(()).expect("is running");
    }
}

fn serve(stream: TcpStream, name: &str, arrived: &Sender<()>, gate: &Mutex<Receiver<()>>) {
    let mut writer = stream.try_clone().expect("is open");
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if first.is_empty() {
                first = line.clone();
            }
        }
        if first.contains(" /held ") {
            let _ = arrived.send(());
            let _ = gate.lock().expect("no panic").recv();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", name.len());
        if writer.write_all(format!("{head}{name}").as_bytes()).is_err() {
            return;
        }
    }
}

/// A configuration with one HTTP listener `web` on a port of the kernel's choice, telemetry likewise, and no admin API.
pub(crate) fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "version: 1\nadmin: off\ntelemetry: \"127.0.0.1:0\"\n{more}\
         listeners:\n  web: {{ address: \"127.0.0.1:0\" }}\n\
         routes:\n  - {{ path: {{ prefix: \"/\" }}, cluster: app }}\n\
         clusters:\n  app: {{ endpoints: [\"{upstream}\"] }}\n"
    )
}
