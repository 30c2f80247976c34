//! epoll(7) as a poller: sockets edge-triggered and registered once, listeners level-triggered.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::poller::{Applied, Input, Interest, OUTPUT, Place, Poller, Raw, Token};
use crate::stream::Streams;
use crate::sys::{self, Errno};
use crate::{Buf, DriverConfig, Micros, Pool, Sock};

/// The epoll driver of one thread.
pub type Epoll = Streams<EpollPoller>;

/// One epoll instance and the events fetched from it.
pub struct EpollPoller {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    at: usize,
    end: usize,
}

/// Registered interest; 0 = not registered.
#[derive(Default)]
pub struct Watch {
    interest: u32,
}

const EDGE: u32 = libc::EPOLLET as u32;
const EDGE_INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 | EDGE;
/// Of several threads that share a listening socket only one wakes up.
const ACCEPT: u32 = (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32;
/// Event data of the waker; no handle has this index.
const WAKE: u64 = u64::MAX;
/// Marks the event data of listeners.
const LISTENER: u32 = 1 << 31;

impl EpollPoller {
    fn control(&mut self, op: c_int, place: Place, interest: u32) -> Result<(), Errno> {
        sys::epoll_control(self.epoll.as_raw_fd(), op, place.fd, interest, data(place.token))
    }

    fn register(&mut self, place: Place, watch: &mut Watch, interest: u32) -> Result<(), Errno> {
        if watch.interest == interest {
            return Ok(());
        }
        let op = if watch.interest == 0 { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_MOD };
        self.control(op, place, interest)?;
        watch.interest = interest;
        Ok(())
    }

    fn forget(&mut self, place: Place, watch: &mut Watch) {
        if std::mem::take(&mut watch.interest) != 0 {
            // Cannot fail for a registered descriptor.
            let _ = self.control(libc::EPOLL_CTL_DEL, place, 0);
        }
    }

    fn fetch(&mut self, micros: Option<Micros>) {
        debug_assert_eq!(self.at, self.end);
        self.at = 0;
        self.end = sys::epoll_wait(self.epoll.as_raw_fd(), &mut self.events, micros);
    }
}

impl Poller for EpollPoller {
    type Watch = Watch;
    const NAME: &'static str = "epoll";
    const ACCEPT_FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

    fn open(config: &DriverConfig, wake: RawFd, _: &Pool) -> Result<EpollPoller, Errno> {
        let none = libc::epoll_event { events: 0, u64: 0 };
        let events = vec![none; config.events.max(1) as usize].into_boxed_slice();
        let mut poller = EpollPoller { epoll: sys::epoll()?, events, at: 0, end: 0 };
        // Edge-triggered and never read: each write is a new edge.
        let place = Place { token: Token::Wake, fd: wake };
        poller.control(libc::EPOLL_CTL_ADD, place, libc::EPOLLIN as u32 | EDGE)?;
        Ok(poller)
    }
    fn foreign() -> Watch {
        Watch::default()
    }
    fn drained(&mut self) -> bool {
        self.at == self.end
    }
    fn poll(&mut self) {
        self.fetch(Some(0));
    }
    fn wait(&mut self, micros: Option<Micros>) {
        self.fetch(micros);
    }
    fn take(&mut self) -> Option<Raw> {
        let event = self.events[..self.end].get(self.at)?;
        self.at += 1;
        Some(Raw { token: token(event.u64), kind: 0, result: 0, flags: event.events })
    }
    fn apply(&mut self, _: Place, _: &mut Watch, raw: Raw) -> Applied {
        Applied { events: raw.flags, ..Applied::default() }
    }
    fn watch(&mut self, place: Place, watch: &mut Watch, interest: Interest) -> Result<(), Errno> {
        let output = if interest == Interest::Both { OUTPUT } else { 0 };
        self.register(place, watch, watch.interest | EDGE_INPUT | output)
    }
    fn unwatch_output(&mut self, place: Place, watch: &mut Watch) {
        if watch.interest & OUTPUT != 0 {
            // Narrowing the interest of a registered descriptor cannot fail.
            let _ = self.register(place, watch, EDGE_INPUT);
        }
    }
    fn watched(watch: &Watch) -> bool {
        watch.interest != 0
    }
    fn input(&mut self, _: &mut Watch) -> Input {
        Input::Direct
    }
    fn unread(&mut self, _: &mut Watch, buf: Buf) {
        debug_assert!(false, "{buf:?} did not come from here");
    }
    fn read_directly(&mut self, _: Place, _: &mut Watch) {}
    fn watch_listener(&mut self, place: Place, watch: &mut Watch) -> Result<(), Errno> {
        self.register(place, watch, ACCEPT)
    }
    fn pause_listener(&mut self, place: Place, watch: &mut Watch) {
        self.forget(place, watch);
    }
    fn release(&mut self, place: Place, watch: &mut Watch, keep: bool) -> bool {
        // A closed descriptor is forgotten by the kernel.
        if keep {
            self.forget(place, watch);
        }
        true
    }
}

fn data(token: Token) -> u64 {
    let (sock, mark) = match token {
        Token::Wake => return WAKE,
        Token::Listener(id) => (Sock::from(id), LISTENER),
        Token::Sock(sock) => (sock, 0),
    };
    u64::from(sock.generation) << 32 | u64::from(sock.index | mark)
}

fn token(data: u64) -> Token {
    let sock = Sock { index: data as u32 & !LISTENER, generation: (data >> 32) as u32 };
    match data {
        WAKE => Token::Wake,
        _ if data as u32 & LISTENER != 0 => Token::Listener(sock.into()),
        _ => Token::Sock(sock),
    }
}
