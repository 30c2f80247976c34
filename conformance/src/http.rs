//! Scripted peers that speak whole HTTP/1.1 messages: a client that asks, an upstream that answers each request.

use crate::message::{Message, answer, message};
use crate::peer::{Client, End, Upstream};

/// The shortest answer with a body.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Client {
    /// Sends a request and reads its final answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        let request = request.as_ref();
        self.send(request).expect("the proxy reads requests");
        self.answer_to(request.starts_with(b"HEAD "))
    }

    /// `GET path` with a `Host`, and its answer.
    pub fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// The next final answer; what follows it stays.
    pub fn answer(&mut self) -> Message {
        self.answer_to(false)
    }

    /// The next final answer, to HEAD or not. One whose framing does not end it is read to the end of the connection.
    pub fn answer_to(&mut self, head: bool) -> Message {
        let end = self.read_until(|bytes| answer(bytes, head).is_some_and(|(found, _)| found.whole));
        let Some((found, used)) = answer(&self.received, head) else {
            panic!("{end:?} without an answer behind {:?}", String::from_utf8_lossy(&self.received));
        };
        self.received.drain(..used);
        found
    }

    /// The next message whatever its status, interim ones included.
    pub fn next_message(&mut self) -> Option<Message> {
        self.read_until(|bytes| message(bytes, false).is_some_and(|found| found.whole));
        let found = message(&self.received, false).filter(|found| found.whole)?;
        self.received.drain(..found.len);
        Some(found)
    }

    /// The head of the next message, its body left unread.
    pub fn next_head(&mut self) -> Option<Message> {
        self.read_until(|bytes| message(bytes, true).is_some());
        let found = message(&self.received, true)?;
        self.received.drain(..found.len);
        Some(found)
    }

    /// Asserts that the peer closes in order without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let end = self.read_to_end();
        assert_eq!((end, String::from_utf8_lossy(&self.received).as_ref()), (End::Closed, ""));
    }

    /// Asserts that the peer ends the connection, in order or by a reset, without another byte.
    #[track_caller]
    pub fn expect_closed_or_reset(&mut self) {
        let end = self.read_to_end();
        assert!(end != End::Open && self.received.is_empty(), "{end:?} {:?}", self.received);
    }

    /// Asserts that the connection stays open and quiet for a moment.
    #[track_caller]
    pub fn expect_open(&mut self) {
        let end = self.watch();
        assert_eq!((end, String::from_utf8_lossy(&self.received).as_ref()), (End::Open, ""));
    }
}

impl Upstream {
    /// Answers every request of every connection; an empty answer closes the connection.
    pub fn serving(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
        Upstream::start(move |connection| {
            while let Some(request) = connection.next_message() {
                let bytes = answer(&request);
                if bytes.is_empty() || connection.send(&bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers every request with [`OK`].
    pub fn ok() -> Upstream {
        Upstream::serving(|_| OK.to_vec())
    }

    /// Answers every request with its own head as the body.
    pub fn echo() -> Upstream {
        Upstream::serving(|request| with_body(&request.head))
    }
}

/// A 200 with this body.
pub fn with_body(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

impl Message {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body with its chunks joined (trailers left out); the body itself when it is not chunked.
    pub fn content(&self) -> Vec<u8> {
        if self.field("transfer-encoding").is_none() {
            return self.body.clone();
        }
        let (mut rest, mut out) = (&self.body[..], Vec::new());
        while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = String::from_utf8_lossy(&rest[..line]).split(';').next().map(str::to_owned);
            let size = usize::from_str_radix(&size.unwrap_or_default(), 16).unwrap_or(0);
            if size == 0 {
                break;
            }
            out.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 2 + size + 2..];
        }
        out
    }

    /// All values of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).collect()
    }

    /// The start line.
    pub fn start(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}
