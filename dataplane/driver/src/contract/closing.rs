//! Closing: what still arrives, how long it may take, and that it happens once.

use super::Backend;
use super::rig::{Rig, pattern};
use crate::{Close, Driver, Last, Receive, Sent, Slice, Sock};

pub(crate) fn graceful_sends_what_is_queued<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let block: &'static [u8] = pattern(12 << 20, 2).leak();
    assert!(matches!(rig.driver.send(client, Slice::from_static(block), Last::End), Sent::Queued(_)));
    rig.close(client, Close::Graceful);
    rig.idle(1_000);
    assert!(!rig.seen[&client].closed, "bytes are still queued");
    rig.recv(server, Receive::Large);
    rig.run("the end", |r| r.seen[&server].ended && r.seen[&client].closed);
    assert!(rig.seen[&server].bytes == block);
    rig.finish();
}

pub(crate) fn more_then_graceful_sends_everything<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Small);
    assert_eq!(rig.send(server, b"whole answer", Last::More), Sent::All);
    rig.close(server, Close::Graceful);
    rig.run("the end", |r| r.seen[&client].ended && r.seen[&server].closed);
    assert_eq!(rig.seen[&client].bytes, b"whole answer");
    rig.finish();
}

pub(crate) fn reset_drops_and_resets<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let block: &'static [u8] = pattern(16 << 20, 2).leak();
    assert!(matches!(rig.driver.send(client, Slice::from_static(block), Last::End), Sent::Queued(_)));
    rig.close(client, Close::Reset);
    rig.recv(server, Receive::Large);
    rig.run_until_reset(server);
    rig.run("Closed", |r| r.seen[&client].closed);
    assert!(rig.seen[&server].bytes.len() < block.len());
    assert!(block.starts_with(&rig.seen[&server].bytes));
    rig.finish();
}

pub(crate) fn lingering_saves_the_answer<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Small);
    // A client in the middle of a request that is refused at once.
    let body: &'static [u8] = pattern(200_000, 4).leak();
    let _ = rig.driver.send(client, Slice::from_static(body), Last::End);
    assert_eq!(rig.send(server, b"400 Bad Request", Last::End), Sent::All);
    let deadline = rig.driver.now() + 10_000_000;
    rig.close(server, Close::Linger { bytes: 1 << 20, deadline });
    rig.run("answer and end", |r| r.seen[&client].ended);
    assert_eq!(rig.seen[&client].bytes, b"400 Bad Request");
    // The client finishes its request in peace; the server's end then completes the close.
    let _ = rig.send(client, &pattern(50_000, 5), Last::Fin);
    rig.run("Closed", |r| r.seen[&server].closed);
    assert_eq!(rig.seen[&client].failed, None);
    rig.finish();
}

pub(crate) fn lingering_ends_at_its_deadline<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Small);
    let start = rig.driver.now();
    rig.close(server, Close::Linger { bytes: 1 << 20, deadline: start + 30_000 });
    rig.run("the end", |r| r.seen[&client].ended);
    rig.run("Closed", |r| r.seen[&server].closed);
    let took = rig.driver.now() - start;
    assert!((30_000..5_000_000).contains(&took), "closed after {took} us");
    rig.finish();
}

pub(crate) fn the_end_of_lingering_keeps_what_is_on_its_way<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let answer: &'static [u8] = pattern(150_000, 6).leak();
    assert_eq!(rig.driver.send(server, Slice::from_static(answer), Last::End), Sent::All);
    let deadline = rig.driver.now() + 30_000;
    rig.close(server, Close::Linger { bytes: 1 << 20, deadline });
    rig.run("Closed", |r| r.seen[&server].closed);
    // A reader so slow that it begins only now.
    rig.recv(client, Receive::Large);
    rig.run("the answer and the end", |r| r.seen[&client].ended);
    assert!(rig.seen[&client].bytes == answer);
    rig.finish();
}

