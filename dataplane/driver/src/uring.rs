//! io_uring as a poller, with receives of its own for sessions that wait for short messages.
//!
//! Multishot receives into ring buffers serve request sockets; whatever does not fit that (bulk, too many undelivered
//! buffers, an empty ring, foreign descriptors) is watched by a multishot poll and read with recv(2) into one hot
//! buffer, which measures the same. Accepting is a poll as well: accept4 then gives the peer's address, and pausing is exact.
//! A descriptor is closed only after the last completion of its operations, so a completion always finds its socket.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::poller::{Applied, ERROR, Input, Interest, OUTPUT, Place, Poller, Raw, Token};
use crate::stream::Streams;
use crate::sys::Errno;
use crate::{Buf, DriverConfig, Micros, Pool, RECV_CREDIT, Sock};

mod buffers;
mod probe;

use buffers::{Buffers, GROUP};
pub(crate) use probe::self_test;

/// The io_uring driver of one thread.
pub type Uring = Streams<RingPoller>;

/// One ring and its buffers.
pub struct RingPoller {
    /// Declared before `buffers`: the kernel lets go of the memory before it is freed.
    ring: IoUring,
    buffers: Buffers,
    wake: RawFd,
    /// Submissions that found the queue full and the kernel busy.
    backlog: VecDeque<squeue::Entry>,
}

/// Operations under way for one descriptor, and what they brought.
#[derive(Default)]
pub struct Watch {
    /// Operations whose last completion is outstanding.
    operations: u8,
    poll_input: bool,
    poll_output: bool,
    /// Polls for room are multishot: a one-shot poll would be over at once.
    output_multishot: bool,
    /// A multishot receive is armed.
    receiving: bool,
    /// Its cancellation is under way.
    leaving: bool,
    /// No more multishot receives: recv(2).
    direct: bool,
    releasing: bool,
    /// Consecutive full ring buffers.
    fulls: u8,
    /// Received and not delivered.
    inbox: VecDeque<Buf>,
    /// How the stream ended: 0 or an errno.
    end: Option<Errno>,
}

/// Full ring buffers in a row after which a socket counts as bulk.
const FULLS_MAX: u8 = 2;
/// Completion queue entries per submission queue entry.
const COMPLETIONS_PER_ENTRY: u32 = 4;
/// Submissions tried before an entry goes to the backlog.
const PUSH_TRIES_MAX: usize = 3;

const POLL_INPUT: u8 = 0;
const POLL_OUTPUT: u8 = 1;
const RECEIVE: u8 = 2;
const LISTEN: u8 = 3;
const WAKE: u8 = 4;
const CANCEL: u8 = 5;
/// Bits of the slot number in the user data; the kind stands above it, the generation in the upper half.
const INDEX_BITS: u32 = 28;

