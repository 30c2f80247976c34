//! The peers' own reading of HTTP/1.1: strict, incremental, and independent of the codec under test.

/// A message head.
#[derive(Clone, Debug)]
pub struct Head {
    pub start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The value of the only field line of that name (lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// How many field lines have that name (lower case).
    pub fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|(n, _)| n == name).count()
    }

    /// The n-th word of the start line.
    pub fn word(&self, n: usize) -> &str {
        self.start.split(' ').nth(n).unwrap_or("")
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// The connection ends with this message.
    pub fn closes(&self) -> bool {
        let connection = self.field("connection").unwrap_or("");
        let has = |token: &str| connection.split(',').any(|t| t.trim().eq_ignore_ascii_case(token));
        let old = self.start.starts_with("HTTP/1.0") || self.start.ends_with("HTTP/1.0");
        has("close") || (old && !has("keep-alive"))
    }
}

/// What comes out of a stream of messages.
#[derive(Debug)]
pub enum Item {
    /// A head; for an interim answer (1xx) neither body nor end follow.
    Head(Head),
    Body(Vec<u8>),
    /// The message is complete.
    End,
}

/// Whose messages these are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Requests,
    /// Answers; framing depends on what was asked.
    Answers,
}

/// Reads a stream of messages, fed in any pieces.
#[derive(Debug)]
pub struct Incoming {
    side: Side,
    buf: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    /// The message is over; its end was not told yet.
    Over,
}

impl Incoming {
    pub fn new(side: Side) -> Incoming {
        Incoming { side, buf: Vec::new(), state: State::Head }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Between two messages, with nothing of the next.
    pub fn is_idle(&self) -> bool {
        self.state == State::Head && self.buf.is_empty()
    }

    /// The stream ended. Was it at the end of a message (true), or in the middle of one (false)?
    pub fn ended(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Over;
            return true;
        }
        self.is_idle()
    }

    /// The next item, if it is there; `method` is that of the request an answer belongs to.
    pub fn next(&mut self, method: &str) -> Result<Option<Item>, String> {
        loop {
            match self.state {
                State::Head => return self.head(method),
                State::Over => {
                    self.state = State::Head;
                    return Ok(Some(Item::End));
                }
                State::UntilClose => return Ok(self.take(usize::MAX).map(Item::Body)),
                State::Length(left) => {
                    let body = self.take(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - body.as_ref().map_or(0, |b| b.len() as u64);
                    self.state = if left == 0 { State::Over } else { State::Length(left) };
                    return Ok(body.map(Item::Body));
                }
                State::ChunkSize => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    let digits = line.split(';').next().unwrap_or("");
                    let size = u64::from_str_radix(digits, 16).map_err(|_| format!("chunk size {line:?}"))?;
                    self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                }
                State::Chunk(left) => {
                    let Some(body) = self.take(usize::try_from(left).unwrap_or(usize::MAX)) else {
                        return Ok(None);
                    };
                    let left = left - body.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Some(Item::Body(body)));
                }
                State::ChunkEnd => match self.line()? {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => self.state = State::ChunkSize,
                    Some(line) => return Err(format!("{line:?} behind a chunk")),
                },
                State::Trailers => match self.line()? {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => self.state = State::Over,
                    Some(_) => {}
                },
            }
        }
    }

    fn head(&mut self, method: &str) -> Result<Option<Item>, String> {
        let Some(len) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") else {
            return match self.buf.len() > HEAD_MAX {
                true => Err("a head without an end".into()),
                false => Ok(None),
            };
        };
        let text: String = self.buf.drain(..len + 4).map(char::from).collect();
        let text = &text[..text.len() - 4];
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or("").to_string();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("field line {line:?}"))?;
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(format!("field name {name:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_string()));
        }
        let head = Head { start, fields };
        self.state = self.framing(&head, method)?;
        Ok(Some(Item::Head(head)))
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, head: &Head, method: &str) -> Result<State, String> {
        let answer = self.side == Side::Answers;
        let well_formed = match answer {
            true => head.start.starts_with("HTTP/1.1 ") && (100..600).contains(&head.status()),
            false => head.start.split(' ').count() == 3 && head.start.ends_with(" HTTP/1.1"),
        };
        if !well_formed {
            return Err(format!("start line {:?}", head.start));
        }
        if head.count("content-length") + head.count("transfer-encoding") > 1 {
            return Err(format!("framed twice: {head:?}"));
        }
        if answer && (100..200).contains(&head.status()) {
            return Ok(State::Head);
        }
        if answer && (method == "HEAD" || matches!(head.status(), 204 | 304)) {
            return Ok(State::Over);
        }
        if let Some(coding) = head.field("transfer-encoding") {
            return match coding {
                "chunked" => Ok(State::ChunkSize),
                other => Err(format!("transfer coding {other:?}")),
            };
        }
        match head.field("content-length").map(str::parse) {
            Some(Ok(0)) => Ok(State::Over),
            Some(Ok(n)) => Ok(State::Length(n)),
            Some(Err(_)) => Err(format!("content-length {:?}", head.field("content-length"))),
            None if answer => Ok(State::UntilClose),
            None => Ok(State::Over),
        }
    }

    fn take(&mut self, max: usize) -> Option<Vec<u8>> {
        let n = max.min(self.buf.len());
        (n > 0).then(|| self.buf.drain(..n).collect())
    }

    fn line(&mut self) -> Result<Option<String>, String> {
        let Some(len) = self.buf.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let mut line: Vec<u8> = self.buf.drain(..len + 2).collect();
        line.truncate(len);
        Ok(Some(line.into_iter().map(char::from).collect()))
    }
}

/// No peer sends or expects a longer head.
const HEAD_MAX: usize = 64 << 10;

#[test]
fn messages_are_read_in_any_pieces() {
    let stream = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 204 No\r\n\r\n";
    for size in 1..stream.len() {
        let mut incoming = Incoming::new(Side::Answers);
        let (mut heads, mut ends, mut body) = (Vec::new(), 0, Vec::new());
        for piece in stream.chunks(size) {
            incoming.feed(piece);
            while let Some(item) = incoming.next("GET").unwrap() {
                match item {
                    Item::Head(head) => heads.push(head.status()),
                    Item::Body(bytes) => body.extend(bytes),
                    Item::End => ends += 1,
                }
            }
        }
        assert_eq!((heads, ends, body.as_slice()), (vec![103, 200, 200, 204], 3, &b"abcdehi"[..]));
        assert!(incoming.is_idle());
    }
}

#[test]
fn malformed_messages_are_refused() {
    for bad in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        let mut incoming = Incoming::new(Side::Answers);
        incoming.feed(bad.as_bytes());
        let mut outcome = Ok(());
        for _ in 0..4 {
            outcome = outcome.and(incoming.next("GET").map(drop));
        }
        assert!(outcome.is_err(), "{bad:?}");
    }
}
