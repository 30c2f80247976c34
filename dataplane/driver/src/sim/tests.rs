//! The simulator by itself: determinism, the clock, latency, conservation of bytes, and each rule of the contract it models.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::*;
use crate::{
    AcceptOptions, Addr, Class, Close, ConnectOptions, Done, Driver, Handle, IoError, Last, ListenerId,
    Receive, Sent, Slice, Sock, Usage,
};

fn place(port: u16) -> Addr {
    Addr::Inet(([127, 0, 0, 1], port).into())
}

fn network(seed: u64, faults: FaultPlan) -> Network {
    Network::new(seed, NetworkOptions { faults, ..NetworkOptions::default() })
}

fn calm() -> Network {
    network(1, FaultPlan::none())
}

/// A driver that accepts on `place(80)`.
fn server(net: &Network) -> (Sim, ListenerId) {
    let mut sim = Sim::new(net);
    let listener = sim.listen(Handle::Sim(net.bind(&place(80))), AcceptOptions::default()).unwrap();
    sim.accept(listener);
    (sim, listener)
}

/// Turns `sim` until a completion that `wanted` maps to a value; others are dropped.
fn wait<T>(sim: &mut Sim, mut wanted: impl FnMut(Done) -> Option<T>) -> T {
    for _ in 0..10_000 {
        while let Some(done) = sim.next() {
            if let Some(value) = wanted(done) {
                return value;
            }
        }
        while sim.net_notice() {}
        sim.turn(sim.now() + 1_000_000_000, false);
    }
    panic!("it never came");
}

impl Sim {
    fn net_notice(&self) -> bool {
        self.network().next_notice().is_some()
    }
}

fn accepted(sim: &mut Sim) -> Sock {
    wait(sim, |done| match done {
        Done::Accepted { sock, .. } => Some(sock),
        _ => None,
    })
}

/// One accepted connection and the scripted client of it.
fn pair(net: &Network) -> (Sim, Sock, EndId) {
    let (mut sim, _) = server(net);
    let client = net.connect(&place(80));
    let sock = accepted(&mut sim);
    while net.step(net.now() + 1_000) {}
    (sim, sock, client)
}

fn data(sim: &Sim, bytes: &[u8]) -> Slice {
    let mut buf = sim.pool().take(Class::holding(bytes.len()).unwrap());
    assert!(buf.append(bytes));
    buf.freeze()
}

/// An echo server under many scripted clients: what each client sent must come back, and everything must be gone at the end.
struct Echo {
    net: Network,
    sim: Sim,
    clients: BTreeMap<EndId, Client>,
    clock: u64,
}

struct Client {
    sent: Vec<u8>,
    to_send: Vec<u8>,
    got: Vec<u8>,
    over: bool,
}

impl Echo {
    fn run(seed: u64, faults: FaultPlan, clients: usize) -> Echo {
        let net = network(seed, faults);
        let (sim, _) = server(&net);
        let mut rng = Rng::new(seed);
        let mut echo = Echo { clock: net.now(), net, sim, clients: BTreeMap::new() };
        for _ in 0..clients {
            let mut to_send = vec![0; rng.magnitude(300_000) as usize];
            to_send.fill_with(|| rng.next_u64() as u8);
            let client = Client { sent: Vec::new(), to_send, got: Vec::new(), over: false };
            echo.clients.insert(echo.net.connect(&place(80)), client);
        }
        for turn in 0.. {
            assert!(turn < 200_000, "seed {seed}: it never ends");
            if echo.clients.values().all(|c| c.over) && echo.sim.usage().socks == 0 {
                break;
            }
            echo.turn();
        }
        echo
    }

    fn turn(&mut self) {
        self.sim.turn(u64::MAX, false);
        assert!(self.sim.now() >= self.clock, "the clock went back");
        self.clock = self.sim.now();
        while let Some(done) = self.sim.next() {
            match done {
                Done::Accepted { sock, .. } => self.sim.recv(sock, None, Receive::Small),
                Done::AcceptFailed { listener, .. } => self.sim.accept(listener),
                Done::Received { sock, buf, .. } => match self.sim.send(sock, buf.freeze(), Last::End) {
                    Sent::Queued(n) if n > 50_000 => drop(self.sim.pause(sock)),
                    Sent::Failed(_) => self.sim.close(sock, Close::Graceful),
                    _ => {}
                },
                Done::Sent { sock, queued, .. } if queued < 10_000 => {
                    self.sim.recv(sock, None, Receive::Large)
                }
                Done::Ended { sock } => self.sim.close(sock, Close::Graceful),
                Done::Failed { sock, .. } => self.sim.close(sock, Close::Graceful),
                _ => {}
            }
        }
        while let Some(notice) = self.net.next_notice() {
            let Notice::End(end) = notice else { continue };
            self.client_acts(end);
        }
    }