impl RingPoller {
    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            for _ in 0..PUSH_TRIES_MAX {
                // SAFETY: no entry of this driver refers to memory but ring buffers, which outlive the ring.
                if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                    return;
                }
                self.submit();
            }
        }
        self.backlog.push_back(entry);
    }

    /// Hands the queue to the kernel and runs its deferred work. An error (EINTR, EBUSY, EAGAIN) leaves things for the next time.
    fn submit(&mut self) {
        let _ = self.ring.submit();
    }

    /// What has to happen before the kernel is asked for completions.
    fn prepare(&mut self) {
        self.buffers.recycle();
        for entry in std::mem::take(&mut self.backlog) {
            self.push(entry);
        }
    }

    fn watch_wake(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.wake), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(data(WAKE, Sock::NONE)));
    }

    fn poll_input(&mut self, place: Place, watch: &mut Watch) {
        watch.direct = true;
        if watch.poll_input || watch.receiving || watch.releasing {
            return;
        }
        watch.poll_input = true;
        watch.operations += 1;
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let poll = opcode::PollAdd::new(Fd(place.fd), events).multi(true);
        self.push(poll.build().user_data(data(POLL_INPUT, sock(place))));
    }

    fn poll_output(&mut self, place: Place, watch: &mut Watch) {
        if watch.poll_output || watch.releasing {
            return;
        }
        watch.poll_output = true;
        watch.operations += 1;
        let poll = opcode::PollAdd::new(Fd(place.fd), libc::POLLOUT as u32).multi(watch.output_multishot);
        self.push(poll.build().user_data(data(POLL_OUTPUT, sock(place))));
    }

    fn receive(&mut self, place: Place, watch: &mut Watch) {
        if watch.poll_input || watch.receiving || watch.releasing {
            return;
        }
        watch.receiving = true;
        watch.operations += 1;
        let receive = opcode::RecvMulti::new(Fd(place.fd), GROUP);
        self.push(receive.build().user_data(data(RECEIVE, sock(place))));
    }

    fn cancel(&mut self, kind: u8, place: Place) {
        // By user data: the kernel finds it by hash. By descriptor it would look at every operation of the ring.
        let target = CancelBuilder::user_data(data(kind, sock(place)));
        let cancel = opcode::AsyncCancel2::new(target).build();
        let quiet = cancel.flags(squeue::Flags::SKIP_SUCCESS);
        // Only a receive that was not found matters: it may be in the middle of receiving.
        let about = if kind == RECEIVE { sock(place) } else { Sock::NONE };
        self.push(quiet.user_data(data(CANCEL, about)));
    }

    fn leave(&mut self, place: Place, watch: &mut Watch) {
        watch.direct = true;
        if watch.receiving && !std::mem::replace(&mut watch.leaving, true) {
            self.cancel(RECEIVE, place);
        }
    }

    /// A completion of the multishot receive. Bytes may come with any of them, also with a cancelled one.
    fn received(&mut self, place: Place, watch: &mut Watch, raw: Raw) {
        if let Some(id) = cqueue::buffer_select(raw.flags) {
            let len = usize::try_from(raw.result).unwrap_or(0);
            let buf = self.buffers.claim(id, len);
            if len > 0 {
                let full = len == self.buffers.payload();
                watch.fulls = if full { watch.fulls.saturating_add(1) } else { 0 };
                watch.inbox.push_back(buf);
            }
        }
        if !cqueue::more(raw.flags) {
            watch.operations -= 1;
            (watch.receiving, watch.leaving) = (false, false);
            match -raw.result {
                0 => watch.end = Some(0),
                libc::ENOBUFS => {
                    self.buffers.grow();
                    watch.direct = true;
                }
                // Cancelled, or ended by the kernel for want of completion space: nothing was lost.
                ..0 | libc::ECANCELED | libc::EAGAIN | libc::EINTR => watch.direct = true,
                errno => watch.end = Some(errno),
            }
        } else if watch.direct || watch.fulls >= FULLS_MAX || watch.inbox.len() >= RECV_CREDIT {
            self.leave(place, watch);
        }
    }
}

impl Poller for RingPoller {
    type Watch = Watch;
    const NAME: &'static str = "uring";
    /// Blocking: the kernel would answer EAGAIN to receives on others. Direct calls say MSG_DONTWAIT.
    const ACCEPT_FLAGS: c_int = libc::SOCK_CLOEXEC;

