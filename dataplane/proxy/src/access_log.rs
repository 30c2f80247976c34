//! The access log's writer: a thread of its own that takes complete lines from the workers' rings and may block on a slow
//! disk or pipe. Workers never wait for it: what does not fit into their ring is dropped there, and counted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_driver::Waker;
use ringway_engine::Shared;

/// How long the end of the process waits for the last lines to be written.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// A running writer.
pub struct Writer {
    orders: Sender<Order>,
    done: Receiver<()>,
    waker: Waker,
    failed: Arc<AtomicU64>,
}

enum Order {
    /// Take lines from this worker too.
    Attach(Arc<Shared>),
    /// Write there from now on (`None` = standard output).
    Output(Option<Arc<str>>),
    /// Open the file again: it was moved away.
    Reopen,
    /// Write what is left, then end.
    Finish,
}

impl Writer {
    /// Opens the log and starts the thread. Errors when the file cannot be opened.
    pub fn start(path: Option<Arc<str>>) -> std::io::Result<Writer> {
        let output = Output::open(path)?;
        let (orders, inbox) = channel();
        let (finished, done) = channel();
        let failed = Arc::new(AtomicU64::new(0));
        let counter = failed.clone();
        let thread: JoinHandle<()> =
            std::thread::Builder::new().name("ringway-log".to_string()).spawn(move || {
                run(output, &inbox, &counter);
                let _ = finished.send(());
            })?;
        let thread = thread.thread().clone();
        Ok(Writer { orders, done, waker: Waker::new(move || thread.unpark()), failed })
    }

    /// Takes lines from one more worker.
    pub fn attach(&self, worker: &Arc<Shared>) {
        worker.enable_log(self.waker.clone());
        self.order(Order::Attach(worker.clone()));
    }

    /// Writes to another file from now on.
    pub fn redirect(&self, path: Option<Arc<str>>) {
        self.order(Order::Output(path));
    }

    /// Opens the file again (SIGUSR1).
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Blocks lost because they could not be written.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends; gives up on a reader that does not read.
    pub fn finish(self) {
        self.order(Order::Finish);
        let _ = self.done.recv_timeout(FINISH_MAX);
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

fn run(mut output: Output, inbox: &Receiver<Order>, failed: &AtomicU64) {
    let mut workers: Vec<Arc<Shared>> = Vec::new();
    let mut finishing = false;
    loop {
        loop {
            match inbox.try_recv() {
                Ok(Order::Attach(worker)) => workers.push(worker),
                Ok(Order::Output(path)) => output.replace(path),
                Ok(Order::Reopen) => output.replace(output.path.clone()),
                Ok(Order::Finish) | Err(TryRecvError::Disconnected) => finishing = true,
                Err(TryRecvError::Empty) => break,
            }
            if finishing {
                break;
            }
        }
        let idle = !write_waiting(&workers, &mut output, failed);
        if idle {
            // A worker that is gone leaves its ring to us alone: once empty, it stays so.
            workers.retain(|worker| Arc::strong_count(worker) > 1);
        }
        match (idle, finishing) {
            (true, true) => return,
            // A wake-up since the last look makes this return at once.
            (true, false) => std::thread::park(),
            (false, _) => {}
        }
    }
}

/// Writes one block of each worker; false when there was none.
fn write_waiting(workers: &[Arc<Shared>], output: &mut Output, failed: &AtomicU64) -> bool {
    let mut any = false;
    for worker in workers {
        if let Some(block) = worker.take_log_block() {
            any = true;
            if !output.write(&block) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            worker.recycle_log_block(block);
        }
    }
    any
}

struct Output {
    path: Option<Arc<str>>,
    file: Option<File>,
    broken: bool,
}

impl Output {
    fn open(path: Option<Arc<str>>) -> std::io::Result<Output> {
        let file = match &path {
            Some(path) => Some(OpenOptions::new().append(true).create(true).open(&**path)?),
            None => None,
        };
        Ok(Output { path, file, broken: false })
    }

    /// Opens another file; on failure the present one stays in use.
    fn replace(&mut self, path: Option<Arc<str>>) {
        let shown = path.as_deref().unwrap_or("standard output").to_string();
        match Output::open(path) {
            Ok(output) => *self = output,
            Err(error) => {
                crate::error!("access log {shown} cannot be opened, the old one stays in use: {error}")
            }
        }
    }

    fn write(&mut self, block: &[u8]) -> bool {
        let result = match &mut self.file {
            Some(file) => file.write_all(block),
            None => std::io::stdout().lock().write_all(block).and_then(|()| std::io::stdout().flush()),
        };
        if let Err(error) = &result
            && !self.broken
        {
            let path = self.path.as_deref().unwrap_or("standard output");
            crate::error!("access log {path}: {error}; lines are lost until it can be written again");
        }
        self.broken = result.is_err();
        result.is_ok()
    }
}
