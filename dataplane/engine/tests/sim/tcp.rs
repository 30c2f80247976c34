//! Scripted peers of an opaque TCP listener, or of an upgraded HTTP connection: introductions (PROXY protocol, the upgrade), a
//! greeting from the server, then bytes both ways, each direction ended by itself.

use std::collections::{BTreeMap, VecDeque};

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
    /// It begins as an HTTP request for an upgrade.
    pub upgrade: bool,
    /// The client's address comes in a PROXY protocol header.
    pub proxied: bool,
    pub trouble: Option<TunnelTrouble>,
}

/// What comes before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A PROXY protocol header, version 1 or 2.
    ProxyV1,
    ProxyV2,
    /// An HTTP head.
    Head,
    /// The server's greeting, or the client's number.
    Greeting,
    Number,
}

/// How the proxy introduces clients to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduces {
    Not,
    V1,
    V2,
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
    pub fn draw(rng: &mut Rng, trouble_ppm: u32, upgrade: bool, proxied: bool) -> TunnelPlan {
        let (up, down) = (rng.magnitude(200_000), rng.magnitude(200_000));
        let trouble = rng.chance(trouble_ppm).then(|| match rng.chance(500_000) {
            true => TunnelTrouble::Client(rng.magnitude(up)),
            false => TunnelTrouble::Server(rng.magnitude(down)),
        });
        TunnelPlan { up, down, answers: rng.chance(300_000), upgrade, proxied, trouble }
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
    /// Its own bytes are on their way, behind so many of its introduction.
    begun: bool,
    base: u64,
    /// The upgrade was refused: whatever comes is not for us.
    refused: bool,
    shut: bool,
    ended: bool,
    /// What comes before the bytes, and what was read of it.
    stages: VecDeque<Stage>,
    intro: Vec<u8>,
    got: u64,
    introduced_as: Option<Vec<u8>>,
}

