//! What only a kernel can do to a driver: running out of descriptors, ring buffers or completion space, interrupted and
//! refused calls. Both OS drivers, faults injected below the system calls.

use super::Backend;
use super::os::{OnEpoll, OnUring};
use super::rig::{Rig, pattern};
use crate::sys::{Call, Fault};
use crate::{AcceptOptions, Driver, DriverConfig, IoError, Last, Receive, Sent, Slice, Sock, Uring, faults};

/// Declares each case for both drivers.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod epoll {
            $(#[test] fn $case() { super::$case::<super::OnEpoll>(); })*
        }
        mod uring {
            $(#[test] fn $case() { super::$case::<super::OnUring>(); })*
        }
    };
}

on_both!(
    out_of_descriptors_stops_accepting,
    a_drain_goes_on_when_descriptors_are_free,
    dead_connections_are_skipped,
    a_first_receive_that_finds_nothing,
    a_refused_first_send_is_continued,
    an_error_in_the_background_counts_exactly,
    splice_survives_interruptions,
);

fn inject(call: Call, errno: i32) {
    faults::inject(call, Some(Fault::Errno(errno)));
}

fn out_of_descriptors_stops_accepting<B: Backend>() {
    for (errno, error) in [(libc::EMFILE, IoError::Descriptors), (libc::ENOMEM, IoError::Memory)] {
        let mut rig = Rig::<B>::new();
        let (listener, addr) = rig.listen(AcceptOptions::default());
        rig.driver.accept(listener);
        inject(Call::Accept, errno);
        let client = rig.connect(&addr);
        rig.run("AcceptFailed", |r| !r.accept_failed.is_empty());
        assert_eq!(rig.accept_failed, [error]);
        rig.idle(5_000);
        assert!(rig.accepted.is_empty(), "disarmed: no loop, no retry of its own");
        rig.driver.accept(listener);
        rig.run("the connection", |r| r.accepted.len() == 1 && r.seen[&client].connected.is_some());
        rig.finish();
    }
}

fn a_drain_goes_on_when_descriptors_are_free<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions::default());
    let clients = [rig.connect(&addr), rig.connect(&addr)];
    rig.run("two connections", |r| clients.iter().all(|c| r.seen[c].connected.is_some()));
    faults::inject(Call::Accept, None);
    inject(Call::Accept, libc::EMFILE);
    rig.driver.close_listener(listener);
    rig.run("AcceptFailed", |r| !r.accept_failed.is_empty());
    rig.idle(2_000);
    assert_eq!((rig.accepted.len(), rig.listener_closed), (1, 0));
    rig.driver.accept(listener);
    rig.run("ListenerClosed", |r| r.listener_closed == 1);
    assert_eq!(rig.accepted.len(), 2);
    rig.finish();
}

fn dead_connections_are_skipped<B: Backend>() {
    let mut rig = Rig::<B>::new();
    for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EINTR, libc::EPERM, libc::EAGAIN] {
        inject(Call::Accept, errno);
    }
    rig.pair();
    assert!(rig.accept_failed.is_empty());
    assert_eq!(faults::left(), 0);
    rig.finish();
}

fn a_first_receive_that_finds_nothing<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    assert_eq!(rig.send(client, b"hello", Last::End), Sent::All);
    // The bytes are there, the first look misses them: watching must report them.
    inject(Call::Recv, libc::EINTR);
    inject(Call::Recv, libc::EAGAIN);
    rig.recv(server, Receive::Small);
    rig.run("hello", |r| r.seen[&server].bytes == b"hello");
    assert_eq!(faults::left(), 0);
    rig.finish();
}

fn a_refused_first_send_is_continued<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Small);
    faults::inject(Call::Send, Some(Fault::Short(5)));
    inject(Call::Send, libc::EAGAIN);
    assert_eq!(rig.send(server, b"hello world", Last::Fin), Sent::Queued(6));
    rig.run("the end", |r| r.seen[&client].ended);
    assert_eq!(rig.seen[&client].bytes, b"hello world");
    assert_eq!(rig.seen[&server].sent, 6);
    rig.finish();
}

fn an_error_in_the_background_counts_exactly<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (_client, server) = rig.pair();
    faults::inject(Call::Send, Some(Fault::Short(4)));
    inject(Call::Send, libc::EAGAIN);
    assert_eq!(rig.send(server, b"0123456789", Last::End), Sent::Queued(6));
    faults::inject(Call::Send, Some(Fault::Short(1)));
    inject(Call::Send, libc::ETIMEDOUT);
    rig.run("the failure", |r| r.seen[&server].failed.is_some());
    let (error, unsent) = rig.seen[&server].failed.expect("failed");
    // The byte before the error left, and nobody can say whether it arrived.
    assert_eq!((error, unsent), (IoError::TimedOut, 5));
    rig.finish();
}

