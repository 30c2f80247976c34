//! Waiting for another process: the only place that sleeps.

use std::time::{Duration, Instant};

/// Between two looks at what another process does.
pub const LOOK: Duration = Duration::from_millis(1);

/// Looks at `done` until it is true or `patience` is over; says which.
pub fn until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        pause(LOOK);
    }
}

/// Lets this much time pass: the measured window of a load that runs elsewhere, or a paced peer.
#[expect(
    clippy::disallowed_methods,
    reason = "a measured window is time, and other processes send no events"
)]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
