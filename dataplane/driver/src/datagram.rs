//! Batches of datagrams: recvmmsg(2) and sendmmsg(2) with local address, ECN and segment size (UDP GRO and GSO).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::sys::{self, Errno, RawAddr};
use crate::{Addr, Buf, Class, Datagram, Pool, rawaddr};

/// Messages per system call. A received message can carry 64 KiB of segments, so each has a large buffer.
pub(crate) const BATCH: usize = 8;
/// Room for the control messages of one datagram; ours take under 100 bytes.
const CONTROL_BYTES: usize = 128;
/// Sends repeated because of an earlier datagram's ICMP error.
const REPORTED_MAX: usize = 4;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// Asks the kernel for what `receive` reads. Options an older kernel lacks are done without.
pub(crate) fn prepare(fd: RawFd) {
    let _ = sys::set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    let _ = sys::set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    let _ = sys::set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1);
    if sys::domain(fd) == libc::AF_INET6 {
        let _ = sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
        let _ = sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1);
    }
}

/// Receives up to [`BATCH`] messages; fewer means drained. EAGAIN when there is none.
pub(crate) fn receive(fd: RawFd, pool: &Pool, unnamed: &Arc<str>) -> Result<Vec<Datagram>, Errno> {
    let mut bufs: [Buf; BATCH] = std::array::from_fn(|_| pool.take(Class::K112));
    let mut peers: [RawAddr; BATCH] = std::array::from_fn(|_| RawAddr::default());
    let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
    let mut pieces: [libc::iovec; BATCH] = std::array::from_fn(|i| {
        let (at, room) = bufs[i].spare();
        libc::iovec { iov_base: at.cast(), iov_len: room }
    });
    // SAFETY: all-zero message headers are valid.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (i, message) in messages.iter_mut().enumerate() {
        let header = &mut message.msg_hdr;
        header.msg_name = (&raw mut peers[i].storage).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut pieces[i];
        header.msg_iovlen = 1;
        header.msg_control = controls[i].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
    }
    // SAFETY: names, pieces and controls are arrays of this frame, the pieces point into buffers owned by it.
    let count = unsafe { sys::receive_messages(fd, &mut messages)? };
    let mut batch = Vec::with_capacity(count);
    for ((mut buf, mut peer), message) in bufs.into_iter().zip(peers).zip(&messages[..count]) {
        // SAFETY: the kernel wrote that many bytes into the spare room of this buffer.
        unsafe { buf.set_received(message.msg_len as usize) };
        peer.len = message.msg_hdr.msg_namelen;
        let mut datagram =
            Datagram { peer: rawaddr::decode(&peer, unnamed), local: None, ecn: 0, segment_size: 0, buf };
        read_control(&message.msg_hdr, &mut datagram);
        batch.push(datagram);
    }
    Ok(batch)
}

fn read_control(header: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: the kernel filled the control buffer of `header` with well-formed messages of the lengths it says; the
    // buffer is alive in `receive`. Values are read unaligned.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    datagram.segment_size = data.cast::<libc::c_int>().read_unaligned() as u16;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => datagram.ecn = data.read() & 3,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    datagram.ecn = data.cast::<libc::c_int>().read_unaligned() as u8 & 3;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let ip = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    datagram.local = Some(IpAddr::V4(ip));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    datagram.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}

/// Sends; returns how many of `batch` the kernel took. What it does not take is dropped.
pub(crate) fn send(fd: RawFd, batch: &[Datagram]) -> usize {
    batch.chunks(BATCH).map(|some| send_some(fd, some)).sum()
}

fn send_some(fd: RawFd, batch: &[Datagram]) -> usize {
    let (mut done, mut taken, mut reported) = (0, 0, 0);
    while let Some(rest) = batch.get(done..).filter(|rest| !rest.is_empty()) {
        match send_call(fd, rest) {
            Ok(n) => (done, taken) = (done + n, taken + n),
            Err(libc::EAGAIN | libc::ENOBUFS) => return taken,
            // The error of an earlier datagram, reported now: this one was not tried.
            Err(libc::ECONNREFUSED) if reported < REPORTED_MAX => reported += 1,
            Err(_) => {
                // No segmentation offload on this path, or one datagram that cannot be sent: the others can.
                taken += usize::from(rest[0].segment_size > 0 && send_segments(fd, &rest[0]));
                done += 1;
            }
        }
    }
    taken
}

fn send_segments(fd: RawFd, datagram: &Datagram) -> bool {
    let Ok(to) = rawaddr::encode(&datagram.peer) else { return false };
    datagram
        .buf
        .bytes()
        .chunks(usize::from(datagram.segment_size))
        .all(|segment| sys::send_datagram(fd, segment, &to).is_ok())
}

fn send_call(fd: RawFd, batch: &[Datagram]) -> Result<usize, Errno> {
    debug_assert!(batch.len() <= BATCH);
    let mut peers: [RawAddr; BATCH] = std::array::from_fn(|_| RawAddr::default());
    let mut controls = [Control([0; CONTROL_BYTES]); BATCH];
    let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut pieces = [empty; BATCH];
    // SAFETY: all-zero message headers are valid.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (i, datagram) in batch.iter().enumerate() {
        peers[i] = rawaddr::encode(&datagram.peer)?;
        let bytes = datagram.buf.bytes();
        pieces[i] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = &mut messages[i].msg_hdr;
        header.msg_name = (&raw mut peers[i].storage).cast();
        header.msg_namelen = peers[i].len;
        header.msg_iov = &raw mut pieces[i];
        header.msg_iovlen = 1;
        write_control(header, &mut controls[i], datagram);
    }
    // SAFETY: names, pieces and controls are arrays of this frame, the pieces point into borrowed buffers.
    unsafe { sys::send_messages(fd, &mut messages[..batch.len()]) }
}

fn write_control(header: &mut libc::msghdr, control: &mut Control, datagram: &Datagram) {
    let mut used = 0;
    if datagram.segment_size > 0 {
        put(control, &mut used, libc::SOL_UDP, libc::UDP_SEGMENT, datagram.segment_size);
    }
    let v6 = matches!(datagram.peer, Addr::Inet(std::net::SocketAddr::V6(_)));
    if datagram.ecn != 0 {
        let ecn = libc::c_int::from(datagram.ecn);
        match v6 {
            true => put(control, &mut used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, ecn),
            false => put(control, &mut used, libc::IPPROTO_IP, libc::IP_TOS, ecn),
        }
    }
    match datagram.local {
        Some(IpAddr::V4(ip)) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: any };
            put(control, &mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let address = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
            put(control, &mut used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if used > 0 {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = used as _;
    }
}

/// Appends one control message.
fn put<T: Copy>(control: &mut Control, used: &mut usize, level: libc::c_int, kind: libc::c_int, value: T) {
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: pure arithmetic.
    let (space, whole) = unsafe { (libc::CMSG_SPACE(len) as usize, libc::CMSG_LEN(len)) };
    assert!(*used + space <= CONTROL_BYTES, "the control buffer holds all our messages");
    // SAFETY: `used` is a multiple of the header's alignment inside the aligned buffer, and the message fits, as checked.
    unsafe {
        let header = control.0.as_mut_ptr().add(*used).cast::<libc::cmsghdr>();
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = whole as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    *used += space;
}
