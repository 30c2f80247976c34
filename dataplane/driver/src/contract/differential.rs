//! The same seeded operations over two connected sockets, on every backend: the same bytes, the same terminal events.
//!
//! After each operation the run waits for what the model says must arrive, so the outcome does not depend on timing.

use super::Backend;
use super::os::{OnEpoll, OnUring};
use super::rig::{Rig, pattern};
use super::sim::{OnRoughSim, OnSim};
use crate::{Class, Close, Driver, Last, Receive, Sent, Sock, faults};

/// Operations before the connection is closed in one of four ways.
const OPERATIONS: u32 = 40;
const SEEDS: u64 = 60;

#[test]
fn the_same_operations_have_the_same_outcome_everywhere() {
    for seed in 1..=SEEDS {
        let expected = outcome::<OnSim>(seed);
        assert_eq!(outcome::<OnEpoll>(seed), expected, "epoll differs from sim, seed {seed}");
        assert_eq!(outcome::<OnUring>(seed), expected, "uring differs from sim, seed {seed}");
        assert_eq!(outcome::<OnRoughSim>(seed), expected, "rough sim differs, seed {seed}");
    }
}

#[test]
fn faults_below_the_drivers_change_no_outcome() {
    for seed in 1..=SEEDS {
        let expected = outcome::<OnSim>(seed);
        faults::randomly(seed);
        let epoll = outcome::<OnEpoll>(seed);
        let on_epoll = faults::randomly(seed);
        let uring = outcome::<OnUring>(seed);
        let on_uring = faults::randomly(0);
        assert_eq!(epoll, expected, "epoll differs from sim, seed {seed}, {on_epoll:?}");
        assert_eq!(uring, expected, "uring differs from sim, seed {seed}, {on_uring:?}");
        assert!(!on_epoll.is_empty() && !on_uring.is_empty());
    }
}

/// Runs the operations of a seed; the text says all that must not differ.
fn outcome<B: Backend>(seed: u64) -> String {
    let mut run = Run::<B>::new(seed);
    for _ in 0..OPERATIONS {
        run.operation();
        run.settle();
    }
    run.end();
    let text = run.ends.each_ref().map(|end| end.describe()).join("; ");
    run.rig.finish();
    text
}

struct Run<B: Backend> {
    rig: Rig<B>,
    dice: u64,
    ends: [End; 2],
}

/// One end of the connection, as the model knows it.
struct End {
    sock: Sock,
    reading: bool,
    /// Everything this end sent.
    sent: Vec<u8>,
    fin: bool,
    /// Bytes received under earlier handles (before a detach).
    earlier: Vec<u8>,
    terminal: Vec<String>,
    received: Vec<u8>,
}

impl End {
    fn new(sock: Sock) -> End {
        let (sent, earlier, received) = (Vec::new(), Vec::new(), Vec::new());
        End { sock, reading: false, sent, fin: false, earlier, terminal: Vec::new(), received }
    }

    fn describe(&self) -> String {
        let hash = self.received.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{} bytes {hash:x} {}", self.received.len(), self.terminal.join(" "))
    }
}

impl<B: Backend> Run<B> {
    fn new(seed: u64) -> Run<B> {
        let mut rig = Rig::<B>::new();
        let (a, b) = rig.pair();
        Run { rig, dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, ends: [End::new(a), End::new(b)] }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % sides
    }

    fn operation(&mut self) {
        let side = self.roll(2) as usize;
        match self.roll(12) {
            0..=4 => self.send(side),
            5 | 6 => self.receive(side, if self.dice & 64 == 0 { Receive::Small } else { Receive::Large }),
            7 => self.receive_into(side),
            8 | 9 => self.pause(side),
            10 => self.move_over(side),
            _ if self.roll(4) == 0 => self.finish(side),
            _ => self.send(side),
        }
    }

    fn send(&mut self, side: usize) {
        let len = match self.roll(4) {
            0 => 1 + self.roll(60),
            1 | 2 => 1 + self.roll(9_000),
            _ => 1 + self.roll(200_000),
        };
        let way = self.roll(3);
        if self.ends[side].fin {
            return;
        }
        let bytes = pattern(len as usize, self.dice);
        let sock = self.ends[side].sock;
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let outcome = match way {
            0 => self.rig.send(sock, &bytes, Last::End),
            1 => {
                let _ = self.rig.send(sock, first, Last::More);
                self.rig.send(sock, second, Last::End)
            }
            _ => {
                for part in bytes.chunks(bytes.len().div_ceil(7)) {
                    let slice = self.rig.slice(part);
                    self.rig.driver.queue(sock, slice);
                }
                self.rig.driver.flush(sock, Last::End)
            }
        };
        assert!(!matches!(outcome, Sent::Failed(_)), "{outcome:?}");
        self.ends[side].sent.extend_from_slice(&bytes);
    }

    fn receive(&mut self, side: usize, size: Receive) {
        if !self.ended(side) {
            self.ends[side].reading = true;
            self.rig.recv(self.ends[side].sock, size);
        }
    }

