//! What one exchange is to be: drawn from the seed before it starts, known to client, upstream and oracle alike.

use ringway_driver::sim::Rng;

/// How a body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    None,
    Length,
    Chunked,
    /// Answers only.
    UntilClose,
}

/// One request and the answer the upstream gives to it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub method: &'static str,
    pub framing: Framing,
    pub len: u64,
    /// `Expect: 100-continue`.
    pub expect: bool,
    /// HTTP/1.0.
    pub old: bool,
    /// `Connection: close`.
    pub close: bool,
    pub answer: Answer,
}

/// What the upstream answers.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub framing: Framing,
    pub len: u64,
    /// Interim answers (103) in front.
    pub interim: u32,
    /// It answers before it has read the request's body.
    pub early: bool,
    /// It waits before it answers. Microseconds.
    pub think_us: u64,
    /// It sends at most this many bytes, then pauses this long. Microseconds.
    pub pace: Option<(u64, u64)>,
    pub then: Then,
    pub trouble: Option<Trouble>,
}

/// What the upstream does with the connection after the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    Keep,
    /// It said `Connection: close`, and closes.
    Close,
    /// It closes a while later without having said so.
    CloseSilently(u64),
}

/// How the upstream fails the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A reset after that many bytes of its answer.
    ResetAt(u64),
    /// An end after that many bytes of its answer.
    CloseAt(u64),
    /// Nothing more after that many bytes of its answer.
    StallAt(u64),
    /// Bytes that are no HTTP.
    Garbage,
}

impl Plan {
    /// Draws a plan; `trouble_ppm` of them fail at the upstream.
    pub fn draw(rng: &mut Rng, old: bool, trouble_ppm: u32) -> Plan {
        let method = *rng.pick(&["GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"]);
        let with_body = matches!(method, "POST" | "PUT") || (method == "DELETE" && rng.chance(300_000));
        let framing = match (with_body, old || rng.chance(500_000)) {
            (false, _) => Framing::None,
            (true, true) => Framing::Length,
            (true, false) => Framing::Chunked,
        };
        let len = if with_body { length(rng) } else { 0 };
        let expect = with_body && !old && rng.chance(150_000);
        Plan {
            method,
            framing,
            len,
            expect,
            old,
            close: rng.chance(60_000),
            answer: Answer::draw(rng, method, len, trouble_ppm),
        }
    }

    /// RFC 9110 section 9.2.2.
    pub fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    /// The answer's body as the client gets it. Bytes.
    pub fn answer_len(&self) -> u64 {
        if self.method == "HEAD" { 0 } else { self.answer.len }
    }

    /// The request head. `host` is where it is sent.
    pub fn request_head(&self, id: u64, host: &str) -> String {
        let version = if self.old { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut head = format!("{} /x/{id} {version}\r\nHost: {host}\r\nX-Exchange: {id}\r\n", self.method);
        match self.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n", self.len),
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Framing::None | Framing::UntilClose => {}
        }
        if self.expect {
            head += "Expect: 100-continue\r\n";
        }
        if self.close {
            head += "Connection: close\r\n";
        } else if self.old {
            head += "Connection: keep-alive\r\n";
        } else if id.is_multiple_of(11) {
            head += "Connection: X-Hop\r\nX-Hop: for the next one only\r\n";
        }
        head + "\r\n"
    }

    /// The answer head.
    pub fn answer_head(&self, id: u64) -> String {
        let mut head = format!("HTTP/1.1 {} Whatever\r\nX-Answer: {id}\r\n", self.answer.status);
        match self.answer.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n", self.answer.len),
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
            // RFC 9110 section 15.4.5: the length of what is not sent.
            Framing::None if self.answer.status == 304 && id.is_multiple_of(2) => {
                head += "Content-Length: 1000\r\n"
            }
            Framing::None | Framing::UntilClose => {}
        }
        if id.is_multiple_of(13) {
            head += "Connection: X-Hop\r\nX-Hop: for the next one only\r\n";
        }
        if self.answer.then == Then::Close || self.answer.framing == Framing::UntilClose {
            head += "Connection: close\r\n";
        }
        head + "\r\n"
    }
}

impl Answer {
    fn draw(rng: &mut Rng, method: &str, request_len: u64, trouble_ppm: u32) -> Answer {
        let status = *rng.pick(&[200, 200, 200, 200, 200, 200, 201, 204, 304, 404, 500, 503]);
        let framing = match status {
            204 | 304 => Framing::None,
            _ => *rng.pick(&[
                Framing::Length,
                Framing::Length,
                Framing::Length,
                Framing::Chunked,
                Framing::Chunked,
                Framing::UntilClose,
            ]),
        };
        // To HEAD an answer until close has no length at all.
        let framing = match (method, framing) {
            ("HEAD", Framing::UntilClose) => Framing::Length,
            _ => framing,
        };
        let len = if framing == Framing::None { 0 } else { length(rng) };
        let then = match rng.below(100) {
            0..=4 => Then::Close,
            5..=8 => Then::CloseSilently(rng.magnitude(200_000)),
            _ => Then::Keep,
        };
        let trouble = rng.chance(trouble_ppm).then(|| {
            let at = if rng.chance(300_000) { 0 } else { rng.magnitude(len + 200) };
            match rng.below(10) {
                0..=4 => Trouble::ResetAt(at),
                5..=7 => Trouble::CloseAt(at),
                8 => Trouble::StallAt(at),
                _ => Trouble::Garbage,
            }
        });
        Answer {
            status,
            framing,
            len,
            interim: if rng.chance(50_000) { rng.magnitude(3) as u32 } else { 0 },
            early: request_len > 0 && rng.chance(100_000),
            think_us: if rng.chance(300_000) { rng.magnitude(50_000) } else { 0 },
            pace: rng.chance(100_000).then(|| (len / rng.between(1, 8) + 64, rng.magnitude(20_000))),
            then,
            trouble,
        }
    }
}

/// Mostly small, now and then beyond every buffer.
fn length(rng: &mut Rng) -> u64 {
    match rng.below(50) {
        0 => rng.between(200_000, 600_000),
        1..=5 => 0,
        _ => rng.magnitude(40_000),
    }
}