impl TcpPeer {
    pub fn client(slot: usize, end: EndId, id: u64, plan: &TunnelPlan) -> TcpPeer {
        let mut stages = VecDeque::from([Stage::Greeting]);
        let mut writer = Writer::default();
        if plan.proxied {
            writer.bytes(PROXY_V1);
        }
        if plan.upgrade {
            stages.push_front(Stage::Head);
            let fields =
                "Host: sim.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAA";
            writer.bytes(format!("GET /ws/{id} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
        }
        TcpPeer::new(end, Some(slot), Some(id), stages, writer)
    }

    pub fn server(end: EndId, upgrade: bool, introduces: Introduces) -> TcpPeer {
        let mut stages = VecDeque::new();
        match introduces {
            Introduces::Not => {}
            Introduces::V1 => stages.push_back(Stage::ProxyV1),
            Introduces::V2 => stages.push_back(Stage::ProxyV2),
        }
        let mut writer = Writer::default();
        match upgrade {
            true => stages.push_back(Stage::Head),
            false => writer.bytes(GREETING),
        }
        stages.push_back(Stage::Number);
        TcpPeer::new(end, None, None, stages, writer)
    }

    fn new(
        end: EndId,
        slot: Option<usize>,
        id: Option<u64>,
        stages: VecDeque<Stage>,
        writer: Writer,
    ) -> TcpPeer {
        TcpPeer {
            end,
            slot,
            id,
            writer,
            begun: false,
            base: 0,
            refused: false,
            shut: false,
            ended: false,
            stages,
            intro: Vec::new(),
            got: 0,
            introduced_as: None,
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
        let Some(tunnel) = self.plan(cx) else { return };
        let waits = !self.is_client() && tunnel.plan.answers && !self.ended;
        if self.begun || waits || self.stages.contains(&Stage::Head) {
            return;
        }
        let id = self.id.unwrap_or(0);
        let (key, len) = match self.is_client() {
            true => (pattern::request_key(id), tunnel.plan.up),
            false => (pattern::answer_key(id), tunnel.plan.down),
        };
        (self.begun, self.base) = (true, self.writer.sent);
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
        let sent = if self.begun { self.writer.sent - self.base } else { 0 };
        let max = match resets_at {
            Some(at) if self.begun => at.saturating_sub(sent),
            _ => u64::MAX,
        };
        if self.writer.pump(cx.net, self.end, cx.rng, max).is_err() {
            return self.over(cx, "broken");
        }
        if self.begun && resets_at.is_some_and(|at| self.writer.sent - self.base >= at) {
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
                    if !self.stages.is_empty() && self.is_client() {
                        return self.over(cx, "ended before its greeting");
                    }
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

    fn take(&mut self, cx: &mut Ctx<'_>, bytes: &[u8]) -> Result<(), String> {
        let mut bytes = bytes.to_vec();
        if !self.stages.is_empty() {
            self.intro.append(&mut bytes);
            while let Some(stage) = self.stages.front().copied() {
                let Some(len) = length_of(stage, &self.intro) else { return Ok(()) };
                let piece: Vec<u8> = self.intro.drain(..len).collect();
                self.stages.pop_front();
                self.pass_stage(cx, stage, piece)?;
            }
            bytes = std::mem::take(&mut self.intro);
        }
        if self.refused {
            return Ok(());
        }
        let Some(tunnel) = self.plan(cx) else { return Ok(()) };
        let id = self.id.unwrap_or(0);
        let (key, len) = match self.is_client() {
            true => (pattern::answer_key(id), tunnel.plan.down),
            false => (pattern::request_key(id), tunnel.plan.up),
        };
        if let Some(at) = pattern::mismatch(key, self.got, &bytes) {
            return Err(format!("wrong byte {at}"));
        }
        self.got += bytes.len() as u64;
        if self.got > len { Err(format!("more than {len} bytes")) } else { Ok(()) }
    }

    fn pass_stage(&mut self, cx: &mut Ctx<'_>, stage: Stage, piece: Vec<u8>) -> Result<(), String> {
        match stage {
            Stage::ProxyV1 | Stage::ProxyV2 => self.introduced_as = Some(piece),
            Stage::Head if self.is_client() => {
                let head = String::from_utf8_lossy(&piece).to_ascii_lowercase();
                if !head.starts_with("http/1.1 101 ") || !head.contains("\r\nupgrade: websocket\r\n") {
                    return match cx.book.rough && [" 408 ", " 502 ", " 503 ", " 504 "].contains(&&head[8..13])
                    {
                        true => {
                            self.refused(cx);
                            Ok(())
                        }
                        false => Err(format!("upgrade answered {head:?}")),
                    };
                }
            }
            Stage::Head => {
                let head = String::from_utf8_lossy(&piece).to_ascii_lowercase();
                if !head.starts_with("get /ws/") || !head.contains("\r\nupgrade: websocket\r\n") {
                    return Err(format!("an upgrade arrived as {head:?}"));
                }
                self.writer.bytes(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                );
                self.writer.bytes(GREETING);
            }
            Stage::Greeting if piece != GREETING => return Err(format!("greeting {piece:?}")),
            Stage::Greeting => {}
            Stage::Number => self.learn(cx, &piece)?,
        }
        Ok(())
    }

    /// The upgrade failed: nothing follows.
    fn refused(&mut self, cx: &mut Ctx<'_>) {
        cx.book.count("upgrades refused");
        cx.net.shutdown(self.end);
        (self.refused, self.begun, self.shut) = (true, true, true);
        self.stages.clear();
    }

    /// The preamble is complete: which connection is this?
    fn learn(&mut self, cx: &mut Ctx<'_>, number: &[u8]) -> Result<(), String> {
        let number: [u8; 8] = number.try_into().map_err(|_| "a preamble of another length")?;
        let id = u64::from_be_bytes(number);
        let tunnel = cx.tunnels.get_mut(&id).ok_or(format!("tunnel {id} was never opened"))?;
        if tunnel.server.replace(self.end).is_some() {
            return Err("one client connection became two".into());
        }
        if let Some(header) = &self.introduced_as
            && !is_introduction(header, tunnel.plan.proxied)
        {
            return Err(format!("introduced by {header:?}"));
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
        if self.got != whole && !self.refused && !self.excused(cx) {
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
                || self.refused
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

/// How many bytes of `read` that stage takes; `None` = it is not complete.
fn length_of(stage: Stage, read: &[u8]) -> Option<usize> {
    let ends = |mark: &[u8]| read.windows(mark.len()).position(|w| w == mark).map(|at| at + mark.len());
    let len = match stage {
        Stage::ProxyV1 => ends(b"\r\n")?,
        // proxy-protocol.txt section 2.2. Twelve bytes of signature, two of command and family, then the length.
        Stage::ProxyV2 => 16 + usize::from(u16::from_be_bytes([*read.get(14)?, *read.get(15)?])),
        Stage::Head => ends(b"\r\n\r\n")?,
        Stage::Greeting => GREETING.len(),
        Stage::Number => 8,
    };
    (read.len() >= len).then_some(len)
}

/// A PROXY protocol header names the client: as the client's own header does, or by its connection.
fn is_introduction(header: &[u8], proxied: bool) -> bool {
    let (text, address): (&[u8], &[u8]) = match proxied {
        true => (b"PROXY TCP4 10.1.2.3 10.4.5.6 1111 2222\r\n", &[10, 1, 2, 3, 10, 4, 5, 6, 4, 87, 8, 174]),
        false => (b"PROXY TCP4 127.0.0.1 127.0.0.1 ", &[127, 0, 0, 1, 127, 0, 0, 1]),
    };
    match header.starts_with(b"PROXY") {
        true => header.starts_with(text),
        false => header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11") && header[16..].starts_with(address),
    }
}

/// A client's own introduction.
const PROXY_V1: &[u8] = b"PROXY TCP4 10.1.2.3 10.4.5.6 1111 2222\r\n";
/// What a server says first.
const GREETING: &[u8] = b"220 ready\r\n";
/// Bytes of one read.
const READ_MAX: usize = 32 << 10;
