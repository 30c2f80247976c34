//! A bare TCP forwarder on the driver: what an L4 proxy costs before it is a proxy.
//! `cargo run --profile quick-release -p ringway-driver --example forward -- 127.0.0.1:8080 127.0.0.1:3000 [epoll|uring] [splice]`
//!
//! Each direction sends what it received at once and stops reading while the other side does not take it. The end of one
//! direction ends the other side's input, a failure ends both.

use std::net::{SocketAddr, TcpListener};

use ringway_driver::{
    AcceptOptions, Addr, Choice, Close, ConnectOptions, Done, Driver, DriverConfig, Handle, Last, Micros,
    OsDriver, Receive, Sent, Sock,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = args.as_slice() else {
        return Err("usage: forward LISTEN TO [epoll|uring] [splice]".into());
    };
    let choice = match rest.first().map(String::as_str) {
        Some("epoll") => Choice::Epoll,
        Some("uring") => Choice::Uring,
        _ => Choice::Auto,
    };
    let (driver, selected) =
        OsDriver::open(choice, &DriverConfig::default()).map_err(|e| format!("{e:?}"))?;
    eprintln!("{from} -> {to} on {}: {}", selected.name, selected.reason);
    let to: SocketAddr = to.parse()?;
    let splice = rest.iter().any(|arg| arg == "splice");
    let mut forwarder = Forwarder { driver, to: to.into(), splice, peers: Vec::new() };
    forwarder.serve(TcpListener::bind(from)?);
    Ok(())
}

struct Forwarder {
    driver: OsDriver,
    to: Addr,
    splice: bool,
    /// The other side of a socket, by its index.
    peers: Vec<Side>,
}

#[derive(Clone, Copy)]
struct Side {
    peer: Sock,
    /// Input ended (and was passed on).
    ended: bool,
}

impl Forwarder {
    fn serve(&mut self, listener: TcpListener) {
        let listener = self.driver.listen(Handle::Fd(listener.into()), AcceptOptions::default());
        self.driver.accept(listener.expect("a listening socket"));
        loop {
            self.driver.turn(Micros::MAX, false);
            while let Some(done) = self.driver.next() {
                self.on(done);
            }
        }
    }

    fn on(&mut self, done: Done) {
        match done {
            Done::Accepted { sock, .. } => match self.driver.connect(&self.to, &ConnectOptions::default()) {
                Ok(upstream) => self.pair(sock, upstream),
                Err(_) => self.driver.close(sock, Close::Reset),
            },
            Done::Connected { sock, result: Ok(()) } => {
                let client = self.peer(sock);
                self.forward(client, sock);
                self.forward(sock, client);
            }
            Done::Received { sock, buf, .. } => {
                let peer = self.peer(sock);
                match self.driver.send(peer, buf.freeze(), Last::End) {
                    Sent::All => {}
                    Sent::Queued(_) => drop(self.driver.pause(sock)),
                    Sent::Failed(_) => self.close(sock),
                }
            }
            Done::Sent { sock, queued: 0, .. } => {
                let peer = self.peer(sock);
                self.driver.recv(peer, None, Receive::Large);
            }
            Done::Ended { sock } => {
                let peer = self.peer(sock);
                self.peers[sock.index as usize].ended = true;
                if self.peers[peer.index as usize].ended {
                    self.driver.close(sock, Close::Graceful);
                    self.driver.close(peer, Close::Graceful);
                } else {
                    self.driver.shutdown(peer);
                }
            }
            Done::Failed { sock, .. } | Done::Connected { sock, .. } => self.close(sock),
            _ => {}
        }
    }

    fn forward(&mut self, from: Sock, to: Sock) {
        if !self.splice || self.driver.splice(from, to).is_err() {
            self.driver.recv(from, None, Receive::Large);
        }
    }

    fn pair(&mut self, client: Sock, upstream: Sock) {
        let needed = client.index.max(upstream.index) as usize + 1;
        if self.peers.len() < needed {
            self.peers.resize(needed, Side { peer: Sock::NONE, ended: false });
        }
        self.peers[client.index as usize] = Side { peer: upstream, ended: false };
        self.peers[upstream.index as usize] = Side { peer: client, ended: false };
    }

    fn peer(&self, sock: Sock) -> Sock {
        self.peers[sock.index as usize].peer
    }

    fn close(&mut self, sock: Sock) {
        let peer = self.peer(sock);
        self.driver.close(sock, Close::Reset);
        self.driver.close(peer, Close::Reset);
    }
}
