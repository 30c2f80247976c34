//! [`Sim`]: the driver contract on the simulated network.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stream::{Polled, Stream};
use super::world::{Key, Owner, World};
use super::{EndId, Fault, Network};
use crate::table::Table;
use crate::{
    AcceptOptions, Addr, Buf, Class, Close, ConnectOptions, DONES_PER_TURN_MAX, Datagram, Detached, Done,
    Driver, Handle, IoError, Last, ListenerId, Micros, Pool, Receive, Sent, Slice, Sock, Usage, Waker,
};

/// A driver on a simulated [`Network`].
pub struct Sim {
    net: Network,
    world: Rc<RefCell<World>>,
    id: usize,
    options: SimOptions,
    pool: Pool,
    socks: Table<Socket>,
    listeners: Table<Listening>,
    woken: Arc<AtomicBool>,
    now: Micros,
    unix_now: u64,
    /// Completions this turn may still hand out.
    left: usize,
}

/// Limits of a simulated driver.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Sockets open at a time; more connects and accepts fail with [`IoError::Descriptors`].
    pub socks_max: usize,
    /// [`Driver::splice`] exists.
    pub splice: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions { socks_max: 10_000, splice: true }
    }
}

enum Socket {
    Stream(Box<Stream>),
    Datagram { port: usize, closing: bool },
}

struct Listening {
    /// The network's listening socket.
    socket: usize,
    accepting: bool,
    closing: bool,
}

impl Sim {
    /// A driver on that network.
    pub fn new(net: &Network) -> Sim {
        Sim::with_options(net, SimOptions::default())
    }

    /// A driver with its own limits.
    pub fn with_options(net: &Network, options: SimOptions) -> Sim {
        let woken = Arc::new(AtomicBool::new(false));
        let world = Rc::clone(&net.0);
        let id = world.borrow_mut().attach_driver(Arc::clone(&woken));
        Sim {
            net: net.clone(),
            world,
            id,
            options,
            pool: Pool::new(),
            socks: Table::default(),
            listeners: Table::default(),
            woken,
            now: net.now(),
            unix_now: net.unix_now(),
            left: 0,
        }
    }

    /// The network this driver lives on.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// The network's end behind a stream socket.
    pub fn end(&self, sock: Sock) -> Option<EndId> {
        self.stream(sock).map(|s| s.end)
    }

    fn stream(&self, sock: Sock) -> Option<&Stream> {
        match self.socks.at(sock)? {
            Socket::Stream(stream) => Some(stream),
            Socket::Datagram { .. } => None,
        }
    }

    /// The stream behind a handle, unless it is stale or being closed, with the world.
    fn open(&mut self, sock: Sock) -> Option<(&mut Stream, std::cell::RefMut<'_, World>)> {
        match self.socks.at_mut(sock)? {
            Socket::Stream(stream) if !stream.is_closing() => Some((stream, self.world.borrow_mut())),
            _ => None,
        }
    }

    fn adopt(&mut self, end: EndId, connecting: bool) -> Sock {
        let id = self.id;
        let sock = self.socks.insert(Socket::Datagram { port: usize::MAX, closing: false });
        if let Some(socket) = self.socks.at_mut(sock) {
            *socket = Socket::Stream(Box::new(Stream::new(sock, end, id, connecting)));
        }
        self.world.borrow_mut().set_owner(end, Owner::Driver(id, Key::Sock(sock)));
        sock
    }

    fn mark(&mut self, key: Key) {
        self.world.borrow_mut().mark(self.id, key);
    }

    fn produce(&mut self) -> Option<Done> {
        if self.woken.swap(false, Ordering::Relaxed) {
            return Some(Done::Woken);
        }
        loop {
            let key = self.world.borrow_mut().next_ready(self.id)?;
            let done = match key {
                Key::Listener(id) => self.poll_listener(id),
                Key::Sock(sock) => self.poll_sock(sock),
            };
            match done {
                Some(done) => return Some(done),
                None => self.world.borrow_mut().unmark(self.id, key),
            }
        }
    }

