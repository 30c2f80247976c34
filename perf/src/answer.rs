//! Reads one answer after another from a connection: framed by length (L4), or HTTP/1.1 with `Content-Length`.
//! It checks status, length and the last byte of the body. Pure.

/// Largest head an answer may have, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The byte every origin body consists of.
pub const BODY_BYTE: u8 = b'r';

/// How answers are delimited and what they must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    /// Exactly this many bytes.
    Framed(usize),
    /// `200`, `Content-Length` equal to this many bytes.
    Http(usize),
}

/// What `Reader::feed` found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// The answer is not complete.
    More,
    /// The answer is complete; `close` when it announced the end of the connection.
    Done {
        /// `Connection: close` was among the fields.
        close: bool,
    },
    /// The answer is not the one expected.
    Wrong,
}

/// State of one answer.
#[derive(Debug)]
pub struct Reader {
    expect: Expect,
    /// Bytes still to come of head (unknown: `None`) and body.
    left: Option<usize>,
    head: Vec<u8>,
    close: bool,
    begun: bool,
}

impl Reader {
    /// Ready for the first answer.
    pub fn new(expect: Expect) -> Self {
        Self { expect, left: None, head: Vec::new(), close: false, begun: false }
    }

    /// Forgets the answer in progress.
    pub fn reset(&mut self) {
        self.left = None;
        self.head.clear();
        self.close = false;
        self.begun = false;
    }

    /// Some bytes of an answer have arrived, but not all.
    pub fn is_partial(&self) -> bool {
        self.begun
    }

    /// Takes received bytes. Bytes behind the end of the answer are wrong: nothing more was asked for.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        self.begun = true;
        let progress = match (self.left, self.expect) {
            (Some(left), _) => self.body(left, bytes),
            (None, Expect::Framed(total)) => self.body(total, bytes),
            (None, Expect::Http(body)) => self.head(body, bytes),
        };
        if matches!(progress, Progress::Done { .. }) {
            self.reset();
        }
        progress
    }

    fn body(&mut self, left: usize, bytes: &[u8]) -> Progress {
        if bytes.len() > left {
            return Progress::Wrong;
        }
        self.left = Some(left - bytes.len());
        if bytes.len() < left {
            return Progress::More;
        }
        if bytes.last().is_some_and(|byte| *byte != BODY_BYTE) {
            return Progress::Wrong;
        }
        Progress::Done { close: self.close }
    }

    fn head(&mut self, body: usize, bytes: &[u8]) -> Progress {
        if self.head.is_empty()
            && let Some(end) = head_end(bytes)
        {
            return self.fields(body, &bytes[..end], &bytes[end..]);
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = head_end(&self.head) else {
            return if self.head.len() > HEAD_BYTES_MAX { Progress::Wrong } else { Progress::More };
        };
        let head = std::mem::take(&mut self.head);
        self.fields(body, &head[..end], &head[end..])
    }

    fn fields(&mut self, body: usize, head: &[u8], rest: &[u8]) -> Progress {
        if !head.starts_with(b"HTTP/1.1 200") {
            return Progress::Wrong;
        }
        let mut length = None;
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            if let Some(value) = field(line, b"content-length:") {
                length = std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
            } else if let Some(value) = field(line, b"connection:") {
                self.close = value.eq_ignore_ascii_case(b"close");
            }
        }
        if length != Some(body) { Progress::Wrong } else { self.body(body, rest) }
    }
}

/// The value of a field line when its name (lower case, with the colon) matches.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Length of a head with its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let searched = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    searched.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nConnection: close\r\n\r\nrrrr";

    #[test]
    fn any_split_gives_the_same_answer() {
        for size in 1..=ANSWER.len() {
            let mut reader = Reader::new(Expect::Http(4));
            let mut progress = Progress::More;
            for chunk in ANSWER.chunks(size) {
                assert_eq!(progress, Progress::More);
                progress = reader.feed(chunk);
            }
            assert_eq!(progress, Progress::Done { close: true }, "pieces of {size}");
            assert!(!reader.is_partial());
        }
    }

    #[test]
    fn answers_follow_each_other() {
        let mut reader = Reader::new(Expect::Framed(3));
        assert_eq!(reader.feed(b"rr"), Progress::More);
        assert!(reader.is_partial());
        assert_eq!(reader.feed(b"r"), Progress::Done { close: false });
        assert_eq!(reader.feed(b"rrr"), Progress::Done { close: false });
    }

    #[test]
    fn wrong_status_length_bytes_and_surplus_are_errors() {
        let feed = |expect, bytes: &[u8]| Reader::new(expect).feed(bytes);
        assert_eq!(
            feed(Expect::Http(4), b"HTTP/1.1 502 Bad\r\ncontent-length: 4\r\n\r\nrrrr"),
            Progress::Wrong
        );
        assert_eq!(feed(Expect::Http(5), ANSWER), Progress::Wrong);
        assert_eq!(feed(Expect::Http(4), b"HTTP/1.1 200 OK\r\n\r\nrrrr"), Progress::Wrong);
        assert_eq!(feed(Expect::Framed(3), b"rrx"), Progress::Wrong);
        assert_eq!(feed(Expect::Framed(3), b"rrrr"), Progress::Wrong);
    }
}
