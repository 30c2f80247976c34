//! No allocation in the steady state: requests and answers over kept-alive connections, on both OS drivers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpListener;

use ringway_driver::{
    AcceptOptions, Addr, Choice, ConnectOptions, Done, Driver, DriverConfig, Handle, Last, OsDriver, Receive,
    Sent, Sock,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: every call is passed on to the system allocator; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CONNECTIONS: usize = 16;
const WARM_UP: usize = 50;
const ROUNDS: usize = 500;

#[test]
fn epoll_does_not_allocate_per_exchange() {
    no_allocation(Choice::Epoll);
}

#[test]
fn the_default_driver_does_not_allocate_per_exchange() {
    no_allocation(Choice::Auto);
}

fn no_allocation(choice: Choice) {
    let (mut driver, _) = OsDriver::open(choice, &DriverConfig::default()).expect("a driver");
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let addr = Addr::from(socket.local_addr().expect("an address"));
    let listener = driver.listen(Handle::Fd(socket.into()), AcceptOptions::default()).expect("listen");
    driver.accept(listener);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = driver.connect(&addr, &ConnectOptions::default()).expect("a socket");
        driver.recv(client, None, Receive::Large);
        clients.push(client);
    }
    let mut connected = 0;
    while connected < CONNECTIONS {
        connected += turn(&mut driver).connected;
    }
    let mut before = 0;
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            before = ALLOCATIONS.get();
        }
        for &client in &clients {
            send(&mut driver, client, b"GET / HTTP/1.1");
        }
        let mut answered = 0;
        while answered < CONNECTIONS {
            answered += turn(&mut driver).answered;
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in {ROUNDS} rounds on {}", driver.name());
}

#[derive(Default)]
struct Turn {
    connected: usize,
    answered: usize,
}

/// One turn of both sides: the accepted side answers in the buffer of the request, as a proxy does.
fn turn(driver: &mut OsDriver) -> Turn {
    let mut turn = Turn::default();
    let until = driver.now() + 100_000;
    driver.turn(until, false);
    while let Some(done) = driver.next() {
        match done {
            Done::Accepted { sock, .. } => driver.recv(sock, None, Receive::Small),
            Done::Connected { result, .. } => {
                result.expect("connected");
                turn.connected += 1;
            }
            Done::Received { sock, mut buf, .. } if buf.bytes().starts_with(b"GET") => {
                // A session pauses while its request is answered.
                assert!(driver.pause(sock).is_none());
                assert!(buf.prepend(b"HTTP/1.1 200 OK\r\n"));
                assert_eq!(driver.send(sock, buf.freeze(), Last::End), Sent::All);
                driver.recv(sock, None, Receive::Small);
            }
            Done::Received { .. } => turn.answered += 1,
            other => panic!("{other:?}"),
        }
    }
    turn
}

fn send(driver: &mut OsDriver, sock: Sock, bytes: &[u8]) {
    let mut buf = driver.pool().take(ringway_driver::Class::K4);
    assert!(buf.append(bytes));
    assert_eq!(driver.send(sock, buf.freeze(), Last::End), Sent::All);
}
