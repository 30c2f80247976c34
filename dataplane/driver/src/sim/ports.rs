//! Datagram sockets of the simulated network: queues that lose, double and reorder, as UDP may.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::world::{Event, Owner, World, same_place};
use super::{Fault, Notice};
use crate::{Addr, Micros};

/// A bound datagram socket.
pub(crate) struct Port {
    pub(crate) addr: Addr,
    pub(crate) owner: Owner,
    pub(crate) open: bool,
    pub(crate) inbox: VecDeque<Packet>,
    /// When the latest datagram on its way arrives: the next one comes behind it.
    latest: Micros,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Addr,
    pub(crate) ecn: u8,
    pub(crate) bytes: Vec<u8>,
}

impl World {
    pub(crate) fn bind_port(&mut self, addr: &Addr) -> u64 {
        let (addr, owner, inbox) = (addr.clone(), Owner::Nobody, VecDeque::new());
        self.ports.push(Port { addr, owner, open: true, inbox, latest: 0 });
        self.ports.len() as u64 - 1
    }

    pub(crate) fn send_packet(&mut self, from: usize, to: &Addr, ecn: u8, bytes: &[u8]) {
        let packet = Packet { from: self.ports[from].addr.clone(), ecn, bytes: bytes.to_vec() };
        let Some(port) = self.ports.iter().position(|p| p.open && same_place(&p.addr, to)) else { return };
        if self.strikes(Fault::DatagramLoss) {
            return;
        }
        if self.strikes(Fault::DatagramTwice) {
            self.plan_packet(port, packet.clone());
        }
        self.plan_packet(port, packet);
    }

    fn plan_packet(&mut self, port: usize, packet: Packet) {
        let mut at = self.now + self.latency();
        if self.strikes(Fault::DatagramLate) {
            at += self.rng.between(1, 5_000);
        } else {
            at = at.max(self.ports[port].latest);
            self.ports[port].latest = at;
        }
        self.plan(at, Event::Packet(port, packet));
    }

    pub(super) fn packet_arrives(&mut self, port: usize, packet: Packet) {
        self.trace.note(self.now, "packet", port as u64, packet.bytes.len() as u64);
        if !self.ports[port].open || self.ports[port].inbox.len() >= PORT_QUEUE_MAX {
            return;
        }
        self.ports[port].inbox.push_back(packet);
        match self.ports[port].owner {
            Owner::Driver(driver, key) => self.mark(driver, key),
            Owner::Peer => self.notices.push_back(Notice::Port(port as u64)),
            Owner::Nobody => {}
        }
    }
}

/// Datagrams a port holds; more are lost.
const PORT_QUEUE_MAX: usize = 256;