    fn receive_into(&mut self, side: usize) {
        let filled = self.roll(4_000) as usize;
        if self.ended(side) {
            return;
        }
        let mut buf = self.rig.driver.pool().take(Class::K4);
        assert!(buf.append(&vec![1; filled]));
        self.ends[side].reading = true;
        self.rig.recv_into(self.ends[side].sock, buf);
    }

    fn pause(&mut self, side: usize) {
        self.ends[side].reading = false;
        drop(self.rig.pause(self.ends[side].sock));
    }

    fn finish(&mut self, side: usize) {
        let with_data = self.roll(2) == 0;
        if std::mem::replace(&mut self.ends[side].fin, true) {
            return;
        }
        let sock = self.ends[side].sock;
        if with_data {
            let _ = self.rig.send(sock, b"the end", Last::Fin);
            self.ends[side].sent.extend_from_slice(b"the end");
        } else {
            self.rig.driver.shutdown(sock);
        }
    }

    /// Detach and attach, where the model knows that nothing is under way in either direction.
    fn move_over(&mut self, side: usize) {
        let quiet = |run: &Self, to: usize| run.got(to) == run.ends[1 - to].sent.len();
        if !quiet(self, side) || !quiet(self, 1 - side) || self.ends.iter().any(|end| end.fin) {
            return;
        }
        let sock = self.ends[side].sock;
        self.ends[side].reading = false;
        drop(self.rig.pause(sock));
        let bytes = std::mem::take(&mut self.rig.saw(sock).bytes);
        self.ends[side].earlier.extend_from_slice(&bytes);
        self.rig.driver.detach(sock);
        self.rig.run("Detached", |r| !r.detached.is_empty());
        let (_, result) = self.rig.detached.remove(0);
        let moved = self.rig.driver.attach(result.expect("an idle connection")).expect("attached");
        self.rig.adopt(moved);
        self.ends[side].sock = moved;
    }

    fn got(&self, side: usize) -> usize {
        let end = &self.ends[side];
        end.earlier.len() + self.rig.seen[&end.sock].bytes.len()
    }

    fn ended(&self, side: usize) -> bool {
        self.rig.seen[&self.ends[side].sock].ended
    }

    /// Waits for what must arrive at every end that reads.
    fn settle(&mut self) {
        for side in [0, 1] {
            if !self.ends[side].reading {
                continue;
            }
            let sock = self.ends[side].sock;
            let due = self.ends[1 - side].sent.len() - self.ends[side].earlier.len();
            let fin = self.ends[1 - side].fin;
            self.rig.run("what was sent", |r| {
                let seen = &r.seen[&sock];
                seen.bytes.len() >= due && (seen.ended || !fin)
            });
            if self.ended(side) {
                self.ends[side].reading = false;
            }
        }
    }

    fn end(&mut self) {
        let way = self.roll(4);
        for side in [0, 1] {
            if side == 0 || way != 3 {
                self.receive(side, Receive::Large);
            } else {
                self.pause(side);
            }
        }
        self.settle();
        let [a, b] = [self.ends[0].sock, self.ends[1].sock];
        match way {
            0 => self.rig.close(a, Close::Graceful),
            // After an end there is nobody left to be told of a reset.
            1 if !self.ends[0].fin => {
                self.rig.close(a, Close::Reset);
                self.rig.run("the reset", |r| r.seen[&b].failed.is_some());
            }
            2 => {
                let deadline = self.rig.driver.now() + 20_000_000;
                self.rig.close(a, Close::Linger { bytes: 1 << 20, deadline });
                if !self.ends[1].fin {
                    assert_eq!(self.rig.send(b, &pattern(1_000, 1), Last::End), Sent::All);
                }
            }
            3 => {
                // The other end does not read while everything is sent and closed.
                for _ in 0..15 {
                    self.send(0);
                }
                self.rig.close(a, Close::Graceful);
                self.receive(1, Receive::Small);
            }
            _ => self.rig.close(a, Close::Graceful),
        }
        self.rig.run("the end of the other side", |r| r.seen[&b].ended || r.seen[&b].failed.is_some());
        self.rig.close(b, Close::Graceful);
        self.rig.run("both closed", |r| r.seen[&a].closed && r.seen[&b].closed);
        for side in [0, 1] {
            self.note(side);
        }
    }

    fn note(&mut self, side: usize) {
        let sent_to_it = self.ends[1 - side].sent.clone();
        let end = &mut self.ends[side];
        let seen = &self.rig.seen[&end.sock];
        end.received = end.earlier.iter().chain(&seen.bytes).copied().collect();
        assert!(sent_to_it.starts_with(&end.received), "bytes were lost, invented or swapped");
        end.terminal.extend(seen.ended.then(|| "ended".to_owned()));
        end.terminal.extend(seen.failed.map(|(error, unsent)| format!("failed {error:?} {unsent}")));
        end.terminal.extend(seen.closed.then(|| "closed".to_owned()));
    }
}
