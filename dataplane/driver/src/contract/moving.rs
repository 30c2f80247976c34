//! Connections that move (detach, attach), bytes that move in the kernel (splice), datagrams, waking and time.

use super::Backend;
use super::rig::{Rig, pattern};
use crate::{Close, Datagram, Driver, IoError, Last, Receive, Sent, Slice};

pub(crate) fn a_detached_connection_lives_on<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
    rig.run("x", |r| r.seen[&server].bytes == b"x");
    rig.driver.detach(server);
    rig.run("Detached", |r| !r.detached.is_empty());
    let (_, result) = rig.detached.remove(0);
    assert_eq!(rig.driver.usage().socks, 1);
    // Bytes that come between two drivers are not lost.
    assert_eq!(rig.send(client, b"y", Last::End), Sent::All);
    let moved = rig.driver.attach(result.expect("idle")).expect("attached");
    rig.adopt(moved);
    rig.recv(moved, Receive::Small);
    rig.run("y", |r| r.seen[&moved].bytes == b"y");
    rig.recv(client, Receive::Small);
    assert_eq!(rig.send(moved, b"z", Last::Fin), Sent::All);
    rig.run("z", |r| r.seen[&client].ended);
    assert_eq!(rig.seen[&client].bytes, b"z");
    rig.finish();
}

pub(crate) fn detaching_with_input_fails<B: Backend>() {
    for end in [Last::End, Last::Fin] {
        let mut rig = Rig::<B>::new();
        let (client, server) = rig.pair();
        let message: &[u8] = if end == Last::End { b"unexpected" } else { b"" };
        let _ = rig.send(client, message, end);
        rig.idle(5_000);
        rig.driver.detach(server);
        rig.run("Detached", |r| !r.detached.is_empty());
        assert!(rig.detached[0].1.is_err());
        rig.finish();
    }
}

pub(crate) fn closing_while_detaching<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    rig.turn(0);
    rig.recv(client, Receive::Small);
    rig.driver.detach(server);
    rig.close(server, Close::Graceful);
    rig.run("Closed", |r| r.seen[&server].closed);
    assert!(rig.detached.is_empty());
    rig.run("the end", |r| r.seen[&client].ended || r.seen[&client].failed.is_some());
    rig.finish();
}

pub(crate) fn splice_moves_everything<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (source, from) = rig.pair();
    let (to, sink) = rig.pair();
    match rig.driver.splice(from, to) {
        Err(IoError::Unsupported) => return rig.finish(),
        other => other.expect("a splice"),
    }
    rig.saw_splice(from);
    rig.recv(sink, Receive::Large);
    let block: &'static [u8] = pattern(6 << 20, 21).leak();
    let _ = rig.driver.send(source, Slice::from_static(block), Last::Fin);
    rig.run("the end of the source", |r| r.seen[&from].ended);
    assert_eq!(rig.seen[&from].spliced, block.len() as u64);
    assert_eq!(rig.seen[&from].arrivals, 0);
    rig.driver.shutdown(to);
    rig.run("the end of the sink", |r| r.seen[&sink].ended);
    assert!(rig.seen[&sink].bytes == block);
    rig.finish();
}

pub(crate) fn splice_waits_for_a_slow_reader<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (source, from) = rig.pair();
    let (to, sink) = rig.pair();
    // What was queued before goes first.
    let first: &'static [u8] = pattern(6 << 20, 22).leak();
    let _ = rig.driver.send(to, Slice::from_static(first), Last::End);
    if rig.driver.splice(from, to).is_err() {
        return rig.finish();
    }
    rig.saw_splice(from);
    let block: &'static [u8] = pattern(12 << 20, 21).leak();
    let _ = rig.driver.send(source, Slice::from_static(block), Last::Fin);
    rig.idle(20_000);
    assert!(!rig.seen[&from].ended, "nobody reads");
    rig.recv(sink, Receive::Large);
    let whole = first.len() + block.len();
    rig.run("everything", |r| r.seen[&sink].bytes.len() == whole && r.seen[&from].ended);
    assert!(&rig.seen[&sink].bytes[..first.len()] == first);
    assert!(&rig.seen[&sink].bytes[first.len()..] == block);
    rig.finish();
}