pub(crate) fn lingering_ends_at_its_bytes<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let deadline = rig.driver.now() + 60_000_000;
    let start = rig.driver.now();
    rig.close(server, Close::Linger { bytes: 100_000, deadline });
    let block: &'static [u8] = pattern(8 << 20, 4).leak();
    let _ = rig.driver.send(client, Slice::from_static(block), Last::End);
    rig.run("Closed", |r| r.seen[&server].closed);
    assert!(rig.driver.now() - start < 30_000_000, "the bound ended it, not the deadline");
    rig.finish();
}

pub(crate) fn a_stuck_graceful_close_can_be_reset<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let block: &'static [u8] = pattern(16 << 20, 2).leak();
    assert!(matches!(rig.driver.send(client, Slice::from_static(block), Last::End), Sent::Queued(_)));
    rig.close(client, Close::Graceful);
    rig.idle(1_000);
    rig.close(client, Close::Graceful);
    assert!(!rig.seen[&client].closed);
    rig.close(client, Close::Reset);
    rig.run("Closed", |r| r.seen[&client].closed);
    rig.recv(server, Receive::Large);
    rig.run_until_reset(server);
    rig.finish();
}

pub(crate) fn stale_handles_are_ignored<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (old, old_server) = rig.pair();
    for sock in [old, old_server] {
        rig.close(sock, Close::Graceful);
    }
    rig.run("both closed", |r| r.seen[&old].closed && r.seen[&old_server].closed);
    // The slots have new owners now.
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    for stale in [old, old_server, Sock::NONE] {
        assert!(matches!(rig.driver.send(stale, Slice::from_static(b"x"), Last::End), Sent::Failed(_)));
        rig.driver.recv(stale, None, Receive::Small);
        assert!(rig.driver.pause(stale).is_none());
        rig.driver.queue(stale, Slice::from_static(b"x"));
        assert!(matches!(rig.driver.flush(stale, Last::End), Sent::Failed(_)));
        rig.driver.shutdown(stale);
        rig.driver.close(stale, Close::Reset);
        rig.driver.detach(stale);
        assert_eq!(rig.driver.queued(stale), 0);
        assert_eq!(rig.driver.local_addr(stale), None);
    }
    assert_eq!(rig.send(client, b"untouched", Last::End), Sent::All);
    rig.run("the bytes", |r| r.seen[&server].bytes == b"untouched");
    rig.finish();
}

pub(crate) fn slots_are_reused_with_a_new_generation<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let mut highest = 0;
    for _ in 0..20 {
        // The rig refuses a handle that was seen before.
        let (client, server) = rig.pair();
        rig.recv(server, Receive::Small);
        assert_eq!(rig.send(client, b"hi", Last::End), Sent::All);
        rig.run("hi", |r| r.seen[&server].bytes == b"hi");
        rig.close(server, Close::Reset);
        rig.close(client, Close::Reset);
        rig.run("both closed", |r| r.seen[&client].closed && r.seen[&server].closed);
        highest = highest.max(client.index).max(server.index);
    }
    assert!(highest < 8, "slots are not reused: {highest}");
    rig.finish();
}

pub(crate) fn closing_with_completions_under_way_is_silent<B: Backend>() {
    for how in [Close::Graceful, Close::Reset] {
        let mut rig = Rig::<B>::new();
        let pairs: Vec<(Sock, Sock)> = (0..10).map(|_| rig.pair()).collect();
        for &(client, server) in &pairs {
            rig.recv(server, Receive::Small);
            let _ = rig.send(client, &pattern(100_000, 9), Last::Fin);
        }
        // Completions are waiting now, and none is taken before the close: the rig panics if one comes through.
        let until = rig.driver.now() + 1_000;
        rig.driver.turn(until, false);
        for &(client, server) in &pairs {
            rig.close(server, how);
            rig.close(client, how);
        }
        rig.run("all closed", |r| r.seen.values().all(|s| s.closed));
        rig.finish();
    }
}
