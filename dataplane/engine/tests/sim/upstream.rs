//! A scripted HTTP upstream: reads requests on its connections and answers each as its plan says.

use ringway_driver::sim::{EndId, Read};

use super::book::Run;
use super::client::Alive;
use super::message::{Head, Incoming, Item, Side};
use super::pattern;
use super::peers::Ctx;
use super::plan::{Framing, Plan, Then, Trouble};
use super::writer::{Body, Writer};

/// One connection of an upstream.
#[derive(Debug)]
pub struct Serving {
    end: EndId,
    incoming: Incoming,
    writer: Writer,
    current: Option<Current>,
    served: u64,
    /// It closes then, unless another request comes first.
    close_at: Option<u64>,
    /// It closes now: it said so.
    closing: bool,
    /// It reads on and says nothing, for ever.
    mute: bool,
    /// The request being read names no exchange.
    stranger: bool,
}

/// The request being served.
#[derive(Debug)]
struct Current {
    id: u64,
    /// Which arrival of it.
    run: usize,
    plan: Plan,
    body: u64,
    whole: bool,
    /// The answer begins then.
    answer_at: u64,
    answering: bool,
    /// `writer.sent` when the answer began.
    from: u64,
    /// The pace of the answer: bytes allowed so far, and when there are more.
    allowed: u64,
    more_at: u64,
}

impl Serving {
    pub fn new(end: EndId) -> Serving {
        Serving {
            end,
            incoming: Incoming::new(Side::Requests),
            writer: Writer::default(),
            current: None,
            served: 0,
            close_at: None,
            closing: false,
            mute: false,
            stranger: false,
        }
    }

    pub fn act(&mut self, cx: &mut Ctx<'_>) -> Alive {
        if self.read(cx) == Alive::No || self.answer(cx) == Alive::No {
            return Alive::No;
        }
        if self.closing {
            cx.net.close(self.end);
            return Alive::No;
        }
        match self.close_at {
            Some(at) if self.current.is_none() && cx.net.now() >= at => {
                cx.book.count("idle connections closed by upstreams");
                cx.net.close(self.end);
                Alive::No
            }
            _ => Alive::Yes,
        }
    }

    fn read(&mut self, cx: &mut Ctx<'_>) -> Alive {
        loop {
            let mut bytes = Vec::new();
            match cx.net.read(self.end, READ_MAX, &mut bytes) {
                Read::Bytes(_) => {}
                Read::Empty => return Alive::Yes,
                Read::End | Read::Failed(_) => return self.lost(cx),
            }
            self.incoming.feed(&bytes);
            if let Err(why) = self.take_items(cx) {
                cx.book.violation(format!("upstream {:?}: {why}", self.end));
                cx.net.reset(self.end);
                return Alive::No;
            }
        }
    }

    /// The proxy ended or broke the connection.
    fn lost(&mut self, cx: &mut Ctx<'_>) -> Alive {
        if self.current.is_none() && !self.incoming.is_idle() && !self.mute {
            cx.book.count("requests cut off in their head");
        }
        cx.net.close(self.end);
        Alive::No
    }

    fn note(&mut self, cx: &mut Ctx<'_>, change: impl FnOnce(&mut Run)) {
        if let Some(current) = &self.current
            && let Some(run) = cx.book.entry(current.id).and_then(|e| e.runs.get_mut(current.run))
        {
            change(run);
        }
    }

    fn take_items(&mut self, cx: &mut Ctx<'_>) -> Result<(), String> {
        while let Some(item) = self.incoming.next("")? {
            if self.mute {
                continue;
            }
            match item {
                Item::Head(head) => self.arrived(cx, &head)?,
                Item::Body(bytes) => self.take_body(cx, &bytes)?,
                Item::End if self.stranger => self.answer_stranger(),
                Item::End => self.complete(cx),
            }
        }
        Ok(())
    }

