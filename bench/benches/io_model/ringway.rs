//! The choice: Ringway's driver contract over epoll and over io_uring, without the engine.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use ringway_driver::{
    AcceptOptions, Addr, Choice, Close, ConnectOptions, Done, Driver, DriverConfig, Handle, Last, Micros,
    OsDriver, Receive, Sent, Sock,
};

pub(crate) fn with_epoll(listener: TcpListener, origin: SocketAddr) {
    forward(open(Choice::Epoll), listener, origin);
}

pub(crate) fn with_uring(listener: TcpListener, origin: SocketAddr) {
    forward(open(Choice::Uring), listener, origin);
}

/// Whether this kernel, and this sandbox, let the ring through its self-test.
pub(crate) fn has_uring() -> bool {
    OsDriver::open(Choice::Uring, &DriverConfig::default())
        .is_ok_and(|(_, selected)| selected.name == "uring")
}

fn open(choice: Choice) -> OsDriver {
    let (driver, _) = OsDriver::open(choice, &DriverConfig::default()).expect("the driver opens");
    driver
}

fn forward(mut driver: OsDriver, listener: TcpListener, origin: SocketAddr) {
    listener.set_nonblocking(true).expect("a socket");
    let listener = Handle::Fd(OwnedFd::from(listener));
    let listener = driver.listen(listener, AcceptOptions::default()).expect("a listener");
    driver.accept(listener);
    let origin = Addr::from(origin);
    let mut peers = Peers::default();
    loop {
        driver.turn(Micros::MAX, false);
        while let Some(done) = driver.next() {
            match done {
                Done::Accepted { sock, .. } => {
                    let upstream =
                        driver.connect(&origin, &ConnectOptions::default()).expect("the origin listens");
                    peers.pair(sock, upstream);
                    driver.recv(sock, None, Receive::Small);
                }
                Done::Connected { sock, result } => {
                    result.expect("the origin listens");
                    driver.recv(sock, None, Receive::Small);
                }
                Done::Received { sock, buf, .. } => {
                    if let Sent::Failed(_) = driver.send(peers.of(sock), buf.freeze(), Last::End) {
                        driver.close(sock, Close::Reset);
                    }
                }
                Done::Ended { sock } | Done::Failed { sock, .. } => {
                    driver.close(peers.of(sock), Close::Graceful);
                    driver.close(sock, Close::Graceful);
                }
                _ => {}
            }
        }
    }
}

/// Who a socket forwards to, by its dense index.
#[derive(Default)]
struct Peers(Vec<Sock>);

impl Peers {
    fn pair(&mut self, a: Sock, b: Sock) {
        let needed = a.index.max(b.index) as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed, Sock::NONE);
        }
        self.0[a.index as usize] = b;
        self.0[b.index as usize] = a;
    }

    fn of(&self, sock: Sock) -> Sock {
        self.0[sock.index as usize]
    }
}