fn splice_survives_interruptions<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (source, from) = rig.pair();
    let (to, sink) = rig.pair();
    for n in 0..40 {
        inject(Call::Splice, libc::EINTR);
        faults::inject(Call::Splice, Some(Fault::Short(1_000 + n * 37)));
    }
    rig.driver.splice(from, to).expect("a splice");
    rig.saw_splice(from);
    rig.recv(sink, Receive::Large);
    let sent = pattern(200_000, 8);
    assert!(!matches!(rig.send(source, &sent, Last::Fin), Sent::Failed(_)));
    rig.run("everything", |r| r.seen[&from].ended && r.seen[&sink].bytes.len() == sent.len());
    assert!(rig.seen[&sink].bytes == sent);
    assert_eq!(rig.seen[&from].spliced, 200_000);
    rig.finish();
}

/// A ring of its own for the cases below.
fn tiny(config: DriverConfig) -> Rig<OnUring> {
    let (backend, _) = OnUring::open();
    Rig::over(backend, Uring::open(&config).expect("a ring"))
}

#[test]
fn an_empty_buffer_ring_stops_nobody() {
    let mut rig = tiny(DriverConfig { small_buffers: 2, ring_bytes_max: 0, ..DriverConfig::default() });
    let pairs: Vec<(Sock, Sock)> = (0..12).map(|_| rig.pair()).collect();
    for round in 1..=4 {
        for &(client, server) in &pairs {
            // The buffers are kept, so the ring runs dry and stays so.
            rig.saw(server).hold.get_or_insert_default();
            rig.recv(server, Receive::Small);
            assert_eq!(rig.send(client, b"0123456789", Last::End), Sent::All);
        }
        rig.run("every message", |r| pairs.iter().all(|(_, s)| r.seen[s].bytes.len() == round * 10));
    }
    rig.finish();
}

#[test]
fn a_growing_buffer_ring_stops_at_its_cap() {
    let mut rig =
        tiny(DriverConfig { small_buffers: 2, ring_bytes_max: 64 << 10, ..DriverConfig::default() });
    let pairs: Vec<(Sock, Sock)> = (0..60).map(|_| rig.pair()).collect();
    for round in 1..=5 {
        for &(client, server) in &pairs {
            rig.saw(server).hold.get_or_insert_default();
            rig.recv(server, Receive::Small);
            assert_eq!(rig.send(client, b"0123456789", Last::End), Sent::All);
        }
        rig.run("every message", |r| pairs.iter().all(|(_, s)| r.seen[s].bytes.len() == round * 10));
    }
    rig.finish();
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    // Four completions fit; hundreds come at once.
    let mut rig = tiny(DriverConfig { ring_entries: 1, ..DriverConfig::default() });
    let pairs: Vec<(Sock, Sock)> = (0..100).map(|_| rig.pair()).collect();
    let message = pattern(20_000, 3);
    for round in 1..=5 {
        for &(client, server) in &pairs {
            rig.recv(server, Receive::Small);
            assert!(!matches!(rig.send(client, &message, Last::End), Sent::Failed(_)));
        }
        let due = round * message.len();
        rig.run("every message", |r| pairs.iter().all(|(_, s)| r.seen[s].bytes.len() == due));
    }
    for &(client, server) in &pairs {
        rig.driver.shutdown(client);
        assert!(rig.seen[&server].bytes.chunks(message.len()).all(|m| m == message));
    }
    rig.run("every end", |r| pairs.iter().all(|(_, s)| r.seen[s].ended));
    rig.finish();
}

#[test]
fn interrupted_waits_are_repeated() {
    for _ in 0..3 {
        inject(Call::Wait, libc::EINTR);
    }
    let mut rig = Rig::<OnUring>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
    rig.run("x", |r| r.seen[&server].bytes == b"x");
    assert_eq!(faults::left(), 0);
    rig.finish();
}

#[test]
fn a_paused_socket_does_not_swallow_the_ring() {
    let mut rig = tiny(DriverConfig { small_buffers: 1_024, ..DriverConfig::default() });
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
    rig.run("x", |r| r.seen[&server].bytes == b"x");
    // The multishot receive is armed now, and goes on while the session does not read.
    rig.turn(0);
    assert!(rig.pause(server).is_none());
    let block: &'static [u8] = pattern(8 << 20, 4).leak();
    let _ = rig.driver.send(client, Slice::from_static(block), Last::End);
    rig.idle(20_000);
    let held = rig.driver.usage().buffers;
    // The kernel receives up to 32 times before it looks at a cancellation.
    assert!((1..=200).contains(&held), "{held} of 1,024 ring buffers are held for a paused socket");
    rig.recv(server, Receive::Small);
    rig.run("the block", |r| r.seen[&server].bytes.len() == block.len() + 1);
    assert!(&rig.seen[&server].bytes[1..] == block);
    rig.finish();
}

#[test]
fn ring_buffers_are_used_again() {
    let mut rig = tiny(DriverConfig { small_buffers: 4, ..DriverConfig::default() });
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    for round in 1..=100 {
        assert_eq!(rig.send(client, b"ping", Last::End), Sent::All);
        rig.run("ping", |r| r.seen[&server].arrivals == round);
        if round == 10 {
            rig.driver.pool().trim();
        }
    }
    // Four ring buffers, and nothing from the allocator since the trim: neither growth nor direct receives.
    let allocated = rig.driver.pool().stats().allocated_bytes;
    assert!(allocated < 5 * 8192, "{allocated} bytes");
    rig.finish();
}