    fn poll_sock(&mut self, sock: Sock) -> Option<Done> {
        let target = self.stream(sock).and_then(|s| s.splice_to);
        let held =
            target.is_some_and(|(to, _)| self.stream(to).is_none_or(|s| s.is_closing() || s.queued() > 0));
        let polled = match self.socks.at_mut(sock)? {
            Socket::Stream(stream) => stream.poll(&mut self.world.borrow_mut(), &self.pool, held),
            Socket::Datagram { port, closing: true } => {
                self.world.borrow_mut().ports[*port].open = false;
                Polled::Gone(Done::Closed { sock })
            }
            Socket::Datagram { port, .. } => {
                let port = *port;
                return self.poll_port(sock, port);
            }
        };
        match polled {
            Polled::Nothing => None,
            Polled::Done(done) => Some(done),
            Polled::Gone(done) => {
                self.socks.remove(sock);
                self.world.borrow_mut().unmark(self.id, Key::Sock(sock));
                Some(done)
            }
        }
    }

    fn poll_port(&mut self, sock: Sock, port: usize) -> Option<Done> {
        let mut world = self.world.borrow_mut();
        let mut batch = Vec::new();
        while batch.len() < DATAGRAM_BATCH_MAX
            && let Some(packet) = world.ports[port].inbox.pop_front()
        {
            let Some(class) = Class::holding(packet.bytes.len()) else { continue };
            let mut buf = self.pool.take(class);
            let fits = buf.append(&packet.bytes);
            debug_assert!(fits, "the class was chosen to hold it");
            let local = world.ports[port].addr.ip();
            batch.push(Datagram { peer: packet.from, local, ecn: packet.ecn, segment_size: 0, buf });
        }
        (!batch.is_empty()).then_some(Done::Datagrams { sock, batch })
    }

    fn poll_listener(&mut self, id: Sock) -> Option<Done> {
        let (full, driver) = (self.socks.len() >= self.options.socks_max, self.id);
        let l = self.listeners.at_mut(id)?;
        let mut world = self.world.borrow_mut();
        if !l.accepting && !l.closing {
            return None;
        }
        if world.waiting(l.socket) == 0 || (l.closing && full) {
            if !l.closing {
                return None;
            }
            world.close_listener(l.socket);
            drop(world);
            self.listeners.remove(id);
            return Some(Done::ListenerClosed { listener: id.into() });
        }
        if !l.closing && (full || world.strikes(Fault::AcceptFailed)) {
            l.accepting = false;
            let memory = !full && world.rng.chance(300_000);
            let error = if memory { IoError::Memory } else { IoError::Descriptors };
            return Some(Done::AcceptFailed { listener: id.into(), error });
        }
        let socket = l.socket;
        let (end, peer) = world.accept(socket, Owner::Driver(driver, Key::Listener(id)))?;
        drop(world);
        let sock = self.adopt(end, false);
        Some(Done::Accepted { listener: id.into(), sock, peer })
    }
}

impl Driver for Sim {
    fn now(&self) -> Micros {
        self.now
    }

