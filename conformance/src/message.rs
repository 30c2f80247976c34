//! A small reader of HTTP/1.1 messages for the suites: independent of the codec under test, and trusting, because what it reads
//! was checked to be in normal form or is compared byte by byte.

/// A message taken from the front of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Start line and field lines.
    pub head: String,
    /// Body as it was sent (chunks undecoded).
    pub body: Vec<u8>,
    /// The framing said that it ends here.
    pub whole: bool,
    /// Bytes used.
    pub len: usize,
}

impl Message {
    /// The status of a response; 0 for anything else.
    pub fn status(&self) -> u16 {
        self.head
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    /// The message as text, a whole chunked body as one chunk: where its chunks begin depends on how the bytes arrived.
    pub fn normal_text(&self) -> String {
        let mut text = self.head.clone();
        if !self.whole || self.field("transfer-encoding").is_none() {
            text.push_str(&String::from_utf8_lossy(&self.body));
            return text;
        }
        let (data, trailers) = unchunked(&self.body);
        if !data.is_empty() {
            text.push_str(&format!("{:x}\r\n{}\r\n", data.len(), String::from_utf8_lossy(&data)));
        }
        text.push_str(&format!("0\r\n{}", String::from_utf8_lossy(trailers)));
        text
    }

    /// The value of a field, any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The first message; `bodyless` for answers to HEAD. `None` until its head is complete.
pub fn message(bytes: &[u8], bodyless: bool) -> Option<Message> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut message = Message { head, body: Vec::new(), whole: true, len: end };
    let rest = &bytes[end..];
    let is_request = !message.head.starts_with("HTTP/");
    if bodyless || matches!(message.status(), 100..=199 | 204 | 304) {
        return Some(message);
    }
    let (used, whole) = if message.field("transfer-encoding").is_some() {
        chunks(rest)
    } else if let Some(length) = message.field("content-length") {
        let length: usize = length.parse().ok()?;
        (length.min(rest.len()), rest.len() >= length)
    } else {
        (if is_request { 0 } else { rest.len() }, is_request)
    };
    message.body = rest[..used].to_vec();
    message.whole = whole;
    message.len = end + used;
    Some(message)
}

/// Bytes of a chunked body and whether it is whole.
fn chunks(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    loop {
        let Some(line) = bytes[at..].windows(2).position(|w| w == b"\r\n") else {
            return (bytes.len(), false);
        };
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let Ok(size) = usize::from_str_radix(text.split(';').next().unwrap_or(""), 16) else {
            return (bytes.len(), false);
        };
        at += line + 2;
        if size == 0 {
            break;
        }
        if bytes.len() < at + size + 2 {
            return (bytes.len(), false);
        }
        at += size + 2;
    }
    loop {
        let Some(line) = bytes[at..].windows(2).position(|w| w == b"\r\n") else {
            return (bytes.len(), false);
        };
        at += line + 2;
        if line == 0 {
            return (at, true);
        }
    }
}

/// Data and trailer section (with its empty line) of a whole chunked body.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut data = Vec::new();
    while let Some(line) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line])
            .ok()
            .and_then(|t| usize::from_str_radix(t, 16).ok())
            .unwrap_or(0);
        bytes = &bytes[line + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
    (data, bytes)
}

/// The final answer (interim ones skipped) at the front of some bytes, with the bytes in front of its end.
pub fn answer(bytes: &[u8], bodyless: bool) -> Option<(Message, usize)> {
    let mut at = 0;
    loop {
        let next = message(&bytes[at..], bodyless)?;
        at += next.len;
        if next.status() >= 200 || next.status() == 101 {
            return Some((next, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_found() {
        let whole = message(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX", false).expect("a head");
        assert_eq!(
            (whole.status(), whole.body.as_slice(), whole.whole, whole.len),
            (200, &b"ok"[..], true, 40)
        );
        let part =
            message(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n", false);
        assert_eq!(part.map(|m| m.whole), Some(false));
        let chunked = message(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\nX",
            false,
        );
        assert_eq!(chunked.map(|m| (m.whole, m.body.len())), Some((true, 18)));
    }

    #[test]
    fn chunks_are_compared_as_one() {
        let bytes =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n";
        let text = message(bytes, false).map(|m| m.normal_text()).unwrap_or_default();
        assert!(text.ends_with("\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n"), "{text:?}");
    }

    #[test]
    fn interim_answers_are_skipped() {
        let bytes = b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
        assert_eq!(answer(bytes, false).map(|(m, at)| (m.status(), at)), Some((204, bytes.len())));
    }
}
