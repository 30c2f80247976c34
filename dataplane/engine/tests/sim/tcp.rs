//! Scripted peers of an opaque TCP listener: a greeting from the server, then bytes both ways, each direction ended by itself.

use std::collections::BTreeMap;

use ringway_driver::sim::{EndId, Read, Rng};

use super::client::Alive;
use super::pattern;
use super::peers::Ctx;
use super::writer::{Body, Writer};

/// What one connection is to carry.
#[derive(Clone, Debug)]
pub struct TunnelPlan {
    /// Bytes of the client (behind its preamble) and of the server (behind its greeting).
    pub up: u64,
    pub down: u64,
    /// The server sends only after the client's end.
    pub answers: bool,
    pub trouble: Option<TunnelTrouble>,
}

/// Who breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelTrouble {
    /// The client resets after that many bytes sent.
    Client(u64),
    /// The server resets after that many bytes sent.
    Server(u64),
}

impl TunnelPlan {
    pub fn draw(rng: &mut Rng, trouble_ppm: u32) -> TunnelPlan {
        let (up, down) = (rng.magnitude(200_000), rng.magnitude(200_000));
        let trouble = rng.chance(trouble_ppm).then(|| match rng.chance(500_000) {
            true => TunnelTrouble::Client(rng.magnitude(up)),
            false => TunnelTrouble::Server(rng.magnitude(down)),
        });
        TunnelPlan { up, down, answers: rng.chance(300_000), trouble }
    }
}

/// What happened to one connection.
#[derive(Debug)]
pub struct Tunnel {
    pub plan: TunnelPlan,
    pub server: Option<EndId>,
    pub over: bool,
}

/// All connections of a run, by number.
pub type Tunnels = BTreeMap<u64, Tunnel>;

/// The peer on either side.
#[derive(Debug)]
pub struct TcpPeer {
    end: EndId,
    pub slot: Option<usize>,
    /// The server learns it from the client's preamble.
    id: Option<u64>,
    writer: Writer,
    begun: bool,
    shut: bool,
    ended: bool,
    /// What is yet to be read of greeting or preamble.
    intro: Vec<u8>,
    got: u64,
}

impl TcpPeer {
    pub fn client(slot: usize, end: EndId, id: u64) -> TcpPeer {
        TcpPeer { slot: Some(slot), id: Some(id), ..TcpPeer::server(end) }
    }

    pub fn server(end: EndId) -> TcpPeer {
        TcpPeer {
            end,
            slot: None,
            id: None,
            writer: Writer::default(),
            begun: false,
            shut: false,
            ended: false,
            intro: Vec::new(),
            got: 0,
        }
    }

    fn is_client(&self) -> bool {
        self.slot.is_some()
    }

    pub fn act(&mut self, cx: &mut Ctx<'_>) -> Alive {
        match cx.net.connected(self.end) {
            None => return Alive::Yes,
            Some(Err(_)) => return self.over(cx, "refused"),
            Some(Ok(())) => {}
        }
        self.begin(cx);
        if self.read(cx) == Alive::No {
            return Alive::No;
        }
        self.begin(cx);
        self.write(cx)
    }

    fn plan<'a>(&self, cx: &'a Ctx<'_>) -> Option<&'a Tunnel> {
        cx.tunnels.get(&self.id?)
    }

    fn begin(&mut self, cx: &mut Ctx<'_>) {
        if !self.begun && !self.is_client() && self.writer.sent == 0 && self.writer.is_done() {
            self.writer.bytes(GREETING);
        }
        let Some(tunnel) = self.plan(cx) else { return };
        let waits = !self.is_client() && tunnel.plan.answers && !self.ended;
        if self.begun || waits {
            return;
        }
        let id = self.id.unwrap_or(0);
        let (key, len) = match self.is_client() {
            true => (pattern::request_key(id), tunnel.plan.up),
            false => (pattern::answer_key(id), tunnel.plan.down),
        };
        self.begun = true;
        if self.is_client() {
            self.writer.bytes(&id.to_be_bytes());
        }
        self.writer.message("", Some(Body::new(key, len, false, false)), false);
    }

    fn write(&mut self, cx: &mut Ctx<'_>) -> Alive {
        let trouble = self.plan(cx).and_then(|t| t.plan.trouble);
        let resets_at = match (trouble, self.is_client()) {
            (Some(TunnelTrouble::Client(at)), true) | (Some(TunnelTrouble::Server(at)), false) => Some(at),
            _ => None,
        };
        let max = resets_at.map_or(u64::MAX, |at| at.saturating_sub(self.writer.sent));
        if self.writer.pump(cx.net, self.end, cx.rng, max).is_err() {
            return self.over(cx, "broken");
        }
        if self.begun && resets_at.is_some_and(|at| self.writer.sent >= at) {
            cx.net.reset(self.end);
            return self.over(cx, "reset by plan");
        }
        if self.begun && self.writer.is_done() && !self.shut {
            self.shut = true;
            cx.net.shutdown(self.end);
        }
        match self.shut && self.ended {
            true => self.over(cx, "carried whole"),
            false => Alive::Yes,
        }
    }

