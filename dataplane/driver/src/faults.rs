//! Faults injected below the system-call layer, for tests, per thread: a script consumed call by call, or random ones
//! that a kernel may produce at any time without changing the outcome.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use crate::sys::{Call, Fault};

thread_local! {
    static SCRIPT: RefCell<VecDeque<(Call, Option<Fault>)>> = const { RefCell::new(VecDeque::new()) };
    /// State of the random faults; 0 = off.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    static COUNTS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// One call in this many gets a random fault.
const RANDOM_ONE_IN: u64 = 5;

/// The fault for this call: the first script entry for its kind, which is consumed, or a random one.
pub(crate) fn next(call: Call) -> Option<Fault> {
    let scripted = SCRIPT.with_borrow_mut(|script| {
        let at = script.iter().position(|(c, _)| *c == call)?;
        script.remove(at)
    });
    match scripted {
        Some((_, fault)) => fault,
        None => random(call),
    }
}

/// Appends to the script of this thread. `None` lets one call through.
pub(crate) fn inject(call: Call, fault: Option<Fault>) {
    SCRIPT.with_borrow_mut(|script| script.push_back((call, fault)));
}

/// Script entries not consumed yet.
pub(crate) fn left() -> usize {
    SCRIPT.with_borrow(VecDeque::len)
}

/// Switches random faults on; 0 switches them off. Returns how many of each kind there were since the last time.
pub(crate) fn randomly(seed: u64) -> BTreeMap<&'static str, usize> {
    RANDOM.set(seed);
    COUNTS.take()
}

fn random(call: Call) -> Option<Fault> {
    let state = RANDOM.get();
    if state == 0 {
        return None;
    }
    let next = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
    RANDOM.set(next);
    let dice = next >> 33;
    if !dice.is_multiple_of(RANDOM_ONE_IN) {
        return None;
    }
    let short = Fault::Short(1 + (dice >> 8) as usize % 3_000);
    let (name, fault) = match (call, dice / RANDOM_ONE_IN % 2) {
        (Call::Wait, _) => ("EINTR in wait", Fault::Errno(libc::EINTR)),
        (Call::Accept, 0) => ("ECONNABORTED in accept", Fault::Errno(libc::ECONNABORTED)),
        (Call::Accept, _) => ("EINTR in accept", Fault::Errno(libc::EINTR)),
        (Call::Recv, 0) => ("EINTR in recv", Fault::Errno(libc::EINTR)),
        (Call::Recv, _) => ("short recv", short),
        (Call::Send, 0) => ("EINTR in send", Fault::Errno(libc::EINTR)),
        (Call::Send, _) => ("short send", short),
        (Call::Splice, 0) => ("EINTR in splice", Fault::Errno(libc::EINTR)),
        (Call::Splice, _) => ("short splice", short),
    };
    COUNTS.with_borrow_mut(|counts| *counts.entry(name).or_default() += 1);
    Some(fault)
}
