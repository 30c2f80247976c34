//! Accepting and connecting.

use super::Backend;
use super::rig::Rig;
use crate::{AcceptOptions, Close, Driver, IoError, Last, Receive, Sent};

pub(crate) fn connect_and_accept_tell_each_other<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions::default());
    rig.driver.accept(listener);
    let client = rig.connect(&addr);
    assert_eq!(rig.seen[&client].connected, None, "never before the next call of `next`");
    rig.run("both sides", |r| r.accepted.len() == 1 && r.seen[&client].connected.is_some());
    assert_eq!(rig.seen[&client].connected, Some(Ok(())));
    let (server, peer) = rig.accepted[0].clone();
    if let Some(local) = rig.driver.local_addr(client) {
        assert_eq!(local, peer);
        assert_eq!(rig.driver.local_addr(server), Some(addr));
    }
    assert_eq!(rig.driver.usage().socks, 2);
    rig.finish();
}

pub(crate) fn a_refused_connect_says_so<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let addr = rig.backend.refusing(&mut rig.driver);
    let client = rig.connect(&addr);
    rig.run("the refusal", |r| r.seen[&client].connected.is_some());
    assert_eq!(rig.seen[&client].connected, Some(Err(IoError::Refused)));
    assert!(matches!(rig.send(client, b"late", Last::End), Sent::Failed(_)));
    rig.idle(1_000);
    assert!(!rig.seen[&client].closed, "only `close` closes");
    rig.finish();
}

pub(crate) fn closing_while_connecting_is_silent<B: Backend>() {
    for how in [Close::Graceful, Close::Reset, Close::Linger { bytes: 10, deadline: 0 }] {
        let mut rig = Rig::<B>::new();
        let (listener, addr) = rig.listen(AcceptOptions::default());
        let client = rig.connect(&addr);
        rig.close(client, how);
        rig.close(client, how);
        rig.run("Closed", |r| r.seen[&client].closed);
        assert_eq!(rig.seen[&client].connected, None);
        rig.driver.accept(listener);
        rig.idle(1_000);
        rig.finish();
    }
}

pub(crate) fn paused_accept_leaves_connections_waiting<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions::default());
    let first = rig.connect(&addr);
    rig.idle(5_000);
    assert!(rig.accepted.is_empty(), "nothing is accepted before `accept`");
    rig.driver.accept(listener);
    rig.run("the first", |r| r.accepted.len() == 1 && r.seen[&first].connected.is_some());
    rig.driver.accept_pause(listener);
    rig.turn(0);
    let second = rig.connect(&addr);
    rig.idle(5_000);
    assert_eq!(rig.accepted.len(), 1, "nothing is accepted while paused");
    rig.driver.accept(listener);
    rig.driver.accept(listener);
    rig.run("the second", |r| r.accepted.len() == 2 && r.seen[&second].connected.is_some());
    rig.finish();
}

pub(crate) fn closing_a_listener_empties_its_queue<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions::default());
    let clients: Vec<_> = (0..10).map(|_| rig.connect(&addr)).collect();
    rig.run("ten connections", |r| clients.iter().all(|c| r.seen[c].connected == Some(Ok(()))));
    rig.driver.close_listener(listener);
    rig.driver.close_listener(listener);
    rig.run("ListenerClosed", |r| r.listener_closed > 0);
    assert_eq!((rig.accepted.len(), rig.listener_closed), (10, 1));
    assert_eq!(rig.driver.usage().listeners, 0);
    rig.driver.accept(listener);
    let late = rig.connect(&addr);
    rig.run("a refusal", |r| r.seen[&late].connected.is_some());
    assert_eq!(rig.seen[&late].connected, Some(Err(IoError::Refused)));
    rig.finish();
}

pub(crate) fn what_is_sent_before_connected_is_queued<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions::default());
    rig.driver.accept(listener);
    let client = rig.connect(&addr);
    rig.recv(client, Receive::Small);
    let early = rig.send(client, b"early", Last::End);
    assert!(matches!(early, Sent::Queued(5) | Sent::All));
    rig.driver.shutdown(client);
    rig.run("both sides", |r| r.accepted.len() == 1 && r.seen[&client].connected == Some(Ok(())));
    let server = rig.accepted[0].0;
    rig.recv(server, Receive::Small);
    rig.run("the end", |r| r.seen[&server].ended);
    assert_eq!(rig.seen[&server].bytes, b"early");
    assert_eq!(rig.send(server, b"answer", Last::Fin), Sent::All);
    rig.run("the answer", |r| r.seen[&client].ended);
    assert_eq!(rig.seen[&client].bytes, b"answer");
    rig.finish();
}

pub(crate) fn a_quota_accepts_several<B: Backend>() {
    let mut rig = Rig::<B>::new();
    let (listener, addr) = rig.listen(AcceptOptions { quota: 8, ..AcceptOptions::default() });
    let clients: Vec<_> = (0..20).map(|_| rig.connect(&addr)).collect();
    rig.driver.accept(listener);
    rig.run("twenty connections", |r| {
        r.accepted.len() == 20 && clients.iter().all(|c| r.seen[c].connected == Some(Ok(())))
    });
    rig.finish();
}
