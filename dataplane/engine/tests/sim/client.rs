//! A scripted HTTP client: one connection, some exchanges on it, and its own habits of reading, waiting and leaving.

use std::collections::VecDeque;

use ringway_driver::sim::{EndId, Read};

use super::book::{Ending, Outcome, Seen};
use super::message::{Head, Incoming, Item, Side};
use super::pattern;
use super::peers::Ctx;
use super::plan::{Framing, Plan};
use super::writer::{Body, Writer};

/// How a client behaves on one connection.
#[derive(Debug)]
pub struct Script {
    pub todo: VecDeque<(u64, Plan)>,
    /// Requests sent before an answer is awaited.
    pub depth: usize,
    /// It reads at most this many bytes, then not for this long. Microseconds.
    pub reading: Option<(usize, u64)>,
    pub leave: Option<Leave>,
    /// Pause before each further request. Microseconds.
    pub pause_us: u64,
    /// It ends its direction behind the last request.
    pub half_close: bool,
}

/// A client that goes away in the middle.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    /// When it has sent, or got, so many bytes.
    pub sent: u64,
    pub got: u64,
    pub reset: bool,
}

/// A scripted client.
#[derive(Debug)]
pub struct Client {
    pub slot: usize,
    end: EndId,
    script: Script,
    writer: Writer,
    incoming: Incoming,
    /// Begun and not answered, oldest first.
    awaiting: VecDeque<u64>,
    /// The request being sent.
    sending: Option<u64>,
    answer: Option<Seen>,
    got: u64,
    /// The proxy announced (or an answer in the middle of our request implies) the end of the connection.
    announced: bool,
    /// Not before: the next request, the next read, the body without `100 Continue`.
    next_at: u64,
    read_at: u64,
    continue_at: Option<u64>,
    send_broken: bool,
    /// It asked for the end of the connection, or ended its direction: no further request.
    last: bool,
    shut: bool,
}

/// What a turn of a peer leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alive {
    Yes,
    No,
}

impl Client {
    pub fn new(slot: usize, end: EndId, script: Script) -> Client {
        Client {
            slot,
            end,
            script,
            writer: Writer::default(),
            incoming: Incoming::new(Side::Answers),
            awaiting: VecDeque::new(),
            sending: None,
            answer: None,
            got: 0,
            announced: false,
            next_at: 0,
            read_at: 0,
            continue_at: None,
            send_broken: false,
            last: false,
            shut: false,
        }
    }

    /// What it did not come to send.
    pub fn leftover(&mut self) -> VecDeque<(u64, Plan)> {
        std::mem::take(&mut self.script.todo)
    }

    /// Sends nothing new any more.
    pub fn wind_up(&mut self) {
        self.script.todo.clear();
    }

    pub fn act(&mut self, cx: &mut Ctx<'_>) -> Alive {
        match cx.net.connected(self.end) {
            None => return Alive::Yes,
            Some(Err(_)) => {
                cx.book.count("connects failed");
                cx.net.close(self.end);
                return Alive::No;
            }
            Some(Ok(())) => {}
        }
        if self.read(cx) == Alive::No || self.write(cx) == Alive::No || self.leaves(cx) == Alive::No {
            return Alive::No;
        }
        let idle = self.awaiting.is_empty() && self.sending.is_none();
        if idle && (self.script.todo.is_empty() || self.announced || self.last) {
            return self.finish(cx, Outcome::CutOff);
        }
        Alive::Yes
    }

    fn leaves(&mut self, cx: &mut Ctx<'_>) -> Alive {
        let Some(leave) = self.script.leave else { return Alive::Yes };
        if self.writer.sent < leave.sent && self.got < leave.got {
            return Alive::Yes;
        }
        cx.book.count(if leave.reset { "clients that reset" } else { "clients that left" });
        if leave.reset {
            cx.net.reset(self.end);
        }
        self.finish(cx, Outcome::Abandoned)
    }