    fn open(config: &DriverConfig, wake: RawFd, pool: &Pool) -> Result<RingPoller, Errno> {
        let ring = set_up(config.ring_entries.max(1)).map_err(|e| errno(&e))?;
        let buffers = Buffers::new(pool, config.small_buffers, config.ring_bytes_max);
        // SAFETY: the entries stay allocated until the ring is dropped, by the order of the fields.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.entries_address(),
                buffers.entries(),
                GROUP,
                0,
            )
        };
        registered.map_err(|e| errno(&e))?;
        let mut poller = RingPoller { ring, buffers, wake, backlog: VecDeque::new() };
        poller.watch_wake();
        Ok(poller)
    }
    fn foreign() -> Watch {
        Watch { direct: true, ..Watch::default() }
    }
    fn drained(&mut self) -> bool {
        self.ring.completion().is_empty()
    }
    fn poll(&mut self) {
        self.prepare();
        let queue = self.ring.submission();
        let work = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if work {
            self.submit();
        }
    }
    fn wait(&mut self, micros: Option<Micros>) {
        self.prepare();
        #[cfg(test)]
        if crate::faults::next(crate::sys::Call::Wait).is_some() {
            return;
        }
        // ETIME, EINTR and EBUSY all mean: look at what is there.
        let _ = match micros {
            None => self.ring.submit_and_wait(1),
            Some(micros) => {
                let nanos = (micros % 1_000_000 * 1_000) as u32;
                let timeout = Timespec::new().sec(micros / 1_000_000).nsec(nanos);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
    }
    fn take(&mut self) -> Option<Raw> {
        let entry = self.ring.completion().next()?;
        let (kind, sock) = parse(entry.user_data());
        let token = match kind {
            WAKE => Token::Wake,
            LISTEN => Token::Listener(sock.into()),
            _ => Token::Sock(sock),
        };
        if kind == WAKE && !cqueue::more(entry.flags()) {
            self.watch_wake();
        }
        Some(Raw { token, kind, result: entry.result(), flags: entry.flags() })
    }
    fn apply(&mut self, place: Place, watch: &mut Watch, raw: Raw) -> Applied {
        let mut applied = Applied::default();
        let over = !cqueue::more(raw.flags);
        match raw.kind {
            RECEIVE => {
                self.received(place, watch, raw);
                applied.input = true;
            }
            // Not found: either it is over, or it was running just then, and its next completion cancels it again.
            CANCEL => watch.leaving = false,
            _ => {
                applied.events = match raw.result {
                    events @ 0.. => events as u32,
                    _ if raw.result == -libc::ECANCELED => 0,
                    // A poll that failed otherwise: let a system call find out.
                    _ => ERROR | OUTPUT,
                };
                watch.operations -= u8::from(over);
                match raw.kind {
                    POLL_OUTPUT => {
                        watch.poll_output &= !over;
                        // The kernel adds RDHUP to what is asked for. After the peer's end it alone would complete every
                        // one-shot poll at once: no room, and no end of completions.
                        if over && raw.result > 0 && applied.events & (OUTPUT | ERROR) == 0 {
                            watch.output_multishot = true;
                            applied.events |= OUTPUT;
                        }
                    }
                    _ => watch.poll_input &= !over,
                }
            }
        }
        applied.released = watch.releasing && watch.operations == 0;
        if applied.released {
            watch.releasing = false;
        }
        applied
    }
    fn watch(&mut self, place: Place, watch: &mut Watch, interest: Interest) -> Result<(), Errno> {
        match interest {
            Interest::ShortInput if !watch.direct => self.receive(place, watch),
            Interest::ShortInput | Interest::Input => self.poll_input(place, watch),
            Interest::Both => {
                self.poll_output(place, watch);
                if !watch.receiving {
                    self.poll_input(place, watch);
                }
            }
        }
        Ok(())
    }
    fn unwatch_output(&mut self, _: Place, _: &mut Watch) {
        // The poll for room is over after one event, or kept because the peer has ended: then little is left to send.
    }
    fn watched(watch: &Watch) -> bool {
        watch.poll_input || watch.receiving
    }
    fn input(&mut self, watch: &mut Watch) -> Input {
        if let Some(buf) = watch.inbox.pop_front() {
            let more = !watch.inbox.is_empty() || !watch.receiving;
            return Input::Bytes(buf, more);
        }
        if watch.inbox.capacity() > RECV_CREDIT {
            // What a flood left behind.
            watch.inbox = VecDeque::new();
        }
        match watch.end {
            Some(0) => Input::End,
            Some(errno) => Input::Failed(errno),
            None if watch.receiving => Input::Nothing,
            None => Input::Direct,
        }
    }
    fn unread(&mut self, watch: &mut Watch, buf: Buf) {
        watch.inbox.push_front(buf);
    }
    fn read_directly(&mut self, place: Place, watch: &mut Watch) {
        self.leave(place, watch);
    }
    fn watch_listener(&mut self, place: Place, watch: &mut Watch) -> Result<(), Errno> {
        if !watch.poll_input && !watch.releasing {
            // One event per poll, and each poll looks at what already waits: level-triggered.
            watch.poll_input = true;
            watch.operations += 1;
            let poll = opcode::PollAdd::new(Fd(place.fd), libc::POLLIN as u32);
            self.push(poll.build().user_data(data(LISTEN, sock(place))));
        }
        Ok(())
    }
    fn pause_listener(&mut self, _: Place, _: &mut Watch) {
        // The one event that may still come is ignored.
    }
    fn release(&mut self, place: Place, watch: &mut Watch, _keep: bool) -> bool {
        if watch.operations == 0 {
            return true;
        }
        watch.releasing = true;
        if watch.poll_input {
            let kind = if matches!(place.token, Token::Listener(_)) { LISTEN } else { POLL_INPUT };
            self.cancel(kind, place);
        }
        if watch.poll_output {
            self.cancel(POLL_OUTPUT, place);
        }
        self.leave(place, watch);
        false
    }
}

impl Drop for RingPoller {
    fn drop(&mut self) {
        // No receive that is still armed may choose a buffer while the ring goes away.
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
    }
}

/// SINGLE_ISSUER and DEFER_TASKRUN (6.1) are worth two fifths of the CPU: without them epoll is the better driver.
fn set_up(entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(entries * COMPLETIONS_PER_ENTRY);
    let mut newest = builder.clone();
    match newest.setup_no_sqarray().build(entries) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => builder.build(entries),
        other => other,
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn sock(place: Place) -> Sock {
    match place.token {
        Token::Wake => Sock::NONE,
        Token::Listener(id) => id.into(),
        Token::Sock(sock) => sock,
    }
}

fn data(kind: u8, sock: Sock) -> u64 {
    let index = sock.index & ((1 << INDEX_BITS) - 1);
    u64::from(sock.generation) << 32 | u64::from(u32::from(kind) << INDEX_BITS | index)
}

fn parse(data: u64) -> (u8, Sock) {
    let low = data as u32;
    let sock = Sock { index: low & ((1 << INDEX_BITS) - 1), generation: (data >> 32) as u32 };
    ((low >> INDEX_BITS) as u8, sock)
}
