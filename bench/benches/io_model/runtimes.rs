//! The same forwarder in each runtime, as its documentation would have one write it: a task per direction, read and
//! write-all, 16 KiB buffers, NODELAY. Each with its defaults, and with the ring flags that matter where it lets one choose.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

const BUFFER_BYTES: usize = 16 * 1024;
const RING_ENTRIES: u32 = 1024;

pub(crate) fn with_tokio(listener: TcpListener, origin: SocketAddr) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{TcpListener, TcpStream};

    async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    }

    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("epoll");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            let upstream = TcpStream::connect(origin).await.expect("the origin listens");
            client.set_nodelay(true).and(upstream.set_nodelay(true)).expect("TCP sockets");
            let ((from_client, to_client), (from_upstream, to_upstream)) =
                (client.into_split(), upstream.into_split());
            tokio::spawn(copy(from_client, to_upstream));
            tokio::spawn(copy(from_upstream, to_client));
        }
    });
}

pub(crate) fn with_monoio(listener: TcpListener, origin: SocketAddr) {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().build().expect("io_uring");
    runtime.block_on(forward_monoio(listener, origin));
}

pub(crate) fn with_monoio_defer(listener: TcpListener, origin: SocketAddr) {
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().uring_builder(ring);
    builder.build().expect("io_uring").block_on(forward_monoio(listener, origin));
}

pub(crate) fn with_monoio_epoll(listener: TcpListener, origin: SocketAddr) {
    listener.set_nonblocking(true).expect("a socket");
    let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build().expect("epoll");
    runtime.block_on(forward_monoio(listener, origin));
}

async fn forward_monoio(listener: TcpListener, origin: SocketAddr) {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt, Splitable};
    use monoio::net::tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf};
    use monoio::net::{TcpListener, TcpStream};

    async fn copy(mut from: TcpOwnedReadHalf, mut to: TcpOwnedWriteHalf) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let (read, filled) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let (written, mut sent) = to.write_all(filled).await;
            if written.is_err() {
                return;
            }
            sent.clear();
            buffer = sent;
        }
    }

    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let upstream = TcpStream::connect_addr(origin).await.expect("the origin listens");
        client.set_nodelay(true).and(upstream.set_nodelay(true)).expect("TCP sockets");
        let ((from_client, to_client), (from_upstream, to_upstream)) =
            (client.into_split(), upstream.into_split());
        monoio::spawn(copy(from_client, to_upstream));
        monoio::spawn(copy(from_upstream, to_client));
    }
}

pub(crate) fn with_compio(listener: TcpListener, origin: SocketAddr) {
    forward_compio(listener, origin, compio::driver::ProactorBuilder::new());
}

pub(crate) fn with_compio_defer(listener: TcpListener, origin: SocketAddr) {
    let mut ring = compio::driver::ProactorBuilder::new();
    ring.single_issuer(true).defer_taskrun(true);
    forward_compio(listener, origin, ring);
}

pub(crate) fn with_compio_epoll(listener: TcpListener, origin: SocketAddr) {
    let mut poll = compio::driver::ProactorBuilder::new();
    poll.driver_type(compio::driver::DriverType::Poll);
    forward_compio(listener, origin, poll);
}

fn forward_compio(listener: TcpListener, origin: SocketAddr, mut proactor: compio::driver::ProactorBuilder) {
    use compio::BufResult;
    use compio::io::{AsyncRead, AsyncWriteExt};
    use compio::net::{TcpListener, TcpStream};

    async fn copy(mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let BufResult(read, filled) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let BufResult(written, mut sent) = to.write_all(filled).await;
            if written.is_err() {
                return;
            }
            sent.clear();
            buffer = sent;
        }
    }

    proactor.capacity(RING_ENTRIES);
    let runtime = compio::runtime::RuntimeBuilder::new().with_proactor(proactor).build().expect("a driver");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            let upstream = TcpStream::connect(origin).await.expect("the origin listens");
            client.set_nodelay(true).and(upstream.set_nodelay(true)).expect("TCP sockets");
            compio::runtime::spawn(copy(client.clone(), upstream.clone())).detach();
            compio::runtime::spawn(copy(upstream, client)).detach();
        }
    });
}

pub(crate) fn with_tokio_uring(listener: TcpListener, origin: SocketAddr) {
    use tokio_uring::net::{TcpListener, TcpStream};

    async fn copy(from: Rc<TcpStream>, to: Rc<TcpStream>) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let (read, filled) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let (written, mut sent) = to.write_all(filled).await;
            if written.is_err() {
                return;
            }
            sent.clear();
            buffer = sent;
        }
    }

    tokio_uring::builder().entries(RING_ENTRIES).start(async move {
        let listener = TcpListener::from_std(listener);
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            let upstream = TcpStream::connect(origin).await.expect("the origin listens");
            client.set_nodelay(true).and(upstream.set_nodelay(true)).expect("TCP sockets");
            let (client, upstream) = (Rc::new(client), Rc::new(upstream));
            tokio_uring::spawn(copy(client.clone(), upstream.clone()));
            tokio_uring::spawn(copy(upstream, client));
        }
    });
}
