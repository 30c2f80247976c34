//! The clock of a turn: read once after each wait, so that all of a turn happens at one time.

use crate::Micros;
use crate::sys;

/// How long the offset between the two clocks is trusted (steps of the wall clock show after that). Microseconds.
const OFFSET_AGE_MAX_US: Micros = 1_000_000;

pub(crate) struct Clock {
    now: Micros,
    /// Wall clock minus monotonic clock; wraps when the wall clock was set to before boot.
    offset: u64,
    offset_read: Micros,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let now = sys::monotonic();
        Clock { now, offset: sys::realtime().wrapping_sub(now), offset_read: now }
    }

    /// Reads the clock.
    pub(crate) fn refresh(&mut self) -> Micros {
        self.now = sys::monotonic();
        if self.now - self.offset_read > OFFSET_AGE_MAX_US {
            self.offset = sys::realtime().wrapping_sub(self.now);
            self.offset_read = self.now;
        }
        self.now
    }

    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    pub(crate) fn unix_now(&self) -> u64 {
        self.now.wrapping_add(self.offset)
    }
}
