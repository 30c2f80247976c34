//! Receiving: permission, own buffers, ends and resets, credit and fairness.

use super::Backend;
use super::rig::{Rig, pattern};
use crate::{Class, Close, DONES_PER_TURN_MAX, Driver, Last, RECV_CREDIT, Receive, Sent, Slice, Sock};

pub(crate) fn nothing_arrives_without_permission<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    assert_eq!(rig.send(client, b"one", Last::End), Sent::All);
    rig.idle(5_000);
    assert_eq!(rig.seen[&server].arrivals, 0);
    rig.recv(server, Receive::Small);
    rig.run("one", |r| r.seen[&server].bytes == b"one");
    // A standing permission: no further `recv` is needed.
    assert_eq!(rig.send(client, b"two", Last::End), Sent::All);
    rig.run("two", |r| r.seen[&server].bytes == b"onetwo");
    rig.finish();
}

pub(crate) fn bytes_arrive_with_room_around_them<B: Backend>() {
    // The rig checks headroom and tailroom of every arrival.
    for size in [Receive::Small, Receive::Large] {
        let mut rig = Rig::<B>::new();
        let (client, server) = rig.pair();
        rig.recv(server, size);
        let sent = pattern(200_000, 3);
        stream(&mut rig, client, server, &sent);
        assert!(rig.seen[&server].arrivals > 0);
        rig.finish();
    }
}

pub(crate) fn bytes_wait_while_paused<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"a", Last::End), Sent::All);
    rig.run("a", |r| r.seen[&server].bytes == b"a");
    assert!(rig.pause(server).is_none());
    assert_eq!(rig.send(client, b"b", Last::End), Sent::All);
    rig.idle(5_000);
    assert_eq!(rig.seen[&server].bytes, b"a");
    rig.recv(server, Receive::Small);
    rig.run("b", |r| r.seen[&server].bytes == b"ab");
    rig.finish();
}

pub(crate) fn an_own_buffer_is_filled_once<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let mut own = rig.driver.pool().take(Class::K4);
    assert!(own.append(b"HEAD"));
    let at = own.bytes().as_ptr();
    rig.saw(server).hold = Some(Vec::new());
    rig.recv_into(server, own);
    assert_eq!(rig.send(client, b"tail", Last::End), Sent::All);
    rig.run("the tail", |r| r.seen[&server].arrivals == 1);
    let held = rig.saw(server).hold.as_ref().expect("held");
    assert_eq!(held[0].bytes(), b"HEADtail");
    assert_eq!(held[0].bytes().as_ptr(), at, "the same buffer");
    assert_eq!(rig.send(client, b"next", Last::End), Sent::All);
    rig.run("the next", |r| r.seen[&server].arrivals == 2);
    let held = rig.saw(server).hold.as_ref().expect("held");
    assert_eq!(held[1].bytes(), b"next", "afterwards the driver picks buffers again");
    // An own buffer with less room than there is to read gets what fits.
    let mut own = rig.driver.pool().take(Class::K4);
    assert!(own.append(&[0; 4090]));
    rig.recv_into(server, own);
    assert_eq!(rig.send(client, b"0123456789", Last::End), Sent::All);
    rig.run("ten bytes", |r| r.seen[&server].bytes.ends_with(b"0123456789"));
    let held = rig.saw(server).hold.as_ref().expect("held");
    assert_eq!((held[2].len(), held[2].tailroom()), (4096, crate::TAILROOM));
    assert_eq!(held[3].bytes(), b"6789");
    rig.finish();
}

pub(crate) fn pause_returns_the_own_buffer<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let mut own = rig.driver.pool().take(Class::K4);
    assert!(own.append(b"partial head"));
    rig.recv_into(server, own);
    rig.idle(2_000);
    let back = rig.pause(server).expect("the unused buffer");
    assert_eq!(back.bytes(), b"partial head");
    // The end of the stream does not use it up either.
    rig.recv_into(server, back);
    rig.driver.shutdown(client);
    rig.run("the end", |r| r.seen[&server].ended);
    let back = rig.pause(server).expect("the unused buffer");
    assert_eq!(back.bytes(), b"partial head");
    drop(back);
    rig.finish();
}

pub(crate) fn the_end_comes_once_after_all_bytes<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    assert_eq!(rig.send(client, b"last words", Last::Fin), Sent::All);
    rig.recv(server, Receive::Small);
    rig.run("the end", |r| r.seen[&server].ended);
    assert_eq!(rig.seen[&server].bytes, b"last words");
    rig.recv(server, Receive::Small);
    rig.idle(2_000);
    // Sending may go on.
    rig.recv(client, Receive::Small);
    assert_eq!(rig.send(server, b"answer", Last::End), Sent::All);
    rig.run("the answer", |r| r.seen[&client].bytes == b"answer");
    assert!(!rig.seen[&client].ended);
    rig.finish();
}

pub(crate) fn an_end_while_paused_is_told<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
    rig.run("x", |r| r.seen[&server].bytes == b"x");
    assert!(rig.pause(server).is_none());
    assert_eq!(rig.send(client, b"rest", Last::Fin), Sent::All);
    rig.run("PeerClosed", |r| r.seen[&server].peer_closed);
    rig.idle(2_000);
    assert_eq!(rig.seen[&server].bytes, b"x");
    rig.recv(server, Receive::Small);
    rig.run("the end", |r| r.seen[&server].ended);
    assert_eq!(rig.seen[&server].bytes, b"xrest");
    rig.finish();
}