    fn unix_now(&self) -> u64 {
        self.unix_now
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn listen(&mut self, handle: Handle, _options: AcceptOptions) -> Result<ListenerId, IoError> {
        let Handle::Sim(socket) = handle else { return Err(IoError::Unsupported) };
        let socket = socket as usize;
        let mut world = self.world.borrow_mut();
        let usable = |l: &super::world::Listener| l.open && l.owner == Owner::Nobody;
        if !world.listeners.get(socket).is_some_and(usable) {
            return Err(IoError::Unsupported);
        }
        let id = self.listeners.insert(Listening { socket, accepting: false, closing: false });
        world.own_listener(socket, Owner::Driver(self.id, Key::Listener(id)));
        Ok(id.into())
    }

    fn accept(&mut self, listener: ListenerId) {
        if let Some(l) = self.listeners.at_mut(listener.into()) {
            l.accepting = true;
            self.mark(Key::Listener(listener.into()));
        }
    }

    fn accept_pause(&mut self, listener: ListenerId) {
        if let Some(l) = self.listeners.at_mut(listener.into()) {
            l.accepting = false;
        }
    }

    fn close_listener(&mut self, listener: ListenerId) {
        if let Some(l) = self.listeners.at_mut(listener.into()) {
            l.closing = true;
            self.mark(Key::Listener(listener.into()));
        }
    }

    fn connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError> {
        if self.socks.len() >= self.options.socks_max {
            return Err(IoError::Descriptors);
        }
        let mut world = self.world.borrow_mut();
        if world.strikes(Fault::ConnectError) {
            let memory = world.rng.chance(500_000);
            return Err(if memory { IoError::Memory } else { IoError::Descriptors });
        }
        let source = options.source.map(|ip| Addr::Inet((ip, 0).into()));
        let end = world.connect(Owner::Nobody, source, to);
        drop(world);
        Ok(self.adopt(end, true))
    }

    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        let id = self.id;
        if let Some((stream, mut world)) = self.open(sock) {
            stream.recv(into, size);
            world.mark(id, Key::Sock(sock));
        }
    }

    fn pause(&mut self, sock: Sock) -> Option<Buf> {
        let (stream, _) = self.open(sock)?;
        stream.pause()
    }

    fn queue(&mut self, sock: Sock, data: Slice) {
        if let Some((stream, _)) = self.open(sock) {
            stream.queue(data);
        }
    }

    fn flush(&mut self, sock: Sock, last: Last) -> Sent {
        match self.open(sock) {
            Some((stream, mut world)) => stream.flush(&mut world, last),
            None => Sent::Failed(IoError::Reset),
        }
    }

    fn queued(&self, sock: Sock) -> usize {
        self.stream(sock).map_or(0, Stream::queued)
    }

    fn shutdown(&mut self, sock: Sock) {
        if let Some((stream, mut world)) = self.open(sock) {
            stream.shutdown(&mut world);
        }
    }

