//! What a worker shares with the control thread: a queue of commands in, statistics and log blocks out. No locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::{ArrayQueue, SegQueue};
use ringway_driver::{Handle, Waker};
use ringway_policy::snapshot::Snapshot;

use crate::stats::{Stats, StatsPage};

/// Log blocks on their way to the writer, per worker. More are dropped and their lines counted.
pub const LOG_BLOCKS_MAX: usize = 64;

/// What the control thread tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Serve from this snapshot from now on. Listeners that are new in it come with their socket, by name; those no longer in it
    /// are closed after their accept queue was emptied; the others are not touched.
    Publish {
        /// The new configuration.
        snapshot: Arc<Snapshot>,
        /// Listening sockets of listeners this worker does not have yet.
        listeners: Vec<(Arc<str>, Handle)>,
    },
    /// Empty the accept queues, close the listeners, finish what is active, close idle connections.
    Drain {
        /// Cut off what is still active after this.
        timeout_ms: u64,
    },
    /// End at once.
    Stop,
}

/// One worker's side towards the control thread. Shared by `Arc`.
pub struct Shared {
    commands: SegQueue<Command>,
    waker: OnceLock<Waker>,
    /// Counters and gauges, written by the worker only.
    pub stats: Stats,
    pages: SegQueue<Arc<StatsPage>>,
    retired: SegQueue<Arc<Snapshot>>,
    log_full: ArrayQueue<Vec<u8>>,
    log_empty: ArrayQueue<Vec<u8>>,
    log_notify: OnceLock<Waker>,
    log_enabled: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            commands: SegQueue::new(),
            waker: OnceLock::new(),
            stats: Stats::default(),
            pages: SegQueue::new(),
            retired: SegQueue::new(),
            log_full: ArrayQueue::new(LOG_BLOCKS_MAX),
            log_empty: ArrayQueue::new(LOG_BLOCKS_MAX),
            log_notify: OnceLock::new(),
            log_enabled: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// Sends a command and wakes the worker. Callable from any thread; commands are carried out in order, between turns.
    pub fn send(&self, command: Command) {
        self.commands.push(command);
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// The per-cluster and per-listener statistics published since the last call, newest last. A worker publishes a page whenever it
    /// takes a snapshot; counters of what both pages name are the same objects.
    pub fn take_pages(&self) -> Vec<Arc<StatsPage>> {
        std::iter::from_fn(|| self.pages.pop()).collect()
    }

    /// Snapshots the worker serves nothing from any more: dropping them here keeps that work off the worker.
    pub fn take_retired(&self) -> Vec<Arc<Snapshot>> {
        std::iter::from_fn(|| self.retired.pop()).collect()
    }

    /// Turns the access log on: `notify` is called (on the worker's thread; it must not block) when a block is ready.
    pub fn enable_log(&self, notify: Waker) {
        let _ = self.log_notify.set(notify);
        self.log_enabled.store(true, Ordering::Release);
    }

    /// The next block of complete log lines.
    pub fn take_log_block(&self) -> Option<Vec<u8>> {
        self.log_full.pop()
    }

    /// Gives a written block back for reuse.
    pub fn recycle_log_block(&self, mut block: Vec<u8>) {
        block.clear();
        let _ = self.log_empty.push(block);
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        let _ = self.waker.set(waker);
    }

    pub(crate) fn command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub(crate) fn publish_page(&self, page: Arc<StatsPage>) {
        self.pages.push(page);
    }

    pub(crate) fn retire(&self, snapshot: Arc<Snapshot>) {
        self.retired.push(snapshot);
    }

    pub(crate) fn log_is_enabled(&self) -> bool {
        self.log_enabled.load(Ordering::Acquire)
    }

    pub(crate) fn empty_log_block(&self) -> Option<Vec<u8>> {
        self.log_empty.pop()
    }

    /// Hands a block to the writer; gives it back when the writer is behind.
    pub(crate) fn push_log_block(&self, block: Vec<u8>) -> Result<(), Vec<u8>> {
        self.log_full.push(block)?;
        if let Some(notify) = self.log_notify.get() {
            notify.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_queue_gives_the_block_back() {
        let shared = Shared::default();
        for _ in 0..LOG_BLOCKS_MAX {
            assert!(shared.push_log_block(vec![b'x']).is_ok());
        }
        assert_eq!(shared.push_log_block(vec![b'y']), Err(vec![b'y']));
        shared.recycle_log_block(shared.take_log_block().expect("one is there"));
        assert_eq!(shared.empty_log_block().map(|b| (b.len(), b.capacity() > 0)), Some((0, true)));
    }

    #[test]
    fn commands_come_in_order() {
        let shared = Shared::default();
        shared.send(Command::Drain { timeout_ms: 1 });
        shared.send(Command::Stop);
        assert!(matches!(shared.command(), Some(Command::Drain { timeout_ms: 1 })));
        assert!(matches!(shared.command(), Some(Command::Stop)));
        assert!(shared.command().is_none());
    }
}