    fn client_acts(&mut self, end: EndId) {
        let client = self.clients.get_mut(&end).unwrap();
        if self.net.connected(end) == Some(Ok(())) && !client.to_send.is_empty() {
            let n = self.net.write(end, &client.to_send).unwrap_or(0);
            client.sent.extend(client.to_send.drain(..n));
            if client.to_send.is_empty() {
                self.net.shutdown(end);
            }
        }
        loop {
            match self.net.read(end, 10_000, &mut client.got) {
                Read::Bytes(_) => {}
                Read::Empty => return,
                Read::End | Read::Failed(_) => break,
            }
        }
        client.over = true;
        self.net.close(end);
    }
}

#[test]
fn the_seed_decides_the_whole_run() {
    let hash = |seed| Echo::run(seed, FaultPlan::storm(), 6).net.trace_hash();
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}

#[test]
fn no_byte_is_lost_or_invented_without_losses() {
    for seed in 0..40 {
        let faults = if seed % 2 == 0 { FaultPlan::none() } else { FaultPlan::harmless() };
        let echo = Echo::run(seed, faults, 6);
        for client in echo.clients.values() {
            assert!(client.to_send.is_empty(), "seed {seed}");
            assert!(
                client.sent == client.got,
                "seed {seed}: {} B, {} B",
                client.sent.len(),
                client.got.len()
            );
        }
        assert_eq!(echo.sim.usage(), Usage { socks: 0, listeners: 1, buffers: 0 });
        assert_eq!((echo.net.open_of_drivers(), echo.net.open_of_nobody()), (0, 0));
    }
}

#[test]
fn a_storm_loses_only_ends_and_leaks_nothing() {
    let mut counts = FaultCounts::default();
    for seed in 0..60 {
        let echo = Echo::run(seed, FaultPlan::storm(), 6);
        for client in echo.clients.values() {
            assert!(client.sent.starts_with(&client.got), "seed {seed}");
        }
        assert_eq!(echo.sim.usage(), Usage { socks: 0, listeners: 1, buffers: 0 }, "seed {seed}");
        assert_eq!(echo.net.open_of_drivers(), 0);
        counts.merge(&echo.net.fault_counts());
    }
    for fault in
        [Fault::Reset, Fault::Stall, Fault::Split, Fault::ShortSend, Fault::AcceptFailed, Fault::LateClosed]
    {
        assert!(counts.of(fault) > 0, "{fault:?} never happened: {counts}");
    }
}

#[test]
fn nothing_arrives_before_the_latency() {
    let options = NetworkOptions { latency_us: (500, 500), ..NetworkOptions::default() };
    let net = Network::new(1, options);
    let (mut sim, sock, client) = pair(&net);
    sim.recv(sock, None, Receive::Small);
    let sent_at = net.now();
    assert_eq!(net.write(client, b"ping"), Ok(4));
    let (at, bytes) = loop {
        sim.turn(u64::MAX, false);
        if let Some(Done::Received { buf, .. }) = sim.next() {
            break (sim.now(), buf.bytes().to_vec());
        }
        while net.next_notice().is_some() {}
    };
    assert_eq!((at - sent_at, bytes.as_slice()), (500, &b"ping"[..]));
}

#[test]
fn a_turn_ends_at_its_limit() {
    let net = calm();
    let mut sim = Sim::new(&net);
    let until = sim.now() + 12_345;
    sim.turn(until, false);
    assert_eq!((sim.now(), net.now()), (until, until));
    assert!(sim.next().is_none());
}

#[test]
fn drivers_do_not_run_ahead_of_each_other() {
    let net = calm();
    let (mut a, mut b) = (Sim::new(&net), Sim::new(&net));
    a.turn(a.now(), false);
    let deadline = a.now() + 100;
    a.turn(deadline, false);
    let mut turns = 0;
    while net.now() < deadline {
        b.turn(deadline + 1_000_000, false);
        turns += 1;
        assert!(turns < 10);
    }
    b.turn(deadline + 1_000_000, false);
    assert_eq!(net.now(), deadline, "a's deadline is due: b must let it go first");
    a.waker().wake();
    a.turn(u64::MAX, false);
    assert!(matches!(a.next(), Some(Done::Woken)));
    assert!(a.next().is_none());
}

