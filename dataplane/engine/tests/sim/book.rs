//! The oracle: what each exchange was to be, what both peers saw of it, and everything that must not be.

use std::collections::BTreeMap;

use ringway_driver::sim::EndId;

use super::config;
use super::plan::{Framing, Plan, Trouble};

/// The ledger of a run.
#[derive(Default)]
pub struct Book {
    entries: BTreeMap<u64, Entry>,
    pub violations: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    /// When a listener was removed or a drain began: what is begun right after may meet a closing connection.
    pub upheavals: Vec<u64>,
    /// Connects and answers may fail by themselves in this run.
    pub rough: bool,
}

/// One exchange.
pub struct Entry {
    pub plan: Plan,
    /// The client's end of the connection it was sent on.
    pub client: EndId,
    pub sent_at: u64,
    /// All of the request was handed to the network.
    pub sent_all: bool,
    /// Each time an upstream got its whole head.
    pub runs: Vec<Run>,
    pub answer: Option<Seen>,
    pub outcome: Option<Outcome>,
}

/// One arrival of a request at an upstream.
#[derive(Clone, Debug)]
pub struct Run {
    pub end: EndId,
    pub body: u64,
    pub complete: bool,
    /// Bytes of the answer handed to the network.
    pub answered: u64,
    /// The connection broke, by a fault or by the upstream's plan.
    pub broke: bool,
}

/// What the client saw of the answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub status: u16,
    /// Made by the proxy itself.
    pub local: bool,
    pub body: u64,
    pub complete: bool,
    pub at: u64,
}

/// How an exchange ended for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The answer came whole.
    Answered,
    /// The connection ended first.
    CutOff,
    /// The client went away by itself.
    Abandoned,
}

/// What the client's side knows when an exchange ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// A fault broke the client's connection.
    pub broken: bool,
    /// The end was announced with an earlier answer, or cut off an earlier request.
    pub announced: bool,
}

impl Book {
    pub fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub fn plan(&self, id: u64) -> Option<&Plan> {
        self.entries.get(&id).map(|e| &e.plan)
    }

    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    pub fn violation(&mut self, text: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(text);
        }
    }

    /// A client begins to send a request.
    pub fn begin(&mut self, id: u64, plan: Plan, client: EndId, now: u64) {
        self.count("exchanges");
        let entry = Entry {
            plan,
            client,
            sent_at: now,
            sent_all: false,
            runs: Vec::new(),
            answer: None,
            outcome: None,
        };
        if self.entries.insert(id, entry).is_some() {
            self.violation(format!("exchange {id} was begun twice: the harness is wrong"));
        }
    }

    /// A whole request head arrived at an upstream.
    pub fn arrived(&mut self, id: u64, run: Run, start: &str, hop_by_hop: bool) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return self.violation(format!("a request nobody sent arrived: {start:?}, exchange {id}"));
        };
        let wanted = format!("{} /x/{id} HTTP/1.1", entry.plan.method);
        let mut wrong = Vec::new();
        if start != wanted {
            wrong.push(format!("exchange {id} arrived as {start:?}, was sent as {wanted:?}"));
        }
        if hop_by_hop {
            wrong.push(format!("exchange {id}: a hop-by-hop field was passed on"));
        }
        if let Some(before) = entry.runs.last()
            && let Some(why) = entry.forbids_another(before)
        {
            wrong.push(format!("exchange {id} ({}) was executed again, {why}", entry.plan.method));
        }
        if entry.outcome == Some(Outcome::Answered) {
            wrong.push(format!("exchange {id} arrived after it was answered"));
        }
        entry.runs.push(run);
        let again = entry.runs.len() > 1;
        wrong.into_iter().for_each(|text| self.violation(text));
        if again {
            self.count("executed again");
        }
    }

    /// An exchange is over for its client. Judges it.
    pub fn conclude(&mut self, id: u64, outcome: Outcome, ending: Ending) {
        let rough = self.rough;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.outcome = Some(outcome);
        let verdict = match outcome {
            Outcome::Answered => entry.judge_answer(rough),
            Outcome::CutOff => entry.judge_cut(ending, rough),
            Outcome::Abandoned => Ok("abandoned by the client"),
        };
        match verdict {
            Ok(what) => self.count(what),
            Err(why) => {
                let text = format!("exchange {id}: {why}\n  {:?}", self.entries.get(&id).map(Entry::brief));
                self.violation(text);
            }
        }
    }

    /// Idle connections may be closed at that time.
    pub fn is_upheaval(&self, at: u64) -> bool {
        self.upheavals.iter().any(|t| (*t..*t + UPHEAVAL_FOR).contains(&at))
    }

    /// Notes which arrivals of an exchange were on connections that broke.
    pub fn note_broken(&mut self, id: u64, is_broken: impl Fn(EndId) -> bool) {
        for run in self.entries.get_mut(&id).into_iter().flat_map(|e| &mut e.runs) {
            run.broke |= is_broken(run.end);
        }
    }

    /// After everything has ended: no exchange is left hanging.
    pub fn close(&mut self) {
        let open: Vec<u64> =
            self.entries.iter().filter(|(_, e)| e.outcome.is_none()).map(|(id, _)| *id).collect();
        for id in open {
            self.violation(format!("exchange {id} was never answered nor cut off"));
        }
    }
}

