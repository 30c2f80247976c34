//! The operating system as a backend of the suite: TCP over loopback, and unix sockets.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Backend, contract_suite};
use crate::{Addr, DriverConfig, Epoll, Handle, Uring, rawaddr, sys};

/// Loopback sockets with ports of the kernel's choice.
pub(crate) struct Loopback;

impl Loopback {
    fn listener() -> (Handle, Addr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
        let addr = listener.local_addr().expect("an address");
        (Handle::Fd(listener.into()), addr.into())
    }

    /// Bound, so that nobody else gets the port, but not listening.
    fn refusing() -> (OwnedFd, Addr) {
        let any = Addr::Inet(([127, 0, 0, 1], 0).into());
        let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("a socket");
        sys::bind(fd.as_raw_fd(), &rawaddr::encode(&any).expect("short")).expect("bind");
        let bound = sys::local_addr(fd.as_raw_fd()).expect("an address");
        (fd, rawaddr::decode(&bound, &"".into()))
    }

    fn datagram() -> Option<(Handle, Addr)> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("bind");
        let addr = socket.local_addr().expect("an address");
        Some((Handle::Fd(socket.into()), addr.into()))
    }
}

/// Declares a backend over loopback.
macro_rules! loopback {
    ($name:ident, $driver:ty) => {
        pub(crate) struct $name(Vec<OwnedFd>);

        impl Backend for $name {
            type D = $driver;
            fn open() -> (Self, Self::D) {
                ($name(Vec::new()), <$driver>::open(&DriverConfig::default()).expect("a driver"))
            }
            fn listener(&mut self, _: &mut Self::D) -> (Handle, Addr) {
                Loopback::listener()
            }
            fn refusing(&mut self, _: &mut Self::D) -> Addr {
                let (fd, addr) = Loopback::refusing();
                self.0.push(fd);
                addr
            }
            fn datagram(&mut self, _: &mut Self::D) -> Option<(Handle, Addr)> {
                Loopback::datagram()
            }
        }
    };
}

/// Declares a backend over unix sockets with names outside the file system.
macro_rules! unix {
    ($name:ident, $driver:ty) => {
        pub(crate) struct $name;

        impl Backend for $name {
            type D = $driver;
            const RESETS: bool = false;
            fn open() -> (Self, Self::D) {
                ($name, <$driver>::open(&DriverConfig::default()).expect("a driver"))
            }
            fn listener(&mut self, _: &mut Self::D) -> (Handle, Addr) {
                let fd = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM).expect("a socket");
                sys::bind(fd.as_raw_fd(), &rawaddr::any_unix()).expect("bind");
                sys::listen(fd.as_raw_fd(), 128).expect("listen");
                let bound = sys::local_addr(fd.as_raw_fd()).expect("an address");
                (Handle::Fd(fd), rawaddr::decode(&bound, &"".into()))
            }
            fn refusing(&mut self, _: &mut Self::D) -> Addr {
                Addr::Unix("\0ringway contract suite: nobody listens".into())
            }
            fn datagram(&mut self, _: &mut Self::D) -> Option<(Handle, Addr)> {
                None
            }
        }
    };
}

loopback!(OnEpoll, Epoll);
unix!(OnEpollUnix, Epoll);
unix!(OnUringUnix, Uring);

mod epoll_unix {
    super::contract_suite!(super::OnEpollUnix);
}

mod uring_unix {
    super::contract_suite!(super::OnUringUnix);
}

mod epoll {
    super::contract_suite!(super::OnEpoll);
}

loopback!(OnUring, Uring);

mod uring {
    super::contract_suite!(super::OnUring);
}
