//! What happened in a simulated network: a hash of all of it, and on request the last lines in words.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::Micros;

/// A hash over everything that happened, and on request the last lines of it.
pub(crate) struct Trace {
    pub(crate) hash: u64,
    pub(crate) lines_max: usize,
    pub(crate) lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines_max: 0, lines: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, now: Micros, what: &'static str, a: u64, b: u64) {
        for word in [now, what.len() as u64 ^ u64::from(what.as_bytes()[0]), a, b] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
        if self.lines_max > 0 {
            if self.lines.len() >= self.lines_max {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{now:>12} {what} {a} {b}"));
        }
    }
}
