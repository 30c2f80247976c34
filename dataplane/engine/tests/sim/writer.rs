//! What a scripted peer still has to send: heads as bytes, bodies made as they go.

use ringway_driver::IoError;
use ringway_driver::sim::{EndId, Network, Rng};

use super::pattern;

/// An outgoing stream of messages.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
    at: usize,
    body: Option<Body>,
    /// The body waits (for `100 Continue`).
    held: bool,
    /// Bytes ever handed to the network.
    pub sent: u64,
}

/// A body to send.
#[derive(Debug)]
pub struct Body {
    pub key: u64,
    pub len: u64,
    pub chunked: bool,
    /// With a trailer field behind the last chunk.
    pub trailer: bool,
    offset: u64,
}

impl Body {
    pub fn new(key: u64, len: u64, chunked: bool, trailer: bool) -> Body {
        Body { key, len, chunked, trailer, offset: 0 }
    }
}

impl Writer {
    /// Queues a head (behind which nothing else may be under way) and its body.
    pub fn message(&mut self, head: &str, body: Option<Body>, held: bool) {
        debug_assert!(self.body.is_none());
        self.buf.extend_from_slice(head.as_bytes());
        (self.body, self.held) = (body, held);
    }

    /// Queues plain bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The body need not wait any longer.
    pub fn release(&mut self) {
        self.held = false;
    }

    pub fn is_held(&self) -> bool {
        self.held && self.body.is_some()
    }

    /// The body will never be sent.
    pub fn abandon(&mut self) {
        self.body = None;
        self.held = false;
    }

    /// Everything was handed to the network.
    pub fn is_done(&self) -> bool {
        self.at == self.buf.len() && self.body.is_none()
    }

    /// Sends at most `max` bytes, as the network takes them.
    pub fn pump(&mut self, net: &Network, end: EndId, rng: &mut Rng, max: u64) -> Result<(), IoError> {
        let mut left = max;
        while left > 0 && !self.is_done() {
            if self.at == self.buf.len() {
                self.buf.clear();
                self.at = 0;
                if self.held {
                    return Ok(());
                }
                self.make_piece(rng);
            }
            let upto =
                self.buf.len().min(self.at.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            let taken = net.write(end, &self.buf[self.at..upto])?;
            self.at += taken;
            self.sent += taken as u64;
            left -= taken as u64;
            if taken == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn make_piece(&mut self, rng: &mut Rng) {
        let Some(body) = &mut self.body else { return };
        let left = body.len - body.offset;
        let piece = match body.chunked {
            true => rng.magnitude(PIECE_MAX).min(left),
            false => left.min(PIECE_MAX),
        };
        if body.chunked && piece > 0 {
            let extension = if rng.chance(50_000) { ";name=value" } else { "" };
            self.buf.extend_from_slice(format!("{piece:x}{extension}\r\n").as_bytes());
        }
        let start = self.buf.len();
        self.buf.resize(start + piece as usize, 0);
        pattern::fill(body.key, body.offset, &mut self.buf[start..]);
        body.offset += piece;
        if body.chunked && piece > 0 {
            self.buf.extend_from_slice(b"\r\n");
        }
        if body.offset == body.len {
            if body.chunked {
                let trailer = if body.trailer { "x-trailer: behind\r\n" } else { "" };
                self.buf.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
            }
            self.body = None;
        }
    }
}

/// Bytes of a body made at a time, and the longest chunk.
const PIECE_MAX: u64 = 16 << 10;
