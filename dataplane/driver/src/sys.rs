//! The system calls of the OS drivers, each wrapped once: raw descriptors and buffers in, `Result` with an errno out.
//!
//! Nothing here keeps state. Tests inject faults below every wrapper (`faults`); release builds contain no trace of it.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::{IoError, Micros};

/// An errno value.
pub(crate) type Errno = i32;

/// The calls that faults can be injected below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Accept,
    Recv,
    Send,
    Wait,
    Splice,
}

/// What an injected fault does to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Fault {
    /// Fails without being made.
    Errno(Errno),
    /// Moves at most this many bytes.
    Short(usize),
}

#[cfg(not(test))]
#[inline(always)]
fn injected(_: Call) -> Option<Fault> {
    None
}

#[cfg(test)]
fn injected(call: Call) -> Option<Fault> {
    crate::faults::next(call)
}

/// Applies an injected fault to a length.
#[inline(always)]
fn limit(call: Call, len: usize) -> Result<usize, Errno> {
    match injected(call) {
        None => Ok(len),
        Some(Fault::Errno(e)) => Err(e),
        Some(Fault::Short(max)) => Ok(len.min(max)),
    }
}

/// The outcome of a receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// The buffer was filled: more may be waiting. Otherwise the socket is drained.
    pub(crate) full: bool,
}

fn errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn check_size(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| errno())
}

