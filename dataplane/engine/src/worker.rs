//! The worker: one core's driver, sessions, pools and snapshot, and the turn that moves them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ringway_driver::{AcceptOptions, Addr, Close, Done, Driver, IoError, ListenerId, Micros, Receive, Sock};
use ringway_policy::rng::Rng;
use ringway_policy::route::MatchScratch;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec;
use ringway_wire::client_hello::ClientHello;
use ringway_wire::http::{RequestHead, ResponseHead};

use crate::access_log::AccessLog;
use crate::cluster::Clusters;
use crate::exchange::Exchange;
use crate::live::Live;
use crate::overload::Overload;
use crate::reply::Date;
use crate::session::{Owner, Session, State, Upstream};
use crate::shared::{Command, Shared};
use crate::slab::{Key, Slab};
use crate::stats::{ListenerStats, StatsPage};
use crate::timer::Wheel;

/// Longest sleep while draining, so that the end is noticed; microseconds.
const DRAIN_CHECK_US: Micros = 50_000;

/// What a worker is given at its start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Number of this worker, from 0.
    pub id: u32,
    /// Seed of its randomness.
    pub seed: u64,
    /// Downstream connections it may hold.
    pub connections_max: u64,
    /// Bytes of buffers it may hold before it sheds load; `u64::MAX` = no limit.
    pub memory_max: u64,
    /// Let the driver spin while an upstream answer is outstanding.
    pub spin: bool,
}

/// How a worker stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call [`Worker::turn`] again.
    Running,
    /// Drained: nothing was cut off.
    Drained,
    /// The drain's time was over: this many sessions were cut off.
    DrainTimedOut(u64),
    /// Stopped at once.
    Stopped,
}

/// A listening socket and what it serves.
pub(crate) struct Listening {
    pub(crate) id: ListenerId,
    pub(crate) name: Arc<str>,
    /// The last configuration that names it, and its place there.
    pub(crate) live: Rc<Live>,
    pub(crate) at: u32,
    /// No longer configured, or draining: open only until its accept queue is empty.
    pub(crate) closing: bool,
    pub(crate) closed: bool,
    pub(crate) active: u64,
    pub(crate) stats: Arc<ListenerStats>,
}

/// Storage reused from request to request.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) out: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) matching: MatchScratch,
}

/// Who a timer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerOwner {
    Session(Key),
    Upstream(Key),
    Accept,
}

/// Drain in progress.
pub(crate) struct Drain {
    pub(crate) until: Micros,
}

/// The proxy of one core.
pub struct Worker<D: Driver> {
    pub(crate) driver: D,
    pub(crate) config: WorkerConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Option<Rc<Live>>,
    /// Older configurations still in use.
    old: Vec<Rc<Live>>,
    pub(crate) listening: Vec<Listening>,
    pub(crate) sessions: Slab<Session>,
    pub(crate) upstreams: Slab<Upstream>,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) clusters: Clusters,
    pub(crate) owners: Vec<(Sock, Owner)>,
    pub(crate) wheel: Wheel<TimerOwner>,
    pub(crate) rng: Rng,
    pub(crate) hello: ClientHello,
    pub(crate) date: Date,
    pub(crate) reply_out: Vec<u8>,
    pub(crate) reply_fields: Vec<u8>,
    pub(crate) scratch: Option<Box<Scratch>>,
    pub(crate) log: AccessLog,
    pub(crate) overload: Overload,
    /// Sessions whose next request may already be buffered.
    pub(crate) ready: VecDeque<Key>,
    /// Attempts whose answer is outstanding (the predicate of spinning).
    pub(crate) in_flight: u64,
    pub(crate) drain: Option<Drain>,
    fired: Vec<TimerOwner>,
    stopped: bool,
}

impl<D: Driver> Worker<D> {
    /// A worker without listeners or configuration; both come by [`Command::Publish`].
    pub fn new(driver: D, config: WorkerConfig, shared: Arc<Shared>) -> Worker<D> {
        shared.set_waker(driver.waker());
        let rng = Rng::new(config.seed);
        let mut wheel = Wheel::new(driver.now());
        let overload = Overload::new(&config, wheel.add(TimerOwner::Accept));
        Worker {
            live: None,
            old: Vec::new(),
            listening: Vec::new(),
            sessions: Slab::default(),
            upstreams: Slab::default(),
            exchanges: Slab::default(),
            clusters: Clusters::default(),
            owners: Vec::new(),
            wheel,
            hello: ClientHello::new(),
            date: Date::default(),
            reply_out: Vec::new(),
            reply_fields: Vec::new(),
            rng,
            scratch: Some(Box::default()),
            log: AccessLog::default(),
            overload,
            ready: VecDeque::new(),
            in_flight: 0,
            drain: None,
            fired: Vec::new(),
            stopped: false,
            driver,
            config,
            shared,
        }
    }

