//! Bytes from one socket to another inside the kernel: splice(2) through a pooled pipe.

use super::*;

/// What one pipe holds at most; a user without the quota gets the kernel's default. Bytes.
const PIPE_BYTES: usize = 256 << 10;
/// Empty pipes kept for reuse.
const PIPES_MAX: usize = 16;
/// Pipefuls moved per event; the rest waits for the next turn.
const ROUNDS_MAX: usize = 4;

/// A pipe: (read end, write end).
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// Where the input of a socket goes.
pub(super) struct Splice {
    to: Sock,
    pipe: Pipe,
    /// Bytes in the pipe.
    held: usize,
    /// The source has ended; told when the pipe is empty.
    ended: bool,
    /// The source was paused: over when the pipe is empty.
    stopping: bool,
}

/// Why a pump stopped.
enum Stop {
    /// An event of either side starts it again.
    Wait,
    /// Its share of this turn is used up.
    Share,
    /// The source ended or broke, the pipe is empty.
    SourceOver(Option<Errno>),
    SinkBroken(Errno),
}

impl<P: Poller> Streams<P> {
    pub(super) fn start_splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        let open = |s: Option<&Socket<P>>| s.filter(|s| s.phase == Phase::Open).is_some();
        if from == to || !open(self.socks.at(from)) || !open(self.socks.at(to)) {
            return Err(IoError::Unsupported);
        }
        let sink = self.socks.at_mut(to).ok_or(IoError::Unsupported)?;
        if !sink.fed_by.is_none() || !sink.may_send() {
            return Err(IoError::Unsupported);
        }
        // splice(2) waits on a blocking socket whatever its flags say.
        sys::set_nonblocking(sink.raw())?;
        let s = self.socks.at_mut(from).ok_or(IoError::Unsupported)?;
        if s.splice.is_some() || s.ended || s.into.is_some() {
            return Err(IoError::Unsupported);
        }
        sys::set_nonblocking(s.raw())?;
        let pipe = match self.pipes.pop() {
            Some(pipe) => pipe,
            None => sys::pipe(PIPE_BYTES).map(|(out, into)| Pipe { out, into })?,
        };
        s.splice = Some(Box::new(Splice { to, pipe, held: 0, ended: false, stopping: false }));
        (s.reading, s.readable) = (true, true);
        let place = s.place(from);
        self.poller.read_directly(place, &mut s.watch);
        if let Some(sink) = self.socks.at_mut(to) {
            sink.fed_by = from;
        }
        self.list(from);
        Ok(())
    }

    /// Moves bytes as far as both sides allow, and reports what reached the sink.
    pub(super) fn pump(&mut self, from: Sock) {
        let Some(s) = self.socks.at_mut(from) else { return };
        let Some(mut splice) = s.splice.take() else { return };
        let to = splice.to;
        let mut moved = 0;
        let mut stop = Stop::Share;
        for _ in 0..ROUNDS_MAX {
            if let Err(why) = self.pump_round(from, &mut splice, &mut moved) {
                stop = why;
                break;
            }
        }
        if let Some(sink) = self.socks.at_mut(to) {
            sink.piped = splice.held > 0;
        }
        if moved > 0 {
            self.pending.push_back(Done::Spliced { from, bytes: moved });
        }
        let Some(s) = self.socks.at_mut(from) else { return };
        match stop {
            _ if splice.stopping && splice.held == 0 && !splice.ended => {
                self.finish_splice(from, *splice);
                // The session may want the rest itself by now.
                self.list(from);
            }
            Stop::Wait => s.splice = Some(splice),
            Stop::Share => {
                s.splice = Some(splice);
                self.list_later(from);
            }
            Stop::SourceOver(errno) => {
                let done = match errno {
                    None => s.end(from),
                    Some(errno) => s.fail(from, errno, &mut self.stock),
                };
                self.pending.push_back(done);
                self.finish_splice(from, *splice);
            }
            Stop::SinkBroken(errno) => {
                s.reading = false;
                self.finish_splice(from, *splice);
                if let Some(sink) = self.socks.at_mut(to) {
                    let unsent = sink.outbox.clear(&mut self.stock);
                    self.send_failed(to, errno, unsent);
                }
            }
        }
    }

    /// Empties the pipe into the sink, then fills it once from the source.
    fn pump_round(&mut self, from: Sock, splice: &mut Splice, moved: &mut u64) -> Result<(), Stop> {
        let sink = self.socks.at_mut(splice.to).ok_or(Stop::Wait)?;
        if !sink.outbox.settled() && splice.held == 0 {
            // What was queued before goes first; its end calls back.
            return Err(Stop::Wait);
        }
        while splice.held > 0 {
            match sys::splice(splice.pipe.out.as_raw_fd(), sink.raw(), splice.held) {
                Ok(n) => {
                    splice.held -= n;
                    *moved += n as u64;
                }
                Err(libc::EAGAIN) => {
                    self.watch(splice.to, Interest::Both);
                    return Err(Stop::Wait);
                }
                Err(errno) => return Err(Stop::SinkBroken(errno)),
            }
        }
        if splice.ended {
            return Err(Stop::SourceOver(None));
        }
        let s = self.socks.at_mut(from).ok_or(Stop::Wait)?;
        if splice.stopping || !s.readable {
            return Err(Stop::Wait);
        }
        match self.poller.input(&mut s.watch) {
            Input::Direct => {}
            Input::Bytes(buf, _) => return self.relay(splice.to, buf, moved),
            Input::Nothing => return Err(Stop::Wait),
            Input::End => return Err(Stop::SourceOver(None)),
            Input::Failed(errno) => return Err(Stop::SourceOver(Some(errno))),
        }
        match sys::splice(s.raw(), splice.pipe.into.as_raw_fd(), PIPE_BYTES) {
            Ok(0) => {
                splice.ended = true;
                Ok(())
            }
            Ok(n) => {
                splice.held = n;
                Ok(())
            }
            // The pipe was empty, so it is the socket that has nothing.
            Err(libc::EAGAIN) => {
                s.readable = false;
                if !s.watched() {
                    self.watch(from, Interest::Input);
                }
                Err(Stop::Wait)
            }
            Err(errno) => Err(Stop::SourceOver(Some(errno))),
        }
    }

    /// Bytes the poller had received before the splice began.
    fn relay(&mut self, to: Sock, buf: Buf, moved: &mut u64) -> Result<(), Stop> {
        *moved += buf.len() as u64;
        match self.send_now(to, buf.freeze(), Last::End) {
            Sent::All | Sent::Queued(_) => Ok(()),
            Sent::Failed(_) => Err(Stop::SinkBroken(libc::EPIPE)),
        }
    }

    /// `from` was paused: its splice is over as soon as the pipe is empty.
    pub(super) fn pause_splice(&mut self, from: Sock) {
        let Some(s) = self.socks.at_mut(from) else { return };
        let Some(mut splice) = s.splice.take() else { return };
        if splice.held == 0 && !splice.ended {
            return self.finish_splice(from, *splice);
        }
        splice.stopping = true;
        s.splice = Some(splice);
    }

    fn finish_splice(&mut self, from: Sock, splice: Splice) {
        if let Some(sink) = self.socks.at_mut(splice.to)
            && sink.fed_by == from
        {
            sink.fed_by = Sock::NONE;
            sink.piped = false;
            self.continue_queue(splice.to);
        }
        // A pipe with bytes in it is of no use to anybody else.
        if splice.held == 0 && self.pipes.len() < PIPES_MAX {
            self.pipes.push(splice.pipe);
        }
    }

    /// `sock` is closed or given away: no splice of either direction survives it.
    pub(super) fn end_splices(&mut self, sock: Sock) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let (fed_by, splice) = (s.fed_by, s.splice.take());
        if let Some(splice) = splice {
            self.finish_splice(sock, *splice);
        }
        if let Some(source) = self.socks.at_mut(fed_by)
            && let Some(splice) = source.splice.take()
        {
            source.reading = false;
            self.finish_splice(fed_by, *splice);
        }
    }
}