    fn read(&mut self, cx: &mut Ctx<'_>) -> Alive {
        while !self.ended {
            let mut bytes = Vec::new();
            match cx.net.read(self.end, READ_MAX, &mut bytes) {
                Read::Bytes(_) => {}
                Read::Empty => return Alive::Yes,
                Read::End => {
                    self.ended = true;
                    self.check_end(cx);
                    break;
                }
                Read::Failed(_) => return self.over(cx, "broken"),
            }
            if let Err(why) = self.take(cx, &bytes) {
                cx.book.violation(format!("tcp {:?}, tunnel {:?}: {why}", self.end, self.id));
                cx.net.reset(self.end);
                return self.over(cx, "wrong");
            }
        }
        Alive::Yes
    }

    fn take(&mut self, cx: &mut Ctx<'_>, mut bytes: &[u8]) -> Result<(), String> {
        let intro = if self.is_client() { GREETING.len() } else { 8 };
        let missing = intro - self.intro.len();
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.intro.extend_from_slice(head);
        bytes = rest;
        if self.intro.len() == intro && !self.is_client() && self.id.is_none() {
            self.learn(cx)?;
        }
        if self.is_client() && !GREETING.starts_with(&self.intro) {
            return Err(format!("greeting {:?}", self.intro));
        }
        let Some(tunnel) = self.plan(cx) else { return Ok(()) };
        let id = self.id.unwrap_or(0);
        let (key, len) = match self.is_client() {
            true => (pattern::answer_key(id), tunnel.plan.down),
            false => (pattern::request_key(id), tunnel.plan.up),
        };
        if let Some(at) = pattern::mismatch(key, self.got, bytes) {
            return Err(format!("wrong byte {at}"));
        }
        self.got += bytes.len() as u64;
        if self.got > len { Err(format!("more than {len} bytes")) } else { Ok(()) }
    }

    /// The preamble is complete: which connection is this?
    fn learn(&mut self, cx: &mut Ctx<'_>) -> Result<(), String> {
        let number: [u8; 8] = self.intro.as_slice().try_into().map_err(|_| "a preamble of another length")?;
        let id = u64::from_be_bytes(number);
        let tunnel = cx.tunnels.get_mut(&id).ok_or(format!("tunnel {id} was never opened"))?;
        if tunnel.server.replace(self.end).is_some() {
            return Err("one client connection became two".into());
        }
        self.id = Some(id);
        Ok(())
    }

    /// An orderly end must not hide that bytes are missing.
    fn check_end(&mut self, cx: &mut Ctx<'_>) {
        let Some(tunnel) = self.plan(cx) else { return };
        let whole = match self.is_client() {
            true => tunnel.plan.down,
            false => tunnel.plan.up,
        };
        if self.got != whole && !self.excused(cx) {
            let text = format!("tunnel {:?}: {} of {whole} bytes, then an orderly end", self.id, self.got);
            cx.book.violation(text);
        }
    }

    /// The proxy may end it when it never got through to the server.
    fn excused(&self, cx: &Ctx<'_>) -> bool {
        self.is_client() && self.got == 0 && cx.book.rough
    }

    fn over(&mut self, cx: &mut Ctx<'_>, how: &'static str) -> Alive {
        cx.net.close(self.end);
        let id = self.id.unwrap_or(0);
        if let Some(tunnel) = cx.tunnels.get_mut(&id).filter(|_| self.is_client()) {
            tunnel.over = true;
            let server_broke = tunnel.server.is_some_and(|end| cx.net.is_broken(end));
            let excuse = tunnel.plan.trouble.is_some()
                || cx.net.is_broken(self.end)
                || server_broke
                || cx.book.rough
                || (how == "refused" && !cx.book.upheavals.is_empty());
            if how != "carried whole" && !excuse {
                cx.book.violation(format!("tunnel {id} was {how} without a reason"));
            }
        }
        if self.is_client() {
            cx.book.count("tunnels");
        }
        Alive::No
    }
}

/// What a server says first.
const GREETING: &[u8] = b"220 ready\r\n";
/// Bytes of one read.
const READ_MAX: usize = 32 << 10;