    /// One turn: carries out commands, waits at most until `until` (absolute, on the driver's clock), then handles what came.
    pub fn turn(&mut self, until: Micros) -> Status {
        let wake_at = until.min(self.wheel.next_due()).min(self.log.flush_at()).min(self.drain_check_at());
        self.driver.turn(wake_at, self.config.spin && self.in_flight > 0);
        self.shared.stats.worker.turns.add(1);
        while let Some(done) = self.driver.next() {
            self.on_done(done);
            self.serve_ready();
        }
        self.expire_timers();
        self.serve_ready();
        self.carry_out_commands();
        self.serve_ready();
        self.relieve_pressure();
        self.log.end_turn(self.driver.now(), &self.shared);
        self.retire_snapshots();
        self.status()
    }

    /// Turns until finished.
    pub fn run(&mut self) -> Status {
        loop {
            match self.turn(Micros::MAX) {
                Status::Running => {}
                end => return end,
            }
        }
    }

    /// The driver (for its clock, usage and counters).
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Connections, exchanges and upstream connections held now.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.sessions.len(), self.exchanges.len(), self.upstreams.len())
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Accepted { listener, sock, peer } => self.accepted(listener, sock, peer),
            Done::AcceptFailed { error, .. } => self.accept_failed(error),
            Done::ListenerClosed { listener } => self.listener_closed(listener),
            Done::Received { sock, buf, more } => match self.owner(sock) {
                Owner::Session(key) => self.session_received(key, buf),
                Owner::Upstream(key) => self.upstream_received(key, buf, more),
                Owner::Nobody => {}
            },
            Done::Connected { sock, result } => {
                if let Owner::Upstream(key) = self.owner(sock) {
                    self.upstream_connected(key, result);
                }
            }
            Done::Sent { sock, bytes, queued } => match self.owner(sock) {
                Owner::Session(key) => self.session_sent(key, bytes, queued),
                Owner::Upstream(key) => self.upstream_sent(key, bytes, queued),
                Owner::Nobody => {}
            },
            Done::Ended { sock } => match self.owner(sock) {
                Owner::Session(key) => self.session_ended(key),
                Owner::Upstream(key) => self.upstream_ended(key),
                Owner::Nobody => {}
            },
            Done::PeerClosed { sock } => {
                // What an upstream sent before it closed is still to be read: its end follows then.
                if let Owner::Session(key) = self.owner(sock) {
                    self.session_peer_closed(key);
                }
            }
            Done::Failed { sock, error, .. } => match self.owner(sock) {
                Owner::Session(key) => self.session_failed(key, error),
                Owner::Upstream(key) => self.upstream_failed(key, error),
                Owner::Nobody => {}
            },
            Done::Spliced { from, bytes } => self.spliced(from, bytes),
            Done::Closed { sock } => self.release_owner(sock),
            // Nothing here detaches connections or opens datagram sockets yet; a wake-up's work is done by every turn.
            Done::Detached { .. } | Done::Datagrams { .. } | Done::Woken => {}
        }
    }

    #[inline]
    pub(crate) fn owner(&self, sock: Sock) -> Owner {
        match self.owners.get(sock.index as usize) {
            Some((owned, owner)) if *owned == sock => *owner,
            _ => Owner::Nobody,
        }
    }

    pub(crate) fn set_owner(&mut self, sock: Sock, owner: Owner) {
        let at = sock.index as usize;
        if self.owners.len() <= at {
            self.owners.resize(at + 1, (Sock::NONE, Owner::Nobody));
        }
        self.owners[at] = (sock, owner);
    }

    /// Nothing of this socket concerns us any more but its end.
    pub(crate) fn disown(&mut self, sock: Sock) {
        if self.owner(sock) != Owner::Nobody {
            self.set_owner(sock, Owner::Nobody);
        }
    }

    fn release_owner(&mut self, sock: Sock) {
        if let Some(place) = self.owners.get_mut(sock.index as usize)
            && place.0 == sock
        {
            *place = (Sock::NONE, Owner::Nobody);
        }
    }

    fn serve_ready(&mut self) {
        while let Some(key) = self.ready.pop_front() {
            self.next_request(key);
        }
    }

    fn expire_timers(&mut self) {
        let now = self.driver.now();
        if self.wheel.next_due() > now {
            return;
        }
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(now, &mut fired);
        for owner in fired.drain(..) {
            match owner {
                TimerOwner::Session(key) => self.session_timer(key),
                TimerOwner::Upstream(key) => self.upstream_timer(key),
                TimerOwner::Accept => self.resume_accepting(),
            }
            self.serve_ready();
        }
        self.fired = fired;
    }

    fn carry_out_commands(&mut self) {
        while let Some(command) = self.shared.command() {
            match command {
                Command::Publish { snapshot, listeners } => self.publish(snapshot, listeners),
                Command::Drain { timeout_ms } => self.begin_drain(timeout_ms),
                Command::Stop => self.stopped = true,
            }
        }
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, mut handles: Vec<(Arc<str>, ringway_driver::Handle)>) {
        let mut orphans = Vec::new();
        let slots = self.clusters.adopt(&snapshot, &mut self.rng, &mut orphans);
        for key in orphans {
            self.close_upstream(key, Close::Graceful);
        }
        let live = Rc::new(Live::new(snapshot, slots));
        self.log.set(live.snapshot.process.access_log.as_ref(), &self.shared);
        if let Some(old) = self.live.replace(live.clone()) {
            self.old.push(old);
        }
        for at in 0..live.snapshot.listeners.len() as u32 {
            let name = &live.listener(at).spec.name;
            let handle = handles.iter().position(|(n, _)| n == name).map(|i| handles.swap_remove(i).1);
            match (handle, self.listening.iter().position(|l| l.name == *name && !l.closing)) {
                (None, Some(known)) => {
                    self.listening[known].live = live.clone();
                    self.listening[known].at = at;
                }
                (Some(handle), known) => {
                    if let Some(known) = known {
                        self.close_listening(known);
                    }
                    self.listen(&live, at, handle);
                }
                (None, None) => {}
            }
        }
        for at in 0..self.listening.len() {
            let listening = &self.listening[at];
            let kept = live.snapshot.listeners.iter().any(|l| l.spec.name == listening.name);
            if !listening.closing && !kept {
                self.close_listening(at);
            }
        }
        self.publish_page(&live);
    }

    fn listen(&mut self, live: &Rc<Live>, at: u32, handle: ringway_driver::Handle) {
        let Ok(id) = self.driver.listen(handle, AcceptOptions::default()) else {
            self.shared.stats.worker.accept_paused_total.add(1);
            return;
        };
        let listening = Listening {
            id,
            name: live.listener(at).spec.name.clone(),
            live: live.clone(),
            at,
            closing: false,
            closed: false,
            active: 0,
            stats: Arc::default(),
        };
        // A place is free for reuse when its socket is closed and no session refers to it.
        match self.listening.iter().position(|l| l.closed && l.active == 0) {
            Some(free) => self.listening[free] = listening,
            None => self.listening.push(listening),
        }
        if self.drain.is_some() {
            self.driver.close_listener(id);
        } else if !self.overload.accept_paused {
            self.driver.accept(id);
        }
    }

    fn close_listening(&mut self, at: usize) {
        self.listening[at].closing = true;
        self.driver.close_listener(self.listening[at].id);
        self.hasten_idle_sessions(Some(at as u32));
    }

    fn listener_closed(&mut self, id: ListenerId) {
        if let Some(at) = self.listening.iter().position(|l| l.id == id && !l.closed) {
            self.listening[at].closed = true;
            self.listening[at].closing = true;
            self.hasten_idle_sessions(Some(at as u32));
        }
    }

    fn publish_page(&self, live: &Rc<Live>) {
        let listeners =
            self.listening.iter().filter(|l| !l.closing).map(|l| (l.name.clone(), l.stats.clone())).collect();
        let generation = live.snapshot.generation;
        let page = StatsPage { generation, listeners, clusters: self.clusters.pages(&live.snapshot) };
        self.shared.publish_page(Arc::new(page));
        self.shared.stats.worker.generation.set(generation);
    }

    /// Hands configurations that nothing uses any more back to their owner.
    fn retire_snapshots(&mut self) {
        if self.old.is_empty() {
            self.shared.stats.worker.generations_live.set(u64::from(self.live.is_some()));
            return;
        }
        let mut at = 0;
        while at < self.old.len() {
            if Rc::strong_count(&self.old[at]) > 1 {
                at += 1;
            } else if let Ok(live) = Rc::try_unwrap(self.old.swap_remove(at)) {
                self.shared.retire(live.snapshot);
            }
        }
        // A closed listener without sessions needs no configuration: it lets go of the old one.
        for listening in &mut self.listening {
            if let (true, 0, Some(live)) = (listening.closed, listening.active, &self.live) {
                listening.live = live.clone();
            }
        }
        self.shared.stats.worker.generations_live.set(self.old.len() as u64 + 1);
    }

    fn accepted(&mut self, id: ListenerId, sock: Sock, peer: Addr) {
        let Some(at) = self.listening.iter().position(|l| l.id == id && !l.closed) else {
            self.driver.close(sock, Close::Reset);
            return;
        };
        let now = self.driver.now();
        let listening = &mut self.listening[at];
        listening.active += 1;
        listening.stats.connections_total.add(1);
        listening.stats.connections_active.add(1);
        let stats = &self.shared.stats.worker;
        stats.downstream_connections_total.add(1);
        stats.downstream_connections_active.add(1);
        let live = listening.live.clone();
        let spec = &live.listener(listening.at).spec;
        let wheel = &mut self.wheel;
        let key = self.sessions.insert_with(|key| Session {
            sock,
            timer: wheel.add(TimerOwner::Session(key)),
            listener: at as u32,
            state: State::Idle,
            peer_ended: false,
            buf: None,
            scanned: 0,
            requests: 0,
            exchange: Key::NONE,
            deadline: Micros::MAX,
            opened: now,
            peer,
            proxied: None,
            tunnel: None,
        });
        self.set_owner(sock, Owner::Session(key));
        match spec.proxy_protocol {
            spec::ProxyProtocolIn::Off => self.open_session(key),
            _ => {
                let header_ms = match &spec.protocol {
                    spec::Protocol::Http(http) => http.timeouts.header_ms,
                    spec::Protocol::Tcp(tcp) => tcp.hello_ms,
                };
                self.set_state(key, State::ProxyHeader);
                self.set_deadline(key, crate::exchange::after_ms(now, header_ms));
                self.driver.recv(sock, None, Receive::Small);
            }
        }
        self.after_accept();
    }

    fn accept_failed(&mut self, error: IoError) {
        let _ = error;
        self.back_off_accepting();
        self.shed_idle_sessions();
    }

    fn begin_drain(&mut self, timeout_ms: u64) {
        if self.drain.is_some() {
            return;
        }
        let until = crate::exchange::after_ms(self.driver.now(), timeout_ms.max(1));
        self.drain = Some(Drain { until });
        for at in 0..self.listening.len() {
            if !self.listening[at].closing {
                self.close_listening(at);
            }
        }
        self.hasten_idle_sessions(None);
    }

    fn drain_check_at(&self) -> Micros {
        match &self.drain {
            Some(drain) => drain.until.min(self.driver.now() + DRAIN_CHECK_US),
            None => Micros::MAX,
        }
    }

    fn status(&mut self) -> Status {
        if self.stopped {
            self.log.flush(&self.shared);
            return Status::Stopped;
        }
        let Some(drain) = &self.drain else { return Status::Running };
        let until = drain.until;
        if self.sessions.len() == 0 && self.listening.iter().all(|l| l.closed) {
            self.close_all_upstreams();
            if self.driver.usage().socks == 0 {
                self.log.flush(&self.shared);
                return Status::Drained;
            }
        }
        if self.driver.now() >= until {
            let cut = self.cut_all_sessions();
            self.close_all_upstreams();
            self.log.flush(&self.shared);
            return Status::DrainTimedOut(cut);
        }
        Status::Running
    }

    fn close_all_upstreams(&mut self) {
        for key in self.upstreams.keys().collect::<Vec<_>>() {
            self.close_upstream(key, Close::Graceful);
        }
    }
}
