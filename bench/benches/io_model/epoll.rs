//! The floor: a bare epoll loop. Level-triggered, registered once, one read and one write per event.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::event::epoll;

use crate::load::{EVENTS_MAX, index, prepare, wait, watch};

/// Connections come in pairs: client at an even index, its upstream at the next one.
pub(crate) fn forward(listener: TcpListener, origin: SocketAddr) {
    const LISTENER: usize = usize::MAX;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    watch(&poller, &listener, LISTENER);
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        wait(&poller, &mut events);
        for event in events.drain(..) {
            let at = index(&event);
            if at == LISTENER {
                let (client, _) = listener.accept().expect("a connection");
                let upstream = TcpStream::connect(origin).expect("the origin listens");
                for stream in [client, upstream] {
                    prepare(&stream);
                    watch(&poller, &stream, streams.len());
                    streams.push(stream);
                }
                continue;
            }
            let (mut from, mut to) = (&streams[at], &streams[at ^ 1]);
            match from.read(&mut buffer) {
                Ok(n) if n > 0 => to.write_all(&buffer[..n]).expect("room for one message"),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                _ => epoll::delete(&poller, from).expect("was added"),
            }
        }
    }
}