#[test]
fn bytes_wait_in_a_paused_socket_and_into_is_filled_once() {
    let net = calm();
    let (mut sim, sock, client) = pair(&net);
    net.write(client, b"GET /").unwrap();
    let mut head = sim.pool().take(Class::K4);
    assert!(head.append(b"> "));
    sim.recv(sock, Some(head), Receive::Small);
    assert!(sim.pause(sock).is_some_and(|buf| buf.bytes() == b"> "));
    sim.turn(sim.now() + 10_000, false);
    assert!(sim.next().is_none(), "paused");
    let mut head = sim.pool().take(Class::K4);
    assert!(head.append(b"> "));
    sim.recv(sock, Some(head), Receive::Small);
    let got = |done| match done {
        Done::Received { buf, .. } => Some(buf.bytes().to_vec()),
        _ => None,
    };
    assert_eq!(wait(&mut sim, got), b"> GET /");
    net.write(client, b"more").unwrap();
    assert_eq!(wait(&mut sim, got), b"more");
}

#[test]
fn a_full_network_queues_and_tells_progress() {
    let net = calm();
    let (mut sim, sock, client) = pair(&net);
    let (mut queued, mut total) = (0, 0);
    while queued == 0 {
        let slice = data(&sim, &[7; 100_000]);
        total += slice.len();
        queued = match sim.send(sock, slice, Last::End) {
            Sent::All => 0,
            Sent::Queued(n) => n,
            Sent::Failed(error) => panic!("{error:?}"),
        };
    }
    let mut got = Vec::new();
    let mut progress = 0;
    while got.len() < total {
        sim.turn(u64::MAX, false);
        while let Some(done) = sim.next() {
            let Done::Sent { bytes, queued: left, .. } = done else { panic!("{done:?}") };
            progress += bytes;
            assert_eq!((progress + left, sim.queued(sock)), (queued, left));
        }
        while net.next_notice().is_some() {
            net.read(client, 30_000, &mut got);
        }
        net.read(client, 30_000, &mut got);
    }
    assert_eq!(progress, queued);
    assert_eq!(sim.usage().buffers, 0);
}

#[test]
fn data_and_end_arrive_together_after_fin() {
    let net = calm();
    let (mut sim, sock, client) = pair(&net);
    assert_eq!(sim.send(sock, Slice::from_static(b"head"), Last::More), Sent::All);
    assert!(!net.step(net.now() + 150_000), "corked");
    assert_eq!(sim.send(sock, Slice::from_static(b"body"), Last::Fin), Sent::All);
    while net.unread(client) == 0 {
        assert!(net.step(net.now() + 1_000));
    }
    let mut got = Vec::new();
    assert_eq!(net.read(client, 100, &mut got), Read::Bytes(8));
    assert_eq!(net.read(client, 100, &mut got), Read::End);
    assert_eq!(got, b"headbody");
}

#[test]
fn closing_with_unread_input_resets_and_lingering_does_not() {
    for linger in [false, true] {
        let net = calm();
        let (mut sim, sock, client) = pair(&net);
        net.write(client, &[0; 1000]).unwrap();
        while net.step(net.now() + 1_000) {}
        let _ = sim.send(sock, Slice::from_static(b"413"), Last::End);
        let deadline = sim.now() + 1_000_000;
        sim.close(sock, if linger { Close::Linger { bytes: 1 << 20, deadline } } else { Close::Graceful });
        let mut got = Vec::new();
        let outcome = loop {
            sim.turn(u64::MAX, false);
            while sim.next().is_some() {}
            while net.next_notice().is_some() {}
            match net.read(client, 100, &mut got) {
                Read::End => break true,
                Read::Failed(IoError::Reset) => break false,
                _ => {}
            }
        };
        assert_eq!(outcome, linger);
        net.close(client);
        while sim.usage().socks > 0 {
            sim.turn(u64::MAX, false);
            while sim.next().is_some() {}
        }
        assert!(!linger || got == b"413");
    }
}

#[test]
fn lingering_ends_at_its_deadline() {
    let net = calm();
    let (mut sim, sock, _client) = pair(&net);
    let deadline = sim.now() + 700_000;
    sim.close(sock, Close::Linger { bytes: 1 << 20, deadline });
    wait(&mut sim, |done| matches!(done, Done::Closed { .. }).then_some(()));
    assert_eq!(sim.now(), deadline);
}