    /// Closes; what was not answered ends so.
    fn finish(&mut self, cx: &mut Ctx<'_>, outcome: Outcome) -> Alive {
        let ending = Ending { broken: cx.net.is_broken(self.end), announced: self.announced };
        for (nth, id) in std::mem::take(&mut self.awaiting).into_iter().enumerate() {
            // The end of the connection ends what was sent behind the request it cut off, and an announced one what was sent behind
            // the answer that announced it; never that request or that answer itself.
            let announced = nth > 0 || (ending.announced && self.answer.is_none());
            if nth == 0
                && let Some(entry) = cx.book.entry(id)
            {
                entry.answer = self.answer.take();
            }
            cx.conclude(id, outcome, Ending { announced, ..ending });
        }
        cx.net.close(self.end);
        Alive::No
    }

    // --- sending ---

    fn write(&mut self, cx: &mut Ctx<'_>) -> Alive {
        let max = self.script.leave.map_or(u64::MAX, |l| l.sent);
        while !self.send_broken {
            if self.sending.is_none() && !self.begin(cx) {
                return Alive::Yes;
            }
            self.wait_for_continue(cx);
            let left = max.saturating_sub(self.writer.sent);
            if self.writer.pump(cx.net, self.end, cx.rng, left).is_err() {
                // What the proxy answered may still be there to read.
                self.send_broken = true;
                return Alive::Yes;
            }
            if !self.writer.is_done() {
                return Alive::Yes;
            }
            self.sent_all(cx);
        }
        Alive::Yes
    }

    fn begin(&mut self, cx: &mut Ctx<'_>) -> bool {
        let may = self.awaiting.len() < self.script.depth && !self.announced && !self.last;
        if !may || cx.net.now() < self.next_at {
            return false;
        }
        let Some((id, plan)) = self.script.todo.pop_front() else { return false };
        let body = match plan.framing {
            Framing::None | Framing::UntilClose => None,
            framing => {
                let trailer = framing == Framing::Chunked && id.is_multiple_of(7);
                Some(Body::new(pattern::request_key(id), plan.len, framing == Framing::Chunked, trailer))
            }
        };
        self.last = plan.close;
        self.writer.message(&plan.request_head(id, "sim.test"), body, plan.expect);
        self.sending = Some(id);
        self.awaiting.push_back(id);
        cx.book.begin(id, plan, self.end, cx.net.now());
        true
    }

    fn sent_all(&mut self, cx: &mut Ctx<'_>) {
        self.continue_at = None;
        if let Some(id) = self.sending.take()
            && let Some(entry) = cx.book.entry(id)
        {
            entry.sent_all = true;
        }
        if self.script.half_close && self.script.todo.is_empty() {
            (self.shut, self.last) = (true, true);
            cx.net.shutdown(self.end);
        }
    }

    /// RFC 9110 section 10.1.1: a client does not wait for ever.
    fn wait_for_continue(&mut self, cx: &mut Ctx<'_>) {
        if !self.writer.is_held() {
            return;
        }
        match self.continue_at {
            None => {
                let at = cx.net.now() + CONTINUE_AFTER;
                self.continue_at = Some(at);
                cx.wake_at(self.end, at);
            }
            Some(at) if cx.net.now() >= at => {
                cx.book.count("bodies sent without 100 Continue");
                self.writer.release();
            }
            Some(_) => {}
        }
    }

    // --- receiving ---

    fn read(&mut self, cx: &mut Ctx<'_>) -> Alive {
        loop {
            let now = cx.net.now();
            if now < self.read_at {
                return Alive::Yes;
            }
            let mut bytes = Vec::new();
            let most = self.script.reading.map_or(READ_MAX, |(most, _)| most);
            match cx.net.read(self.end, most, &mut bytes) {
                Read::Bytes(n) => self.got += n as u64,
                Read::Empty => return Alive::Yes,
                Read::End => return self.ended(cx),
                Read::Failed(_) => return self.finish(cx, Outcome::CutOff),
            }
            if let Some((_, pause)) = self.script.reading {
                self.read_at = now + pause;
                cx.wake_at(self.end, self.read_at);
            }
            self.incoming.feed(&bytes);
            if let Err(why) = self.take_items(cx) {
                cx.book.violation(format!("client {:?}, awaiting {:?}: {why}", self.end, self.awaiting));
                return self.finish(cx, Outcome::Abandoned);
            }
        }
    }

