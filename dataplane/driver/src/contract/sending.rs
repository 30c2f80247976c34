//! Sending: order, progress, exact counts on failure, ends.

use super::Backend;
use super::rig::{Rig, pattern};
use crate::{Close, Driver, IoError, Last, Receive, Sent, Slice};

pub(crate) fn pieces_arrive_in_order<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    let mut expected = Vec::new();
    for i in 0..150u8 {
        let piece = pattern(usize::from(i) + 1, u64::from(i));
        expected.extend_from_slice(&piece);
        let slice = rig.slice(&piece);
        rig.driver.queue(client, slice);
    }
    assert_eq!(rig.driver.queued(client), expected.len());
    assert_eq!(rig.driver.flush(client, Last::End), Sent::All);
    assert_eq!(rig.driver.queued(client), 0);
    rig.run("all pieces", |r| r.seen[&server].bytes.len() >= expected.len());
    assert!(rig.seen[&server].bytes == expected);
    // Nothing queued, nothing to do.
    assert_eq!(rig.driver.flush(client, Last::End), Sent::All);
    rig.finish();
}

pub(crate) fn a_full_kernel_queues_and_reports_progress<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let block: &'static [u8] = pattern(16 << 20, 1).leak();
    let Sent::Queued(queued) = rig.driver.send(client, Slice::from_static(block), Last::End) else {
        panic!("sixteen MiB do not fit");
    };
    assert!(queued > 0 && queued < block.len());
    assert_eq!(rig.driver.queued(client), queued);
    let more = rig.send(client, b"behind", Last::End);
    assert!(matches!(more, Sent::Queued(n) if n <= queued + 6 && n > 6), "{more:?} after {queued}");
    let Sent::Queued(queued) = more else { panic!() };
    rig.recv(server, Receive::Large);
    rig.run("everything", |r| r.seen[&server].bytes.len() == block.len() + 6);
    assert_eq!(&rig.seen[&server].bytes[..block.len()], block);
    assert!(rig.seen[&server].bytes.ends_with(b"behind"));
    rig.run("the last report", |r| r.seen[&client].sent == queued);
    assert_eq!(rig.driver.queued(client), 0);
    assert_eq!(rig.send(client, b"again", Last::End), Sent::All);
    rig.finish();
}

pub(crate) fn an_error_tells_what_was_not_sent<B: Backend>() {
    for reading in [false, true] {
        let mut rig = Rig::<B>::new();
        let (client, server) = rig.pair();
        if reading {
            rig.recv(client, Receive::Small);
        }
        let block: &'static [u8] = pattern(16 << 20, 1).leak();
        let Sent::Queued(queued) = rig.driver.send(client, Slice::from_static(block), Last::End) else {
            panic!("sixteen MiB do not fit");
        };
        rig.close(server, Close::Reset);
        rig.run("the failure", |r| r.seen[&client].failed.is_some());
        let sent = rig.seen[&client].sent;
        assert_eq!(rig.seen[&client].failed, Some((IoError::Reset, queued - sent)));
        assert_eq!(rig.driver.queued(client), 0);
        rig.finish();
    }
}

pub(crate) fn fin_follows_the_data<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Large);
    let block: &'static [u8] = pattern(8 << 20, 1).leak();
    let first = rig.driver.send(client, Slice::from_static(block), Last::Fin);
    assert!(matches!(first, Sent::Queued(_)));
    rig.run("the end", |r| r.seen[&server].ended);
    assert!(rig.seen[&server].bytes == block);
    assert!(matches!(rig.send(client, b"too late", Last::End), Sent::Failed(_)));
    // A message that ends the direction may be empty.
    let empty = rig.slice(b"");
    assert_eq!(rig.driver.send(server, empty, Last::Fin), Sent::All);
    rig.recv(client, Receive::Small);
    rig.run("the other end", |r| r.seen[&client].ended);
    rig.finish();
}

/// What waits for room must not depend on the other direction: io_uring's polls are over with the peer's end.
pub(crate) fn a_blocked_send_goes_on_after_the_peers_end<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Large);
    let block: &'static [u8] = pattern(16 << 20, 1).leak();
    assert!(matches!(rig.driver.send(client, Slice::from_static(block), Last::Fin), Sent::Queued(_)));
    rig.turn(0);
    rig.driver.shutdown(server);
    rig.run("the peer's end", |r| r.seen[&client].ended);
    rig.idle(20_000);
    rig.recv(server, Receive::Large);
    rig.run("everything", |r| r.seen[&server].ended);
    assert!(rig.seen[&server].bytes == block);
    rig.finish();
}

pub(crate) fn shutdown_ends_our_direction_only<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(server, Receive::Small);
    rig.recv(client, Receive::Small);
    assert_eq!(rig.send(client, b"question", Last::More), Sent::All);
    rig.driver.shutdown(client);
    rig.driver.shutdown(client);
    rig.run("the end", |r| r.seen[&server].ended);
    assert_eq!(rig.seen[&server].bytes, b"question");
    assert_eq!(rig.send(server, b"answer", Last::End), Sent::All);
    rig.run("the answer", |r| r.seen[&client].bytes == b"answer");
    rig.finish();
}

pub(crate) fn an_early_answer_survives_a_broken_request<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.recv(client, Receive::Small);
    rig.turn(0);
    // The server answers, then closes; it read nothing. With more of the request coming its kernel resets.
    assert_eq!(rig.send(server, b"413", Last::Fin), Sent::All);
    rig.close(server, Close::Graceful);
    let mut outcome = Sent::All;
    for _ in 0..50 {
        outcome = rig.send(client, b"more body", Last::End);
        if outcome != Sent::All {
            break;
        }
        // Only the network moves: no completion is taken.
        let until = rig.driver.now() + 1_000;
        rig.driver.turn(until, false);
    }
    assert!(matches!(outcome, Sent::Failed(_)), "{outcome:?}");
    rig.run("the answer and the end", |r| {
        let seen = &r.seen[&client];
        seen.ended || seen.failed.is_some()
    });
    assert_eq!(rig.seen[&client].bytes, b"413");
    rig.finish();
}

pub(crate) fn an_early_answer_survives_a_queue_that_breaks<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    let body: &'static [u8] = pattern(16 << 20, 3).leak();
    let Sent::Queued(queued) = rig.driver.send(client, Slice::from_static(body), Last::End) else {
        panic!("sixteen MiB do not fit");
    };
    rig.recv(client, Receive::Small);
    rig.turn(0);
    assert_eq!(rig.send(server, b"413", Last::Fin), Sent::All);
    // Its kernel resets, because it read nothing. Answer, end and reset are there before a completion is taken.
    rig.close(server, Close::Graceful);
    rig.run("the answer and the failure", |r| r.seen[&client].failed.is_some());
    let seen = &rig.seen[&client];
    assert_eq!(seen.bytes, b"413");
    assert_eq!(seen.failed, Some((IoError::Reset, queued - seen.sent)));
    rig.finish();
}

pub(crate) fn a_failed_send_is_told_once<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (client, server) = rig.pair();
    rig.close(server, Close::Reset);
    rig.run("Closed", |r| r.seen[&server].closed);
    let mut outcome = Sent::All;
    for _ in 0..50 {
        outcome = rig.send(client, b"into the void", Last::End);
        if outcome != Sent::All || rig.seen[&client].failed.is_some() {
            break;
        }
        let until = rig.driver.now() + 1_000;
        rig.driver.turn(until, false);
    }
    assert!(matches!(outcome, Sent::Failed(_)), "{outcome:?}");
    assert_eq!(rig.driver.queued(client), 0);
    rig.idle(2_000);
    rig.finish();
}