#[test]
fn stale_handles_are_ignored() {
    let net = calm();
    let (mut sim, sock, _client) = pair(&net);
    sim.close(sock, Close::Reset);
    wait(&mut sim, |done| matches!(done, Done::Closed { sock: s } if s == sock).then_some(()));
    sim.close(sock, Close::Reset);
    sim.recv(sock, None, Receive::Small);
    sim.shutdown(sock);
    assert!(sim.pause(sock).is_none() && sim.queued(sock) == 0 && sim.local_addr(sock).is_none());
    assert!(matches!(sim.send(sock, Slice::from_static(b"x"), Last::End), Sent::Failed(_)));
    sim.turn(sim.now() + 1_000_000, false);
    assert!(sim.next().is_none());
}

#[test]
fn connects_are_refused_answered_or_time_out() {
    let net = calm();
    let mut sim = Sim::new(&net);
    let connect = |sim: &mut Sim| {
        let sock = sim.connect(&place(81), &ConnectOptions::default()).unwrap();
        let result = wait(sim, |done| match done {
            Done::Connected { sock: s, result } if s == sock => Some(result),
            _ => None,
        });
        sim.close(sock, Close::Graceful);
        result
    };
    assert_eq!(connect(&mut sim), Err(IoError::Refused));
    net.listen(&place(81));
    assert_eq!(connect(&mut sim), Ok(()));
    net.set_faults(FaultPlan::none().with(Fault::ConnectTimeout, 1_000_000));
    assert_eq!(connect(&mut sim), Err(IoError::TimedOut));
    net.set_faults(FaultPlan::none().with(Fault::ConnectError, 1_000_000));
    assert!(sim.connect(&place(81), &ConnectOptions::default()).is_err());
    wait(&mut sim, |done| matches!(done, Done::Closed { .. }).then_some(()));
}

