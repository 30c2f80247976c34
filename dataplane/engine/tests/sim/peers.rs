//! All scripted peers of a run, and what wakes them: notices of the network and timers.

use std::collections::{BTreeMap, VecDeque};

use ringway_driver::Addr;
use ringway_driver::sim::{EndId, Network, Notice, Rng};

use super::book::{Book, Ending, Outcome};
use super::client::{Alive, Client, Script};
use super::hostile::Hostile;
use super::plan::Plan;
use super::tcp::{Introduces, TcpPeer, Tunnel, TunnelPlan, Tunnels};
use super::upstream::Serving;

/// What a peer works with.
pub struct Ctx<'a> {
    pub net: &'a Network,
    pub book: &'a mut Book,
    pub tunnels: &'a mut Tunnels,
    pub rng: &'a mut Rng,
    timers: &'a mut BTreeMap<u64, Target>,
}

/// Whom a timer is for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Peer(EndId),
    Slot(usize),
}

impl Ctx<'_> {
    /// Lets the peer at that end act at that time.
    pub fn wake_at(&mut self, end: EndId, at: u64) {
        self.set_timer(Target::Peer(end), at);
    }

    fn set_timer(&mut self, target: Target, at: u64) {
        let token = self.timers.last_key_value().map_or(0, |(token, _)| token + 1);
        self.timers.insert(token, target);
        self.net.timer(at, token);
    }

    /// An exchange is over for its client.
    pub fn conclude(&mut self, id: u64, outcome: Outcome, ending: Ending) {
        self.book.note_broken(id, |end| self.net.is_broken(end));
        self.book.conclude(id, outcome, ending);
    }
}

/// One scripted end.
enum Peer {
    Client(Box<Client>),
    Upstream(Box<Serving>),
    Tcp(Box<TcpPeer>),
    Hostile(Box<Hostile>),
}

/// What listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serves {
    Http,
    Tcp(Introduces),
    /// Upgrades.
    Upgrade,
}

/// What the planner of connections must know.
pub enum Event {
    /// A client's connection ended; what it did not come to send.
    Http(usize, VecDeque<(u64, Plan)>),
    Tcp(usize),
    /// A time that the planner asked for.
    Due(usize),
}

/// All peers.
pub struct Peers {
    pub net: Network,
    pub book: Book,
    pub tunnels: Tunnels,
    pub rng: Rng,
    timers: BTreeMap<u64, Target>,
    peers: BTreeMap<EndId, Peer>,
    listeners: BTreeMap<u64, (Addr, Serves)>,
}

impl Peers {
    pub fn new(net: &Network, rng: Rng) -> Peers {
        Peers {
            net: net.clone(),
            book: Book::default(),
            tunnels: Tunnels::new(),
            rng,
            timers: BTreeMap::new(),
            peers: BTreeMap::new(),
            listeners: BTreeMap::new(),
        }
    }

    /// Starts an upstream.
    pub fn serve(&mut self, addr: &Addr, serves: Serves) {
        let listener = self.net.listen(addr);
        self.listeners.insert(listener, (addr.clone(), serves));
    }

    /// Stops an upstream: connects are refused from now on.
    pub fn stop_serving(&mut self, addr: &Addr) {
        let (net, stopped) = (self.net.clone(), |a: &Addr| a == addr);
        self.listeners.retain(|listener, (at, _)| {
            if stopped(at) {
                net.close_listener(*listener);
            }
            !stopped(at)
        });
    }

    pub fn connect_http(&mut self, slot: usize, to: &Addr, script: Script) {
        let end = self.net.connect(to);
        self.peers.insert(end, Peer::Client(Box::new(Client::new(slot, end, script))));
    }

    pub fn connect_tcp(&mut self, slot: usize, to: &Addr, id: u64, plan: TunnelPlan) {
        let end = self.net.connect(to);
        self.peers.insert(end, Peer::Tcp(Box::new(TcpPeer::client(slot, end, id, &plan))));
        self.tunnels.insert(id, Tunnel { plan, server: None, over: false });
    }

