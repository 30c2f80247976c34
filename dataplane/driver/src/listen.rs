//! Options of listening sockets that no safe crate offers. The sockets are bound by the process, not by a driver.

use std::os::fd::{AsRawFd, BorrowedFd};

/// TCP_DEFER_ACCEPT: a connection is handed over when its first bytes are there, or after `seconds`. For protocols in which the
/// client speaks first.
///
/// # Errors
/// What setsockopt(2) says; the socket must be a TCP socket.
pub fn defer_accept(socket: BorrowedFd<'_>, seconds: u32) -> std::io::Result<()> {
    let seconds = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
    set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)
}

/// SO_ATTACH_REUSEPORT_CBPF: of `sockets` listening on one address, numbered in the order in which they began to listen, the
/// kernel picks that of the CPU that took the packet, modulo `sockets`. Attaching to one of them serves all.
///
/// # Errors
/// What setsockopt(2) says; the socket must be bound with SO_REUSEPORT.
pub fn steer_by_cpu(socket: BorrowedFd<'_>, sockets: u32) -> std::io::Result<()> {
    let op = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, cpu),
        op(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets.max(1)),
        op(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Prepares a TCP listening socket for its close: what is under way is handed over at once (no TCP_DEFER_ACCEPT), new connection
/// requests are dropped, so that their clients try again elsewhere instead of being reset with the socket.
pub(crate) fn stop_new_connections(socket: BorrowedFd<'_>) -> std::io::Result<()> {
    defer_accept(socket, 0)?;
    // The filter sees segments from their TCP header on: byte 13 holds the flags; SYN without ACK asks for a connection.
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0x12),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 0x02),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> std::io::Result<()> {
    let (at, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the descriptor is open for the life of the borrow; `at` points to `len` readable bytes of `value`, and what a
    // filter program points to is alive in the caller. The kernel copies both before it returns.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, at, len) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    #[test]
    fn a_closing_listener_keeps_what_is_under_way_and_takes_nothing_new() {
        use std::io::{ErrorKind, Write};
        use std::time::Duration;
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binds");
        let at = listener.local_addr().expect("is bound");
        defer_accept(listener.as_fd(), 30).expect("is a TCP socket");
        listener.set_nonblocking(true).expect("is open");
        // Open for the client, withheld from us until it speaks.
        let mut early = std::net::TcpStream::connect(at).expect("the handshake is complete for the client");
        assert_eq!(listener.accept().map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
        stop_new_connections(listener.as_fd()).expect("takes the options");
        let late = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(50));
        assert_eq!(late.map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::TimedOut));
        early.write_all(b"hello").expect("is open");
        listener.set_nonblocking(false).expect("is open");
        let (_, peer) = listener.accept().expect("was kept");
        assert_eq!(Some(peer), early.local_addr().ok());
    }

    #[test]
    fn the_kernel_takes_both_options() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binds");
        defer_accept(listener.as_fd(), 1).expect("is a TCP socket");
        // The group is made by SO_REUSEPORT, which this socket lacks.
        assert!(steer_by_cpu(listener.as_fd(), 2).is_err());
        let not_tcp = std::os::unix::net::UnixDatagram::unbound().expect("opens");
        assert!(defer_accept(not_tcp.as_fd(), 1).is_err());
    }
}
