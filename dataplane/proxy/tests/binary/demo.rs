//! The built-in demonstration and `--to`, run in this process with a port of the kernel's choice, and workers that panic.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use ringway::cli::{Local, RunArgs, Workers};
use ringway::control::{Options, run};
use ringway::exit::Exit;
use ringway::source::Source;
use ringway::workers::{Body, serve_with};
use ringway_policy::spec::{Address, DriverChoice};

use crate::support::{Folder, Upstream, ask, connect_unix, get, wait_until};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Ringway on a thread of this process, asked through its admin socket.
pub(crate) struct Inside {
    thread: Option<JoinHandle<Exit>>,
    admin: PathBuf,
}

impl Inside {
    pub(crate) fn start(folder: &Folder, source: Source, change: impl FnOnce(&mut Options)) -> Inside {
        let admin = folder.path("admin.sock");
        let args = RunArgs {
            workers: Some(Workers::Count(2)),
            driver: Some(DriverChoice::Epoll),
            admin: Some(Local::At(Address::Unix(admin.to_str().expect("is text").into()))),
            ..RunArgs::default()
        };
        let mut options = Options { source, args, dns_servers: None, body: None };
        change(&mut options);
        let thread = Some(std::thread::spawn(move || run(options)));
        let this = Inside { thread, admin };
        wait_until("it is ready", || {
            this.admin.exists() && this.try_admin("/ready").is_some_and(|ready| ready.status == 200)
        });
        this
    }

    fn try_admin(&self, path: &str) -> Option<crate::support::Answer> {
        let stream = std::os::unix::net::UnixStream::connect(Path::new(&self.admin)).ok()?;
        Some(ask(stream, "GET", path, &[("Host", "localhost")]))
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        ask(connect_unix(&self.admin), "GET", path, &[("Host", "localhost")]).body
    }

    pub(crate) fn web(&self) -> SocketAddr {
        let listeners = self.admin("/listeners");
        listeners.trim().strip_prefix("web ").expect("there is one listener").parse().expect("an address")
    }

    pub(crate) fn drain(mut self) -> Exit {
        let fields = [("Host", "localhost"), ("Content-Length", "0")];
        assert_eq!(ask(connect_unix(&self.admin), "POST", "/drain", &fields).status, 202);
        self.join()
    }

    pub(crate) fn join(&mut self) -> Exit {
        self.thread.take().expect("runs").join().expect("no panic")
    }
}

#[test]
fn the_demonstration_answers_through_both_samples() {
    let folder = Folder::new();
    let ringway =
        Inside::start(&folder, Source::Demo { listen: ANY_PORT }, |options| options.args.workers = None);
    let web = ringway.web();
    let first_is_one = (0..4).map(|_| {
        let body = get(web, "/hello?a=b").body;
        assert!(body.contains("GET /hello?a=b"), "{body}");
        assert!(
            body.starts_with("Hello from sample one ") || body.starts_with("Hello from sample two "),
            "{body}"
        );
        body.starts_with("Hello from sample one ")
    });
    let seen: Vec<bool> = first_is_one.collect();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "one sample, then the other: {seen:?}");
    assert!(ringway.admin("/config_dump").contains("version: 1"));
    assert_eq!(ringway.drain(), Exit::Done);
}

#[test]
fn to_proxies_one_service() {
    let (folder, upstream) = (Folder::new(), Upstream::start("mine"));
    let source = Source::To { listen: ANY_PORT, upstream: Address::Inet(upstream.address) };
    let ringway = Inside::start(&folder, source, |_| {});
    assert_eq!(get(ringway.web(), "/").body, "mine");
    assert_eq!(ringway.drain(), Exit::Done);
}

#[test]
fn the_demonstration_says_what_to_do_when_its_port_is_taken() {
    let taken = std::net::TcpListener::bind(ANY_PORT).expect("binds");
    let source = Source::Demo { listen: taken.local_addr().expect("is bound") };
    let args = RunArgs { admin: Some(Local::Off), ..RunArgs::default() };
    assert_eq!(run(Options { source, args, dns_servers: None, body: None }), Exit::Bind);
}

/// A worker body that panics when told to.
fn panicking(panic_now: Arc<AtomicBool>, started: Arc<AtomicU32>) -> Body {
    Arc::new(move |starter, number, shared| {
        started.fetch_add(1, Ordering::SeqCst);
        serve_with(starter, number, shared, || {
            assert!(!panic_now.swap(false, Ordering::SeqCst), "told to");
        })
    })
}

#[test]
fn a_worker_that_panics_is_started_again_on_its_sockets() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let source = Source::To { listen: ANY_PORT, upstream: Address::Inet(upstream.address) };
    let (panic_now, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let body = panicking(panic_now.clone(), started.clone());
    let ringway = Inside::start(&folder, source, |options| options.body = Some(body));
    let web = ringway.web();
    assert_eq!(get(web, "/").body, "up");
    for again in 1..=2 {
        panic_now.store(true, Ordering::SeqCst);
        wait_until("the worker is started again", || {
            // Connections to either worker wake it up; those of the one that panics are lost.
            let _ = std::net::TcpStream::connect(web);
            ringway.admin("/metrics").contains(&format!("ringway_worker_panics_total {again}\n"))
                && started.load(Ordering::SeqCst) == 2 + again
        });
        wait_until("all workers serve", || ringway.admin("/ready") == "ready\n");
        for _ in 0..8 {
            assert_eq!(get(web, "/").body, "up");
        }
    }
    // What the lost worker had counted is still there.
    assert!(!ringway.admin("/metrics").contains("ringway_requests_total 0\n"));
    assert_eq!(ringway.drain(), Exit::Done);
}

#[test]
fn the_third_panic_within_a_minute_ends_the_process() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let source = Source::To { listen: ANY_PORT, upstream: Address::Inet(upstream.address) };
    let (panic_now, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let body = panicking(panic_now.clone(), started.clone());
    let mut ringway = Inside::start(&folder, source, |options| options.body = Some(body));
    let web = ringway.web();
    for again in 1..=3 {
        panic_now.store(true, Ordering::SeqCst);
        wait_until("the worker has panicked", || {
            let _ = std::net::TcpStream::connect(web);
            !panic_now.load(Ordering::SeqCst)
        });
        if again < 3 {
            wait_until("it is started again", || started.load(Ordering::SeqCst) == 2 + again);
        }
    }
    assert_eq!(ringway.join(), Exit::Failed);
}
