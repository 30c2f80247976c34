//! A client that means no good: one connection, mutated or malformed requests, and whatever it gets must be a refusal in order.

use ringway_driver::sim::{EndId, Read, Rng};

use super::client::Alive;
use super::message::{Incoming, Item, Side};
use super::peers::Ctx;
use super::writer::Writer;

/// A hostile client.
#[derive(Debug)]
pub struct Hostile {
    pub slot: usize,
    end: EndId,
    writer: Writer,
    incoming: Incoming,
    sent: String,
    /// It leaves then, whatever came.
    until: Option<u64>,
}

impl Hostile {
    pub fn new(slot: usize, end: EndId, rng: &mut Rng) -> Hostile {
        let mut writer = Writer::default();
        let bytes = malice(rng);
        writer.bytes(&bytes);
        let sent = bytes.escape_ascii().to_string();
        Hostile { slot, end, writer, incoming: Incoming::new(Side::Answers), sent, until: None }
    }

    pub fn act(&mut self, cx: &mut Ctx<'_>) -> Alive {
        match cx.net.connected(self.end) {
            None => return Alive::Yes,
            Some(Err(_)) => return self.over(cx),
            Some(Ok(())) => {}
        }
        let until = *self.until.get_or_insert_with(|| cx.net.now() + PATIENCE);
        if self.writer.sent == 0 {
            cx.wake_at(self.end, until);
        }
        let _ = self.writer.pump(cx.net, self.end, cx.rng, u64::MAX);
        loop {
            let mut bytes = Vec::new();
            match cx.net.read(self.end, READ_MAX, &mut bytes) {
                Read::Bytes(_) => {}
                Read::Empty if cx.net.now() < until => return Alive::Yes,
                Read::Empty | Read::End | Read::Failed(_) => return self.over(cx),
            }
            self.incoming.feed(&bytes);
            if let Err(why) = self.check(cx) {
                cx.book.violation(format!("to {:?}: {why}", self.sent));
                return self.over(cx);
            }
        }
    }

    /// Answers are well-formed. Those of the upstream (the mutation left a good request) or refusals of ours.
    fn check(&mut self, cx: &mut Ctx<'_>) -> Result<(), String> {
        // What follows an answer to HEAD cannot be told from its body: nothing hostile uses it.
        while let Some(item) = self.incoming.next("GET")? {
            let Item::Head(head) = item else { continue };
            let ours = (400..600).contains(&head.status());
            match head.field("x-stranger").is_some() || head.status() == 100 {
                true => cx.book.count("mutations that were good requests"),
                false if ours => cx.book.count("hostile requests refused"),
                false => return Err(format!("answered {:?}", head.start)),
            }
        }
        Ok(())
    }

    fn over(&mut self, cx: &mut Ctx<'_>) -> Alive {
        cx.net.close(self.end);
        Alive::No
    }
}

/// One or two good requests with some bytes changed, lost or doubled, or a piece of hostile grammar put in.
fn malice(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.pick(&STARTS).as_bytes().to_vec();
    if rng.chance(500_000) {
        bytes.extend_from_slice(rng.pick(&STARTS).as_bytes());
    }
    for _ in 0..rng.magnitude(6) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(5) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, bytes[at]),
            3 => bytes[at] ^= 1 << rng.below(8),
            _ => {
                let line = bytes.windows(2).position(|w| w == b"\r\n").map_or(0, |end| end + 2);
                bytes.splice(line..line, rng.pick(&LINES).bytes());
            }
        }
    }
    bytes
}

/// Requests that are good as they stand. None names an exchange.
const STARTS: [&str; 5] = [
    "GET /h HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a/h?q=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    "POST /h HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /h HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nt: v\r\n\r\n",
    "GET /h HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
];

/// Lines that change how a request is framed or read, if anybody lets them.
const LINES: [&str; 10] = [
    "Content-Length: 7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    " folded\r\n",
    "Host: b\r\n",
    "Connection: x-exchange, close\r\n",
    "Expect: 100-continue\r\n",
];

/// How long it waits for an answer. Microseconds.
const PATIENCE: u64 = 20_000_000;
/// Bytes of one read.
const READ_MAX: usize = 32 << 10;