fn own(result: c_int) -> Result<OwnedFd, Errno> {
    let fd = check(result)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// recv(2), never blocking; repeated on EINTR.
///
/// # Safety
/// `at` must be valid for writes of `len` bytes during the call.
pub(crate) unsafe fn recv(fd: RawFd, at: *mut u8, len: usize, flags: c_int) -> Result<Received, Errno> {
    loop {
        let result = limit(Call::Recv, len).and_then(|len| {
            // SAFETY: the caller owns `at[..len]` for the duration of the call.
            let n = unsafe { libc::recv(fd, at.cast(), len, libc::MSG_DONTWAIT | flags) };
            check_size(n).map(|bytes| Received { bytes, full: bytes == len })
        });
        match result {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// send(2), never blocking, without SIGPIPE; repeated on EINTR.
pub(crate) fn send(fd: RawFd, bytes: &[u8], more: bool) -> Result<usize, Errno> {
    let flags = send_flags(more);
    loop {
        let result = limit(Call::Send, bytes.len()).and_then(|len| {
            // SAFETY: `bytes` is borrowed for the duration of the call and `len` is within it.
            check_size(unsafe { libc::send(fd, bytes.as_ptr().cast(), len, flags) })
        });
        match result {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// sendmsg(2) over several pieces, never blocking, without SIGPIPE; repeated on EINTR.
///
/// # Safety
/// Every piece must stay readable during the call.
pub(crate) unsafe fn send_pieces(fd: RawFd, pieces: &mut [libc::iovec], more: bool) -> Result<usize, Errno> {
    loop {
        let whole: usize = pieces.iter().map(|p| p.iov_len).sum();
        let result = limit(Call::Send, whole).and_then(|len| {
            if len < whole {
                let first = &pieces[0];
                // SAFETY: the caller keeps the first piece readable; an injected short send takes some of it.
                let n = unsafe { libc::send(fd, first.iov_base, len.min(first.iov_len), send_flags(more)) };
                return check_size(n);
            }
            // SAFETY: an all-zero msghdr is valid; the pieces are readable, as the caller promises.
            let n = unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = pieces.as_mut_ptr();
                message.msg_iovlen = pieces.len() as _;
                libc::sendmsg(fd, &message, send_flags(more))
            };
            check_size(n)
        });
        match result {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

fn send_flags(more: bool) -> c_int {
    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | if more { libc::MSG_MORE } else { 0 }
}

/// accept4(2): a connection and its peer's address as the kernel wrote it.
pub(crate) fn accept(listener: RawFd, peer: &mut RawAddr, flags: c_int) -> Result<OwnedFd, Errno> {
    loop {
        let result = limit(Call::Accept, 0).and_then(|_| {
            peer.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            // SAFETY: `peer` is writable for `len` bytes during the call.
            own(unsafe { libc::accept4(listener, (&raw mut peer.storage).cast(), &mut peer.len, flags) })
        });
        match result {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// A non-blocking, close-on-exec socket.
pub(crate) fn socket(domain: c_int, kind: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: plain call.
    own(unsafe { libc::socket(domain, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
}

/// bind(2).
pub(crate) fn bind(fd: RawFd, to: &RawAddr) -> Result<(), Errno> {
    // SAFETY: `to` is a valid address of `len` bytes.
    check(unsafe { libc::bind(fd, (&raw const to.storage).cast(), to.len) }).map(drop)
}

/// listen(2).
pub(crate) fn listen(fd: RawFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: plain call.
    check(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// connect(2); EINPROGRESS is `Ok(false)`, done at once is `Ok(true)`.
pub(crate) fn connect(fd: RawFd, to: &RawAddr) -> Result<bool, Errno> {
    // SAFETY: `to` is a valid address of `len` bytes.
    match check(unsafe { libc::connect(fd, (&raw const to.storage).cast(), to.len) }) {
        Ok(_) => Ok(true),
        // An interrupted connect goes on in the background, like EINPROGRESS.
        Err(libc::EINPROGRESS | libc::EINTR) => Ok(false),
        Err(e) => Err(e),
    }
}

/// recvmmsg(2), never blocking; repeated on EINTR.
///
/// # Safety
/// Names, pieces and controls of every message must be writable during the call.
pub(crate) unsafe fn receive_messages(fd: RawFd, messages: &mut [libc::mmsghdr]) -> Result<usize, Errno> {
    loop {
        let (at, count) = (messages.as_mut_ptr(), messages.len() as _);
        // SAFETY: as the caller promises; a null timeout is allowed.
        let n = unsafe { libc::recvmmsg(fd, at, count, libc::MSG_DONTWAIT as _, std::ptr::null_mut()) };
        match check(n) {
            Err(libc::EINTR) => {}
            other => return other.map(|n| n as usize),
        }
    }
}

/// sendmmsg(2), never blocking; repeated on EINTR.
///
/// # Safety
/// Names, pieces and controls of every message must be readable during the call.
pub(crate) unsafe fn send_messages(fd: RawFd, messages: &mut [libc::mmsghdr]) -> Result<usize, Errno> {
    loop {
        let (at, count) = (messages.as_mut_ptr(), messages.len() as _);
        // SAFETY: as the caller promises.
        let n = unsafe { libc::sendmmsg(fd, at, count, send_flags(false) as _) };
        match check(n) {
            Err(libc::EINTR) => {}
            other => return other.map(|n| n as usize),
        }
    }
}

/// sendto(2), never blocking.
pub(crate) fn send_datagram(fd: RawFd, bytes: &[u8], to: &RawAddr) -> Result<usize, Errno> {
    let address = (&raw const to.storage).cast();
    // SAFETY: `bytes` and `to` are borrowed for the duration of the call.
    let n =
        unsafe { libc::sendto(fd, bytes.as_ptr().cast(), bytes.len(), send_flags(false), address, to.len) };
    check_size(n)
}

/// shutdown(2) of our sending direction; an error means that the peer was faster.
pub(crate) fn shutdown_write(fd: RawFd) {
    // SAFETY: plain call.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Makes the coming close(2) send RST and drop what is unsent.
pub(crate) fn linger_zero(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// Sets an integer option. The error only matters to some callers.
pub(crate) fn set_int(fd: RawFd, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    set_option(fd, level, name, &value)
}

fn set_option<T>(fd: RawFd, level: c_int, name: c_int, value: &T) -> Result<(), Errno> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for its size.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), len) }).map(drop)
}

/// Takes the pending error of a socket (SO_ERROR); 0 = none.
pub(crate) fn take_error(fd: RawFd) -> Errno {
    int_option(fd, libc::SO_ERROR).unwrap_or_else(|e| e)
}

/// The address family of a socket (SO_DOMAIN).
pub(crate) fn domain(fd: RawFd) -> c_int {
    int_option(fd, libc::SO_DOMAIN).unwrap_or(libc::AF_UNSPEC)
}

fn int_option(fd: RawFd, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut len) };
    check(result).map(|_| value)
}

/// getsockname(2).
pub(crate) fn local_addr(fd: RawFd) -> Result<RawAddr, Errno> {
    let len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let mut addr = RawAddr { len, ..RawAddr::default() };
    // SAFETY: `addr` is writable for `len` bytes.
    check(unsafe { libc::getsockname(fd, (&raw mut addr.storage).cast(), &mut addr.len) })?;
    Ok(addr)
}

/// Sets O_NONBLOCK on a descriptor that came from elsewhere.
pub(crate) fn set_nonblocking(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: plain calls.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// A non-blocking pipe: (read end, write end).
pub(crate) fn pipe(bytes: usize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` holds two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    let pair = (own(ends[0])?, own(ends[1])?);
    // SAFETY: plain call. A refusal (the user's pipe quota) leaves the default size, which works too.
    unsafe { libc::fcntl(pair.1.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as c_int) };
    Ok(pair)
}

/// splice(2), never blocking; repeated on EINTR.
pub(crate) fn splice(from: RawFd, to: RawFd, len: usize) -> Result<usize, Errno> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    loop {
        let result = limit(Call::Splice, len).and_then(|len| {
            // SAFETY: null offsets are allowed for pipes and sockets.
            check_size(unsafe {
                libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), len, flags)
            })
        });
        match result {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// A non-blocking eventfd.
pub(crate) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: plain call.
    own(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

/// Adds 1 to an eventfd. It fails only at 2^64 - 2, when the reader is awake anyway.
pub(crate) fn eventfd_signal(fd: RawFd) {
    let one = 1u64;
    // SAFETY: `one` is readable for 8 bytes.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}

/// A new epoll instance.
pub(crate) fn epoll() -> Result<OwnedFd, Errno> {
    // SAFETY: plain call.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// epoll_ctl(2).
pub(crate) fn epoll_control(epoll: RawFd, op: c_int, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: `event` is readable during the call.
    check(unsafe { libc::epoll_ctl(epoll, op, fd, &mut event) }).map(drop)
}

/// Waits at most `micros` (`None`: for ever) and fills `events`. An interrupted wait returns 0 events.
pub(crate) fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], micros: Option<Micros>) -> usize {
    if injected(Call::Wait).is_some() {
        return 0;
    }
    let max = events.len() as c_int;
    let at = events.as_mut_ptr();
    let result = match micros {
        // SAFETY: `events` is writable for `max` entries during the call.
        None => unsafe { libc::epoll_wait(epoll, at, max, -1) },
        // SAFETY: as above.
        Some(0) => unsafe { libc::epoll_wait(epoll, at, max, 0) },
        // SAFETY: as above.
        Some(micros) => unsafe { epoll_wait_fine(epoll, at, max, micros) },
    };
    usize::try_from(result).unwrap_or(0)
}

/// epoll_pwait2 (Linux 5.11) with nanoseconds, or epoll_wait rounded up to milliseconds where that is missing.
///
/// # Safety
/// `at` must be writable for `max` entries.
unsafe fn epoll_wait_fine(epoll: RawFd, at: *mut libc::epoll_event, max: c_int, micros: Micros) -> c_int {
    let micros = micros.min(WAIT_MAX_US);
    // SAFETY: the timespec outlives the call; `at` as the caller promises; a null mask changes no signals.
    let result = unsafe {
        let timeout =
            libc::timespec { tv_sec: (micros / 1_000_000) as _, tv_nsec: (micros % 1_000_000 * 1_000) as _ };
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            at,
            max,
            &raw const timeout,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        ) as c_int
    };
    // Sandboxes answer EPERM to calls they do not know.
    if result < 0 && matches!(errno(), libc::ENOSYS | libc::EPERM) {
        // SAFETY: as above.
        return unsafe { libc::epoll_wait(epoll, at, max, micros.div_ceil(1_000) as c_int) };
    }
    result
}

/// The longest single wait; a longer one is just repeated. Microseconds.
const WAIT_MAX_US: Micros = 3_600_000_000;

fn clock(id: libc::clockid_t) -> Micros {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// CLOCK_MONOTONIC in microseconds.
pub(crate) fn monotonic() -> Micros {
    clock(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in microseconds.
pub(crate) fn realtime() -> Micros {
    clock(libc::CLOCK_REALTIME)
}

/// A socket address as the kernel reads and writes it.
pub(crate) struct RawAddr {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl Default for RawAddr {
    fn default() -> Self {
        // SAFETY: all-zero is a valid sockaddr_storage.
        RawAddr { storage: unsafe { std::mem::zeroed() }, len: 0 }
    }
}

impl From<Errno> for IoError {
    fn from(errno: Errno) -> IoError {
        match errno {
            libc::ECONNREFUSED => IoError::Refused,
            libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => IoError::Reset,
            libc::ETIMEDOUT => IoError::TimedOut,
            libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EADDRNOTAVAIL | libc::ENOENT => {
                IoError::Unreachable
            }
            libc::EMFILE | libc::ENFILE => IoError::Descriptors,
            libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN => IoError::Memory,
            other => IoError::Other(other),
        }
    }
}