    pub fn connect_hostile(&mut self, slot: usize, to: &Addr) {
        let end = self.net.connect(to);
        self.peers.insert(end, Peer::Hostile(Box::new(Hostile::new(slot, end, &mut self.rng))));
    }

    /// Clients with a connection.
    pub fn clients(&self) -> usize {
        let is_client = |p: &&Peer| match p {
            Peer::Client(_) | Peer::Hostile(_) => true,
            Peer::Tcp(tcp) => tcp.slot.is_some(),
            Peer::Upstream(_) => false,
        };
        self.peers.values().filter(is_client).count()
    }

    /// Peers of any kind with a connection.
    pub fn open(&self) -> usize {
        self.peers.len()
    }

    /// Clients send nothing new any more.
    pub fn wind_up(&mut self) {
        let ends: Vec<EndId> = self.peers.keys().copied().collect();
        for peer in self.peers.values_mut() {
            if let Peer::Client(client) = peer {
                client.wind_up();
            }
        }
        for end in ends {
            let at = self.net.now() + 1;
            self.with_cx(|cx| cx.wake_at(end, at));
        }
    }

    /// Asks for [`Event::Due`] of a slot at that time.
    pub fn call_slot_at(&mut self, slot: usize, at: u64) {
        self.with_cx(|cx| cx.set_timer(Target::Slot(slot), at));
    }

    /// Lets everybody act who has a reason to. Returns what ended.
    pub fn act(&mut self) -> Vec<Event> {
        let mut over = Vec::new();
        while let Some(notice) = self.net.next_notice() {
            match notice {
                Notice::End(end) => over.extend(self.let_act(end)),
                Notice::Timer(token) => match self.timers.remove(&token) {
                    Some(Target::Peer(end)) => over.extend(self.let_act(end)),
                    Some(Target::Slot(slot)) => over.push(Event::Due(slot)),
                    None => {}
                },
                Notice::Listener(listener) => self.accept(listener),
                Notice::Port(_) => {}
            }
        }
        over
    }

    fn with_cx<T>(&mut self, f: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
        f(&mut Ctx {
            net: &self.net,
            book: &mut self.book,
            tunnels: &mut self.tunnels,
            rng: &mut self.rng,
            timers: &mut self.timers,
        })
    }

    fn accept(&mut self, listener: u64) {
        let Some((_, serves)) = self.listeners.get(&listener) else { return };
        let serves = *serves;
        while let Some((end, _)) = self.net.accept(listener) {
            let peer = match serves {
                Serves::Http => Peer::Upstream(Box::new(Serving::new(end))),
                Serves::Tcp(introduces) => Peer::Tcp(Box::new(TcpPeer::server(end, false, introduces))),
                Serves::Upgrade => Peer::Tcp(Box::new(TcpPeer::server(end, true, Introduces::Not))),
            };
            self.peers.insert(end, peer);
            self.let_act(end);
        }
    }

    fn let_act(&mut self, end: EndId) -> Option<Event> {
        let mut peer = self.peers.remove(&end)?;
        let alive = self.with_cx(|cx| match &mut peer {
            Peer::Client(client) => client.act(cx),
            Peer::Upstream(serving) => serving.act(cx),
            Peer::Tcp(tcp) => tcp.act(cx),
            Peer::Hostile(hostile) => hostile.act(cx),
        });
        if alive == Alive::Yes {
            self.peers.insert(end, peer);
            return None;
        }
        match peer {
            Peer::Client(mut client) => Some(Event::Http(client.slot, client.leftover())),
            Peer::Tcp(tcp) => tcp.slot.map(Event::Tcp),
            Peer::Hostile(hostile) => Some(Event::Tcp(hostile.slot)),
            Peer::Upstream(_) => None,
        }
    }
}
