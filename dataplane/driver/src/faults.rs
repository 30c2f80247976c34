//! Faults injected below the system-call layer, for tests: a script per thread, consumed call by call.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::sys::{Call, Fault};

thread_local! {
    static SCRIPT: RefCell<VecDeque<(Call, Option<Fault>)>> = const { RefCell::new(VecDeque::new()) };
}

/// The fault of the first script entry for this kind of call, which is consumed.
pub(crate) fn next(call: Call) -> Option<Fault> {
    SCRIPT.with_borrow_mut(|script| {
        let at = script.iter().position(|(c, _)| *c == call)?;
        script.remove(at)?.1
    })
}

/// Appends to the script of this thread. `None` lets one call through.
pub(crate) fn inject(call: Call, fault: Option<Fault>) {
    SCRIPT.with_borrow_mut(|script| script.push_back((call, fault)));
}

/// Entries not consumed yet.
pub(crate) fn left() -> usize {
    SCRIPT.with_borrow(VecDeque::len)
}