impl Entry {
    /// Why the request must not be executed after that run; `None` when it may (once more, after a failure before any answer).
    fn forbids_another(&self, before: &Run) -> Option<&'static str> {
        if !self.plan.is_idempotent() {
            return Some("though it is not idempotent");
        }
        if self.runs.len() > RETRIES_MAX {
            return Some("more often than the retry rule allows");
        }
        (!before.broke).then_some("though nothing had failed")
    }

    fn judge_answer(&self, rough: bool) -> Result<&'static str, String> {
        let Some(seen) = &self.answer else { return Err("answered without an answer".into()) };
        if seen.local {
            return self.judge_local(seen, rough);
        }
        let answer = &self.plan.answer;
        if seen.status != answer.status {
            return Err(format!("status {} instead of {}", seen.status, answer.status));
        }
        if seen.body != self.plan.answer_len() {
            // Nobody can tell an early end from the end; an HTTP/1.0 client cannot even tell a break.
            let ended = matches!(answer.trouble, Some(Trouble::CloseAt(_)));
            let masked =
                answer.framing == Framing::UntilClose && (ended || (self.plan.old && self.failed_upstream()));
            return match masked {
                true => Ok("cut short, unseen by the client"),
                false => Err(format!("{} bytes of body instead of {}", seen.body, self.plan.answer_len())),
            };
        }
        let complete = self.runs.iter().any(|r| r.complete && r.body == self.plan.len);
        if !complete && !answer.early {
            return Err("answered although the upstream never had the whole request".into());
        }
        Ok("answered")
    }

    fn judge_local(&self, seen: &Seen, rough: bool) -> Result<&'static str, String> {
        if !matches!(seen.status, 408 | 502 | 503 | 504) {
            return Err(format!("a local reply {} to a good request", seen.status));
        }
        let limit = match seen.status {
            408 => config::HEADER_MS,
            504 => config::STREAM_IDLE_MS,
            _ => 0,
        };
        let took = seen.at - self.sent_at;
        if took < limit * 1_000 {
            return Err(format!("a local reply {} after only {took} us", seen.status));
        }
        match self.excuse(rough) {
            Some(excuse) => Ok(excuse),
            None => Err(format!("a local reply {} without a reason", seen.status)),
        }
    }

    fn judge_cut(&self, ending: Ending, rough: bool) -> Result<&'static str, String> {
        if ending.broken {
            return Ok("cut off: the client's connection broke");
        }
        if ending.announced {
            return match self.runs.is_empty() {
                true => Ok("not answered: behind the end of the connection"),
                // Answers that the network had delayed end with their connection.
                false if rough => Ok("cut off: the answer was lost with the connection"),
                false => {
                    Err("executed behind an announced end of the connection, or a broken exchange".into())
                }
            };
        }
        match self.excuse(rough) {
            Some(excuse) => Ok(excuse),
            None => Err("cut off without a reason".into()),
        }
    }

    fn failed_upstream(&self) -> bool {
        self.plan.answer.trouble.is_some() || self.runs.iter().any(|r| r.broke)
    }

    /// Why this exchange may fail.
    fn excuse(&self, rough: bool) -> Option<&'static str> {
        if self.failed_upstream() {
            return Some("failed: its upstream connection failed");
        }
        if self.runs.is_empty() && !(self.plan.is_idempotent() && self.plan.framing == Framing::None) {
            return Some("failed: it met a connection that was being closed, and cannot be repeated");
        }
        // A drain or a removed listener is no reason: what was begun on an open connection is answered.
        rough.then_some("failed: faults were about")
    }

    fn brief(&self) -> String {
        format!(
            "from {:?} at {}: {} {:?} {} B, answer {:?}; runs {:?}; seen {:?}",
            self.client,
            self.sent_at,
            self.plan.method,
            self.plan.framing,
            self.plan.len,
            self.plan.answer,
            self.runs,
            self.answer
        )
    }
}

/// An idle connection gets half a second after a removed listener or the beginning of a drain. Microseconds.
const UPHEAVAL_FOR: u64 = 2_000_000;
/// More are not kept: the first ones tell.
const VIOLATIONS_MAX: usize = 20;
/// The default retry rule: once.
const RETRIES_MAX: usize = 1;