    fn ended(&mut self, cx: &mut Ctx<'_>) -> Alive {
        if self.incoming.ended() {
            if let Err(why) = self.take_items(cx) {
                cx.book.violation(format!("client {:?}: {why}", self.end));
            }
            let idle = self.awaiting.is_empty() && self.sending.is_none();
            let reason = self.announced || self.shut || cx.book.rough || cx.book.is_upheaval(cx.net.now());
            if idle && !reason {
                cx.book.violation(format!(
                    "client {:?}: an idle connection was closed without a reason",
                    self.end
                ));
            }
        }
        self.finish(cx, Outcome::CutOff)
    }

    fn take_items(&mut self, cx: &mut Ctx<'_>) -> Result<(), String> {
        loop {
            let front = self.awaiting.front().copied();
            let method = front.and_then(|id| cx.book.plan(id)).map_or("GET", |p| p.method);
            let Some(item) = self.incoming.next(method)? else { return Ok(()) };
            let id = front.ok_or_else(|| format!("an answer nobody asked for: {item:?}"))?;
            match item {
                Item::Head(head) => self.take_head(cx, id, &head)?,
                Item::Body(bytes) => self.take_body(cx, id, &bytes)?,
                Item::End => self.answered(cx, id),
            }
        }
    }

    fn take_head(&mut self, cx: &mut Ctx<'_>, id: u64, head: &Head) -> Result<(), String> {
        let plan = cx.book.plan(id).ok_or("an exchange without a plan")?;
        let (old, interim) = (plan.old, plan.answer.interim);
        let status = head.status();
        if status == 100 || status == 103 {
            if old {
                return Err(format!("an interim answer {status} to an HTTP/1.0 request"));
            }
            if status == 103 && interim == 0 {
                return Err("an interim answer the upstream never sent".into());
            }
            if status == 100 {
                cx.book.count("100 Continue");
                self.writer.release();
            }
            return Ok(());
        }
        let local = match head.field("x-answer") {
            Some(value) if value == id.to_string() => false,
            Some(value) => return Err(format!("the answer of exchange {value} came for exchange {id}")),
            None => true,
        };
        if head.count("x-hop") > 0 {
            return Err("a field for the proxy alone was passed on".into());
        }
        if old && head.count("transfer-encoding") > 0 {
            return Err("chunked to an HTTP/1.0 client".into());
        }
        let keeps = head.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("keep-alive"));
        self.announced |= head.closes() || (old && !keeps);
        self.answer = Some(Seen { status, local, body: 0, complete: false, at: cx.net.now() });
        Ok(())
    }

    fn take_body(&mut self, cx: &mut Ctx<'_>, id: u64, bytes: &[u8]) -> Result<(), String> {
        let seen = self.answer.as_mut().ok_or("a body without a head")?;
        if !seen.local
            && let Some(at) = pattern::mismatch(pattern::answer_key(id), seen.body, bytes)
        {
            return Err(format!("the answer's body of exchange {id} is wrong at byte {at}"));
        }
        seen.body += bytes.len() as u64;
        let len = cx.book.plan(id).map_or(0, Plan::answer_len);
        if !seen.local && seen.body > len {
            return Err(format!("the answer's body of exchange {id} is longer than {len} bytes"));
        }
        Ok(())
    }

    fn answered(&mut self, cx: &mut Ctx<'_>, id: u64) {
        self.awaiting.pop_front();
        if let Some(entry) = cx.book.entry(id) {
            let mut seen = self.answer.take();
            if let Some(seen) = &mut seen {
                seen.complete = true;
            }
            entry.answer = seen;
        }
        cx.conclude(id, Outcome::Answered, Ending::default());
        if self.sending == Some(id) {
            // Answered in the middle of the request: the connection may end any time.
            self.announced = true;
            if cx.rng.chance(500_000) || self.writer.is_held() {
                self.sending = None;
                self.writer.abandon();
                self.send_broken = true;
            }
        }
        self.next_at = cx.net.now() + self.script.pause_us;
        if self.script.pause_us > 0 {
            cx.wake_at(self.end, self.next_at);
        }
    }
}

/// Without `100 Continue` the body is sent after this. Microseconds.
const CONTINUE_AFTER: u64 = 1_000_000;
/// Bytes of one eager read.
const READ_MAX: usize = 32 << 10;