    fn close(&mut self, sock: Sock, how: Close) {
        match self.socks.at_mut(sock) {
            Some(Socket::Stream(stream)) => stream.close(&mut self.world.borrow_mut(), how),
            Some(Socket::Datagram { closing, .. }) => {
                *closing = true;
                self.mark(Key::Sock(sock));
            }
            None => {}
        }
    }

    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        if !self.options.splice
            || self.world.borrow_mut().strikes(Fault::NoSplice)
            || self.open(from).is_none()
        {
            return Err(IoError::Unsupported);
        }
        let Some((writer, _)) = self.open(to) else { return Err(IoError::Unsupported) };
        writer.splice_from = Some(from);
        let target = writer.end;
        if let Some((reader, _)) = self.open(from) {
            reader.splice_to = Some((to, target));
        }
        self.mark(Key::Sock(from));
        Ok(())
    }

    fn detach(&mut self, sock: Sock) {
        if let Some((stream, mut world)) = self.open(sock) {
            stream.detach(&mut world);
        }
    }

    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        match detached.handle {
            Handle::Sim(end) => Ok(self.adopt(EndId(end), false)),
            Handle::Fd(_) => Err(IoError::Unsupported),
        }
    }

    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        let Handle::Sim(port) = handle else { return Err(IoError::Unsupported) };
        let port = port as usize;
        if self.world.borrow().ports.get(port).is_none_or(|p| !p.open || p.owner != Owner::Nobody) {
            return Err(IoError::Unsupported);
        }
        let sock = self.socks.insert(Socket::Datagram { port, closing: false });
        self.world.borrow_mut().ports[port].owner = Owner::Driver(self.id, Key::Sock(sock));
        self.mark(Key::Sock(sock));
        Ok(sock)
    }

    fn send_to(&mut self, sock: Sock, batch: Vec<Datagram>) -> usize {
        let Some(Socket::Datagram { port, closing: false }) = self.socks.at(sock) else { return 0 };
        let mut world = self.world.borrow_mut();
        for datagram in &batch {
            let size = match datagram.segment_size {
                0 => datagram.buf.len().max(1),
                size => usize::from(size),
            };
            for segment in datagram.buf.bytes().chunks(size) {
                world.send_packet(*port, &datagram.peer, datagram.ecn, segment);
            }
        }
        batch.len()
    }

    fn local_addr(&self, sock: Sock) -> Option<Addr> {
        match self.socks.at(sock)? {
            Socket::Stream(stream) => Some(self.world.borrow().addr(stream.end)),
            Socket::Datagram { port, .. } => Some(self.world.borrow().ports[*port].addr.clone()),
        }
    }

    fn waker(&self) -> Waker {
        let woken = Arc::clone(&self.woken);
        Waker::new(move || woken.store(true, Ordering::Relaxed))
    }

    fn turn(&mut self, until: Micros, _spin: bool) {
        let mut world = self.world.borrow_mut();
        if world.strikes(Fault::SpuriousWake) {
            self.woken.store(true, Ordering::Relaxed);
        }
        world.turn(self.id, until);
        self.left = match world.strikes(Fault::ShortTurn) {
            true => world.rng.between(1, 4) as usize,
            false => DONES_PER_TURN_MAX,
        };
        drop(world);
        self.now = self.net.now();
        self.unix_now = self.net.unix_now();
    }

    fn next(&mut self) -> Option<Done> {
        self.world.borrow_mut().asked(self.id);
        self.left = self.left.checked_sub(1)?;
        let done = self.produce()?;
        let (kind, number) = describe(&done);
        self.world.borrow_mut().trace.note(self.now, kind, self.id as u64, number);
        Some(done)
    }

    fn usage(&self) -> Usage {
        Usage { socks: self.socks.len(), listeners: self.listeners.len(), buffers: self.pool.stats().out }
    }

    fn name(&self) -> &'static str {
        "sim"
    }
}

impl Drop for Sim {
    /// As the operating system does for a process that ends: every descriptor is closed.
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        for (_, socket) in self.socks.iter() {
            if let Socket::Stream(stream) = socket {
                world.close(stream.end);
            }
        }
        world.detach_driver(self.id);
    }
}

/// The kind of a completion and the slot it is about, for the trace.
fn describe(done: &Done) -> (&'static str, u64) {
    match done {
        Done::Accepted { sock, .. } => ("Accepted", sock.index.into()),
        Done::AcceptFailed { listener, .. } => ("AcceptFailed", listener.index.into()),
        Done::ListenerClosed { listener } => ("ListenerClosed", listener.index.into()),
        Done::Connected { sock, .. } => ("Connected", sock.index.into()),
        Done::Received { sock, .. } => ("Received", sock.index.into()),
        Done::Ended { sock } => ("Ended", sock.index.into()),
        Done::PeerClosed { sock } => ("PeerClosed", sock.index.into()),
        Done::Sent { sock, .. } => ("Sent", sock.index.into()),
        Done::Spliced { from, .. } => ("Spliced", from.index.into()),
        Done::Failed { sock, .. } => ("Failed", sock.index.into()),
        Done::Closed { sock } => ("Closed", sock.index.into()),
        Done::Detached { sock, .. } => ("Detached", sock.index.into()),
        Done::Datagrams { sock, .. } => ("Datagrams", sock.index.into()),
        Done::Woken => ("Woken", 0),
    }
}

/// Datagrams delivered at once.
const DATAGRAM_BATCH_MAX: usize = 32;