pub(crate) fn a_spliced_socket_can_be_paused<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (source, from) = rig.pair();
    let (to, sink) = rig.pair();
    if rig.driver.splice(from, to).is_err() {
        return rig.finish();
    }
    rig.saw_splice(from);
    rig.recv(sink, Receive::Small);
    assert_eq!(rig.send(source, b"spliced ", Last::End), Sent::All);
    rig.run("the first part", |r| r.seen[&sink].bytes == b"spliced " && r.seen[&from].spliced == 8);
    assert!(rig.pause(from).is_none());
    assert_eq!(rig.send(source, b"received", Last::End), Sent::All);
    rig.idle(5_000);
    assert_eq!(rig.seen[&from].spliced, 8);
    rig.recv(from, Receive::Small);
    rig.run("the second part", |r| r.seen[&from].bytes == b"received");
    rig.finish();
}

pub(crate) fn datagrams_come_and_go<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let Some((a, a_addr)) = rig.backend.datagram(&mut rig.driver) else { return rig.finish() };
    let Some((b, b_addr)) = rig.backend.datagram(&mut rig.driver) else { return rig.finish() };
    let a = rig.driver.datagram(a).expect("a datagram socket");
    let b = rig.driver.datagram(b).expect("a datagram socket");
    rig.adopt(a);
    rig.adopt(b);
    let message = |rig: &Rig<B>, peer: &crate::Addr, bytes: &[u8], segment_size: u16| {
        let mut buf = rig.driver.pool().take(crate::Class::K4);
        assert!(buf.append(bytes));
        Datagram { peer: peer.clone(), local: None, ecn: 0, segment_size, buf }
    };
    let batch: Vec<Datagram> = (0..20u8).map(|i| message(&rig, &b_addr, &[i; 100], 0)).collect();
    assert_eq!(rig.driver.send_to(a, batch), 20);
    rig.run("twenty datagrams", |r| r.seen[&b].datagrams.len() == 20);
    for (i, d) in rig.seen[&b].datagrams.iter().enumerate() {
        assert_eq!((d.buf.bytes(), &d.peer), (&[i as u8; 100][..], &a_addr));
    }
    // One buffer, three segments: they come as three, or as one with the segment size.
    let segmented = vec![message(&rig, &a_addr, &[9; 250], 100)];
    assert_eq!(rig.driver.send_to(b, segmented), 1);
    let total = |r: &Rig<B>| r.seen[&a].datagrams.iter().map(|d| d.buf.len()).sum::<usize>();
    rig.run("three segments", |r| total(r) == 250);
    for d in &rig.seen[&a].datagrams {
        assert!(d.buf.len() <= 100 || d.segment_size == 100);
    }
    rig.finish();
}

pub(crate) fn a_waker_ends_the_wait<B: Backend>() {
    let mut rig = Rig::<B>::new();
    rig.turn(0);
    let waker = rig.driver.waker();
    for _ in 0..100 {
        waker.wake();
    }
    rig.run("Woken", |r| r.woken > 0);
    rig.turn(0);
    assert_eq!(rig.woken, 1, "wake-ups coalesce");
    let thread = std::thread::spawn(move || waker.wake());
    thread.join().expect("the waking thread");
    rig.run("Woken again", |r| r.woken == 2);
    rig.finish();
}

pub(crate) fn a_turn_ends_in_time<B: Backend>() {
    let mut rig = Rig::<B>::new();
    rig.turn(0);
    for spin in [false, true] {
        let start = rig.driver.now();
        rig.driver.turn(start + 7_000, spin);
        assert!(rig.driver.next().is_none());
        let took = rig.driver.now() - start;
        assert!((7_000..3_000_000).contains(&took), "{took} us instead of 7,000");
        let start = rig.driver.now();
        rig.driver.turn(0, spin);
        assert!(rig.driver.now() - start < 1_000_000, "a deadline in the past only polls");
    }
    rig.finish();
}

pub(crate) fn the_clocks_go_forward<B: Backend>() {
    let mut rig = Rig::<B>::new();
    rig.turn(0);
    let (now, unix) = (rig.driver.now(), rig.driver.unix_now());
    rig.idle(3_000);
    let (passed, unix_passed) = (rig.driver.now() - now, rig.driver.unix_now() - unix);
    assert!(passed >= 3_000);
    assert!(unix_passed.abs_diff(passed) < 1_000_000);
    rig.finish();
}