#[test]
fn accepting_stops_when_descriptors_run_out_and_goes_on_when_asked() {
    let net = calm();
    let mut sim = Sim::with_options(&net, SimOptions { socks_max: 1, ..SimOptions::default() });
    let listener = sim.listen(Handle::Sim(net.bind(&place(80))), AcceptOptions::default()).unwrap();
    sim.accept(listener);
    let (_first, _second) = (net.connect(&place(80)), net.connect(&place(80)));
    let sock = accepted(&mut sim);
    let error = wait(&mut sim, |done| match done {
        Done::AcceptFailed { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(error, IoError::Descriptors);
    sim.close(sock, Close::Reset);
    wait(&mut sim, |done| matches!(done, Done::Closed { .. }).then_some(()));
    sim.accept(listener);
    accepted(&mut sim);
}

#[test]
fn a_closed_listener_delivers_its_queue_first() {
    let net = calm();
    let (mut sim, listener) = server(&net);
    sim.accept_pause(listener);
    net.connect(&place(80));
    net.connect(&place(80));
    while net.step(net.now() + 1_000) {}
    sim.close_listener(listener);
    let mut dones = Vec::new();
    wait(&mut sim, |done| {
        dones.push(matches!(done, Done::Accepted { .. }));
        matches!(done, Done::ListenerClosed { .. }).then_some(())
    });
    assert_eq!(dones, [true, true, false]);
    assert_eq!(sim.usage().listeners, 0);
}

#[test]
fn a_detached_connection_lives_on_in_another_driver() {
    let net = calm();
    let (mut sim, sock, client) = pair(&net);
    sim.recv(sock, None, Receive::Small);
    sim.detach(sock);
    let detached = wait(&mut sim, |done| match done {
        Done::Detached { result, .. } => Some(result),
        _ => None,
    });
    assert_eq!(sim.usage().socks, 0);
    let mut other = Sim::new(&net);
    let sock = other.attach(detached.unwrap()).unwrap();
    other.recv(sock, None, Receive::Small);
    net.write(client, b"still there").unwrap();
    let bytes = wait(&mut other, |done| match done {
        Done::Received { buf, .. } => Some(buf.bytes().to_vec()),
        _ => None,
    });
    assert_eq!(bytes, b"still there");
}

#[test]
fn a_byte_seen_while_detaching_keeps_the_connection() {
    let net = network(1, FaultPlan::none().with(Fault::LateDetached, 1_000_000));
    let (mut sim, sock, client) = pair(&net);
    net.write(client, b"x").unwrap();
    while net.step(net.now() + 1_000) {}
    sim.detach(sock);
    assert!(wait(&mut sim, |done| match done {
        Done::Detached { result, .. } => Some(result.is_err()),
        _ => None,
    }));
    sim.close(sock, Close::Graceful);
    wait(&mut sim, |done| matches!(done, Done::Closed { .. }).then_some(()));
}

#[test]
fn a_paused_socket_hears_of_the_end_and_of_a_reset() {
    let net = calm();
    let (mut sim, sock, client) = pair(&net);
    net.write(client, b"last words").unwrap();
    net.shutdown(client);
    wait(&mut sim, |done| matches!(done, Done::PeerClosed { sock: s } if s == sock).then_some(()));
    net.reset(client);
    wait(&mut sim, |done| matches!(done, Done::Failed { error: IoError::Reset, .. }).then_some(()));
}

#[test]
fn a_splice_moves_every_byte_and_the_end() {
    let net = calm();
    let (mut sim, from, source) = pair(&net);
    let sink = net.connect(&place(80));
    let to = accepted(&mut sim);
    sim.splice(from, to).unwrap();
    let all: Vec<u8> = (0..500_000u32).map(|i| (i % 251) as u8).collect();
    let (mut sent, mut got, mut moved, mut ended) = (0, Vec::new(), 0, false);
    while !ended || got.len() < all.len() {
        sent += net.write(source, &all[sent..]).unwrap_or(0);
        if sent == all.len() {
            net.shutdown(source);
        }
        sim.turn(u64::MAX, false);
        while let Some(done) = sim.next() {
            match done {
                Done::Spliced { bytes, .. } => moved += bytes,
                Done::Ended { sock } => ended = sock == from,
                other => panic!("{other:?}"),
            }
        }
        while net.next_notice().is_some() {}
        net.read(sink, 40_000, &mut got);
    }
    assert_eq!(moved, all.len() as u64);
    assert!(got == all);
}

#[test]
fn two_splices_between_the_same_sockets_do_not_wake_each_other_for_ever() {
    let net = calm();
    let (mut sim, a, left) = pair(&net);
    let right = net.connect(&place(80));
    let b = accepted(&mut sim);
    sim.splice(a, b).unwrap();
    sim.splice(b, a).unwrap();
    let all: Vec<u8> = (0..400_000u32).map(|i| (i % 241) as u8).collect();
    let (mut sent, mut got) = ([0, 0], [Vec::new(), Vec::new()]);
    while got.iter().any(|g| g.len() < all.len()) {
        for (i, end) in [left, right].into_iter().enumerate() {
            sent[i] += net.write(end, &all[sent[i]..]).unwrap_or(0);
            net.read(end, 50_000, &mut got[1 - i]);
        }
        sim.turn(u64::MAX, false);
        while sim.next().is_some() {}
        while net.next_notice().is_some() {}
    }
    assert!(got.iter().all(|g| *g == all));
}

#[test]
fn datagrams_arrive_split_by_segment_and_some_are_lost() {
    let net = network(3, FaultPlan::none().with(Fault::DatagramLoss, 300_000));
    let mut sim = Sim::new(&net);
    let sock = sim.datagram(Handle::Sim(net.bind_datagram(&place(53)))).unwrap();
    let peer = net.datagram(&place(5353));
    for i in 0..50u8 {
        net.send_datagram(peer, &place(53), &[i; 3]);
    }
    let batch = wait(&mut sim, |done| match done {
        Done::Datagrams { batch, .. } => Some(batch),
        _ => None,
    });
    assert!(batch.iter().all(|d| d.buf.len() == 3 && d.peer == place(5353)));
    let mut reply = batch.into_iter().next().unwrap();
    assert!(reply.buf.append(b"abc"));
    (reply.segment_size, reply.ecn) = (4, 1);
    net.set_faults(FaultPlan::none());
    assert_eq!(sim.send_to(sock, vec![reply]), 1);
    while net.step(net.now() + 1_000) {}
    let mut sizes = Vec::new();
    while let Some((from, bytes)) = net.read_datagram(peer) {
        assert_eq!(from, place(53));
        sizes.push(bytes.len());
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4]);
    assert!(net.fault_counts().of(Fault::DatagramLoss) > 5);
    sim.close(sock, Close::Graceful);
    wait(&mut sim, |done| matches!(done, Done::Closed { .. }).then_some(()));
}

#[test]
fn what_a_dropped_driver_held_is_closed() {
    let net = calm();
    let (sim, _, client) = pair(&net);
    drop(sim);
    while net.step(net.now() + 1_000) {}
    assert_eq!(net.read(client, 10, &mut Vec::new()), Read::End);
    let late = net.connect(&place(80));
    while net.step(net.now() + 1_000) {}
    assert_eq!(net.connected(late), Some(Err(IoError::Refused)));
}