pub(crate) fn a_reset_while_reading_fails<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
    rig.run("x", |r| r.seen[&server].bytes == b"x");
    rig.close(client, Close::Reset);
    rig.run_until_reset(server);
    rig.recv(server, Receive::Small);
    assert!(matches!(rig.send(server, b"late", Last::End), Sent::Failed(_)));
    rig.idle(1_000);
    rig.finish();
}

pub(crate) fn a_reset_while_paused_fails<B: Backend>() {
    let mut rig = Rig::<B>::new();
    // Both before anything was received (nothing is registered yet) and after.
    for exchange in [false, true] {
        let (client, server) = rig.pair();
        if exchange {
            rig.recv(server, Receive::Small);
            assert_eq!(rig.send(client, b"x", Last::End), Sent::All);
            rig.run("x", |r| r.seen[&server].bytes == b"x");
            assert!(rig.pause(server).is_none());
        }
        rig.close(client, Close::Reset);
        rig.run_until_reset(server);
    }
    rig.finish();
}

pub(crate) fn bulk_arrives_exactly<B: Backend>() {
    for size in [Receive::Small, Receive::Large] {
        let mut rig = Rig::<B>::new();
        let (client, server) = rig.pair();
        rig.recv(server, size);
        let sent = pattern(5 << 20, 7);
        stream(&mut rig, client, server, &sent);
        rig.driver.shutdown(client);
        rig.run("the end", |r| r.seen[&server].ended);
        assert!(rig.seen[&server].bytes == sent);
        rig.finish();
    }
}

pub(crate) fn undelivered_buffers_are_bounded<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    rig.turn(0);
    let sent = pattern(1 << 20, 11);
    let queued: usize = sent.len();
    for chunk in sent.chunks(64 << 10) {
        let _ = rig.send(client, chunk, Last::End);
    }
    let sending = sent.len().div_ceil(64 << 10);
    for _ in 0..50 {
        let until = rig.driver.now() + 1_000;
        rig.driver.turn(until, false);
        let held = rig.driver.usage().buffers;
        assert!(held <= sending + RECV_CREDIT, "{held} buffers while nobody takes completions");
    }
    rig.run("everything", |r| r.seen[&server].bytes.len() == queued);
    assert!(rig.seen[&server].bytes == sent);
    rig.finish();
}

pub(crate) fn completions_per_turn_are_bounded<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let pairs: Vec<(Sock, Sock)> = (0..40).map(|_| rig.pair()).collect();
    for round in 1..=3 {
        for &(client, server) in &pairs {
            assert_eq!(rig.send(client, b"ping", Last::End), Sent::All);
            rig.recv(server, Receive::Small);
        }
        rig.run("all pings", |r| pairs.iter().all(|(_, s)| r.seen[s].bytes.len() == round * 4));
    }
    assert!(rig.dones_max <= DONES_PER_TURN_MAX);
    rig.finish();
}

pub(crate) fn bulk_does_not_starve_others<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (bulk, bulk_end) = rig.pair();
    let (small, small_end) = rig.pair();
    rig.recv(bulk_end, Receive::Small);
    rig.recv(small_end, Receive::Small);
    let block: &'static [u8] = pattern(4 << 20, 5).leak();
    for _ in 0..8 {
        let _ = rig.driver.send(bulk, Slice::from_static(block), Last::End);
    }
    assert_eq!(rig.send(small, b"hello", Last::End), Sent::All);
    rig.run("the small message", |r| r.seen[&small_end].bytes == b"hello");
    assert!(rig.seen[&bulk_end].bytes.len() < 32 << 20, "the small message waited for all of the bulk");
    rig.run("all of the bulk", |r| r.seen[&bulk_end].bytes.len() == 32 << 20);
    assert!(rig.seen[&bulk_end].bytes.chunks(4 << 20).all(|b| b == block));
    rig.finish();
}

pub(crate) fn pausing_and_resuming_loses_nothing<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let sent = pattern(3 << 20, 13);
    let block: &'static [u8] = sent.clone().leak();
    let _ = rig.driver.send(client, Slice::from_static(block), Last::Fin);
    rig.saw(server).pause_at_arrival = true;
    let mut turns = 0;
    while !rig.seen[&server].ended {
        let size = if turns % 3 == 0 { Receive::Large } else { Receive::Small };
        rig.recv(server, size);
        let before = rig.seen[&server].arrivals;
        rig.run("one more arrival", |r| r.seen[&server].arrivals > before || r.seen[&server].ended);
        turns += 1;
    }
    assert!(rig.seen[&server].bytes == sent);
    rig.finish();
}

/// Sends everything in 64 KiB messages and waits until it arrived.
fn stream<B: Backend>(rig: &mut Rig<B>, from: Sock, to: Sock, bytes: &[u8]) {
    for chunk in bytes.chunks(64 << 10) {
        let _ = rig.send(from, chunk, Last::End);
    }
    let len = bytes.len();
    rig.run("the stream", |r| r.seen[&to].bytes.len() >= len);
    assert!(rig.seen[&to].bytes == bytes);
}