    fn arrived(&mut self, cx: &mut Ctx<'_>, head: &Head) -> Result<(), String> {
        if self.closing {
            return Err(format!("{:?} behind an announced end of the connection", head.start));
        }
        if let Some(current) = &self.current {
            return Err(format!("{:?} before exchange {} was answered", head.start, current.id));
        }
        if head.count("x-exchange") == 0 {
            // A mutation that was a good request.
            self.stranger = true;
            return Ok(());
        }
        let id = head
            .field("x-exchange")
            .and_then(|v| v.parse().ok())
            .ok_or(format!("{head:?} names no exchange"))?;
        let hop_by_hop = head.count("keep-alive") + head.count("upgrade") + head.count("x-hop") > 0;
        let run = Run { end: self.end, body: 0, complete: false, answered: 0, broke: false };
        cx.book.note_broken(id, |end| cx.net.is_broken(end));
        cx.book.arrived(id, run, &head.start, hop_by_hop);
        let entry = cx.book.entry(id).ok_or("a request nobody sent")?;
        let plan = entry.plan.clone();
        let framed = match plan.framing {
            Framing::Length => head.field("content-length") == Some(&plan.len.to_string()),
            Framing::Chunked => head.field("transfer-encoding") == Some("chunked"),
            Framing::None | Framing::UntilClose => head.count("transfer-encoding") == 0,
        };
        if !framed || head.count("host") != 1 {
            return Err(format!("exchange {id} is framed otherwise: {head:?}"));
        }
        if plan.expect && head.field("expect") == Some("100-continue") {
            self.writer.bytes(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.close_at = None;
        self.current = Some(Current {
            id,
            run: entry.runs.len() - 1,
            plan,
            body: 0,
            whole: false,
            answer_at: u64::MAX,
            answering: false,
            from: 0,
            allowed: 0,
            more_at: 0,
        });
        self.begin_answer_if_due(cx);
        Ok(())
    }

    /// A stranger's request is complete.
    fn answer_stranger(&mut self) {
        self.writer.bytes(b"HTTP/1.1 200 OK\r\nX-Stranger: yes\r\nContent-Length: 3\r\n\r\nyes");
        self.stranger = false;
    }

    fn take_body(&mut self, cx: &mut Ctx<'_>, bytes: &[u8]) -> Result<(), String> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if let Some(at) = pattern::mismatch(pattern::request_key(current.id), current.body, bytes) {
            return Err(format!("the request's body of exchange {} is wrong at byte {at}", current.id));
        }
        current.body += bytes.len() as u64;
        if current.body > current.plan.len {
            return Err(format!("the request's body of exchange {} is too long", current.id));
        }
        let body = current.body;
        self.note(cx, |run| run.body = body);
        Ok(())
    }

    fn complete(&mut self, cx: &mut Ctx<'_>) {
        let Some(current) = &mut self.current else { return };
        current.whole = true;
        let (short, id) = (current.body != current.plan.len, current.id);
        self.note(cx, |run| run.complete = true);
        if short {
            cx.book.violation(format!("the request's body of exchange {id} arrived whole, but short"));
        }
        self.begin_answer_if_due(cx);
        // An early answer may be over already; then the next request may be right behind.
        self.end_answer(cx);
    }

    fn begin_answer_if_due(&mut self, cx: &mut Ctx<'_>) {
        let Some(current) = &mut self.current else { return };
        if current.answer_at == u64::MAX && (current.whole || current.plan.answer.early) {
            current.answer_at = cx.net.now() + current.plan.answer.think_us;
            if current.plan.answer.think_us > 0 {
                cx.wake_at(self.end, current.answer_at);
            }
        }
    }

    // --- answering ---

    fn answer(&mut self, cx: &mut Ctx<'_>) -> Alive {
        let now = cx.net.now();
        if let Some(current) = &mut self.current
            && !current.answering
            && now >= current.answer_at
        {
            current.answering = true;
            current.from = self.writer.sent;
            self.write_answer();
        }
        let max = self.allowance(cx);
        if self.writer.pump(cx.net, self.end, cx.rng, max).is_err() {
            return self.lost(cx);
        }
        let Some(current) = &self.current else { return Alive::Yes };
        let paced = current.answering && current.plan.answer.pace.is_some();
        if paced && !self.writer.is_done() && self.writer.sent - current.from >= current.allowed {
            cx.wake_at(self.end, current.more_at.max(now + 1));
        }
        let (answered, answering) = (self.writer.sent - current.from, current.answering);
        if answering {
            self.note(cx, |run| run.answered = answered);
        }
        if self.trouble_is_due(answered) {
            return self.make_trouble(cx);
        }
        self.end_answer(cx);
        Alive::Yes
    }

    fn write_answer(&mut self) {
        let Some(current) = &self.current else { return };
        let (id, plan) = (current.id, &current.plan);
        if plan.answer.trouble == Some(Trouble::Garbage) {
            return self.writer.bytes(b"\x00\x01 this is no HTTP at all\r\n\r\n");
        }
        for _ in 0..plan.answer.interim {
            self.writer.bytes(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        }
        let body = (plan.answer_len() > 0 || plan.answer.framing == Framing::Chunked)
            .then(|| {
                Body::new(
                    pattern::answer_key(id),
                    plan.answer_len(),
                    plan.answer.framing == Framing::Chunked,
                    id.is_multiple_of(5),
                )
            })
            .filter(|_| plan.method != "HEAD");
        self.writer.message(&plan.answer_head(id), body, false);
    }

    /// How many bytes may be sent now.
    fn allowance(&mut self, cx: &mut Ctx<'_>) -> u64 {
        let Some(current) = &mut self.current else { return u64::MAX };
        if !current.answering {
            return u64::MAX;
        }
        let done = self.writer.sent - current.from;
        let mut max = u64::MAX;
        if let Some((piece, pause)) = current.plan.answer.pace {
            let now = cx.net.now();
            if now >= current.more_at && done >= current.allowed {
                current.allowed += piece;
                current.more_at = now + pause;
            }
            max = current.allowed.saturating_sub(done);
        }
        match current.plan.answer.trouble {
            Some(Trouble::ResetAt(at) | Trouble::CloseAt(at) | Trouble::StallAt(at)) => {
                max.min(at.saturating_sub(done))
            }
            _ => max,
        }
    }

    fn trouble_is_due(&self, answered: u64) -> bool {
        let Some(current) = self.current.as_ref().filter(|c| c.answering) else { return false };
        match current.plan.answer.trouble {
            None => false,
            // Longer than the answer: it happens at its end.
            Some(Trouble::ResetAt(at) | Trouble::CloseAt(at)) => answered >= at || self.writer.is_done(),
            Some(Trouble::StallAt(at)) => answered >= at && !self.writer.is_done(),
            Some(Trouble::Garbage) => self.writer.is_done(),
        }
    }

    fn make_trouble(&mut self, cx: &mut Ctx<'_>) -> Alive {
        self.note(cx, |run| run.broke = true);
        let trouble = self.current.take().and_then(|c| c.plan.answer.trouble);
        match trouble {
            Some(Trouble::StallAt(_)) => {
                cx.book.count("upstreams that stalled");
                self.writer.abandon();
                self.writer = Writer::default();
                self.mute = true;
                Alive::Yes
            }
            Some(Trouble::CloseAt(_)) => {
                cx.book.count("upstreams that closed");
                cx.net.close(self.end);
                Alive::No
            }
            _ => {
                cx.book.count("upstreams that reset or sent garbage");
                cx.net.reset(self.end);
                Alive::No
            }
        }
    }

    /// The request was read whole and answered whole: the connection is idle again, or closes.
    fn end_answer(&mut self, cx: &mut Ctx<'_>) {
        let over = |c: &mut Current| {
            let sound = matches!(c.plan.answer.trouble, None | Some(Trouble::StallAt(_)));
            c.answering && c.whole && sound
        };
        if !self.writer.is_done() {
            return;
        }
        let Some(current) = self.current.take_if(over) else { return };
        self.served += 1;
        match current.plan.answer.then {
            _ if current.plan.answer.framing == Framing::UntilClose => self.closing = true,
            Then::Close => self.closing = true,
            Then::CloseSilently(after) => {
                let at = cx.net.now() + after;
                self.close_at = Some(at);
                cx.wake_at(self.end, at);
            }
            Then::Keep => {}
        }
    }
}

/// Bytes of one read.
const READ_MAX: usize = 32 << 10;
