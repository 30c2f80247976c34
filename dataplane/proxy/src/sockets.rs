//! Listening sockets: bound by the control thread, owned by the process, lent to workers. A worker that panics is
//! restarted on the same sockets, and a socket is closed only when its listener is no longer configured.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use ringway_driver::Handle;
use ringway_policy::spec::{Address, Listener, Protocol};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::show;

/// Connections the kernel queues per socket; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long the kernel holds back a connection on which the client says nothing. Seconds.
const DEFER_ACCEPT_S: u32 = 1;

/// The sockets of all listeners, by name.
#[derive(Debug, Default)]
pub struct Sockets {
    bound: BTreeMap<Arc<str>, Bound>,
}

/// The sockets of one listener.
#[derive(Debug)]
struct Bound {
    /// As configured: what a reload compares.
    key: Key,
    /// As bound: with the port the kernel chose.
    actual: Address,
    /// One per worker, or a single one that all workers share (unix).
    sockets: Vec<OwnedFd>,
    /// The file of a unix socket: removed with the listener, unless somebody replaced it.
    _file: Option<UnixFile>,
}

/// What a socket is made from; a listener whose key changed gets new sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    address: Address,
    client_first: bool,
    steering: bool,
}

/// The file of a bound unix socket; dropping it removes the file, unless somebody replaced it.
#[derive(Debug)]
pub struct UnixFile {
    path: Arc<str>,
    device: u64,
    inode: u64,
}

impl UnixFile {
    /// Takes charge of the file a socket was just bound to.
    pub fn of(path: Arc<str>) -> std::io::Result<UnixFile> {
        let metadata = std::fs::symlink_metadata(&*path)?;
        Ok(UnixFile { device: metadata.dev(), inode: metadata.ino(), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }
}

/// Why a listener has no socket.
#[derive(Debug)]
pub struct BindError {
    /// Name of the listener.
    pub listener: String,
    /// Its address.
    pub address: String,
    /// What the operating system said.
    pub error: Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError { listener, address, error } = self;
        let reason = match error.kind() {
            ErrorKind::AddrInUse => "another process listens there".to_string(),
            ErrorKind::AddrNotAvailable => "this machine has no such address".to_string(),
            ErrorKind::PermissionDenied => {
                "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_string()
            }
            _ => error.to_string(),
        };
        write!(f, "cannot listen on {address} ({listener}): {reason}")
    }
}

/// Sockets bound for a configuration that is not in force yet; dropping it undoes nothing that serves.
#[derive(Debug, Default)]
pub struct Prepared {
    fresh: BTreeMap<Arc<str>, Bound>,
}

impl Sockets {
    /// Binds what `listeners` need and do not have. Nothing changes until [`Sockets::install`].
    pub fn prepare(
        &self,
        listeners: &[&Listener],
        workers: usize,
        steering: bool,
    ) -> Result<Prepared, BindError> {
        let mut prepared = Prepared::default();
        for listener in listeners {
            let key = Key {
                address: listener.address.clone(),
                client_first: client_speaks_first(listener),
                steering,
            };
            if self.bound.get(&listener.name).is_some_and(|bound| bound.key == key) {
                continue;
            }
            // Our own socket of another listener's name is no conflict: it closes once the new one is in force.
            let ours = self.bound.values().any(|bound| bound.actual == key.address);
            let bound = Bound::bind(key, workers, ours).map_err(|error| BindError {
                listener: listener.name.to_string(),
                address: show(&listener.address),
                error,
            })?;
            prepared.fresh.insert(listener.name.clone(), bound);
        }
        Ok(prepared)
    }

    /// Puts prepared sockets in force. Sockets of listeners no longer named lose the process's own descriptor here, so that
    /// the worker's close, after emptying the accept queue, is the last one.
    pub fn install(&mut self, prepared: Prepared, listeners: &[&Listener]) {
        self.bound.retain(|name, _| listeners.iter().any(|listener| listener.name == *name));
        self.bound.extend(prepared.fresh);
    }

    /// A descriptor of every listener for one worker.
    pub fn handles(&self, worker: usize) -> std::io::Result<Vec<(Arc<str>, Handle)>> {
        self.bound.iter().map(|(name, bound)| Ok((name.clone(), bound.handle(worker)?))).collect()
    }

    /// Listener names and the addresses they are really bound to.
    pub fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, &Address)> {
        self.bound.iter().map(|(name, bound)| (name, &bound.actual))
    }

    /// Gives up the process's own descriptors: the workers' are the last ones. Unix socket files are removed.
    pub fn release(&mut self) {
        self.bound.clear();
    }
}

impl Prepared {
    /// A descriptor of every fresh listener for one worker.
    pub fn handles(&self, worker: usize) -> std::io::Result<Vec<(Arc<str>, Handle)>> {
        self.fresh.iter().map(|(name, bound)| Ok((name.clone(), bound.handle(worker)?))).collect()
    }
}

impl Bound {
    fn handle(&self, worker: usize) -> std::io::Result<Handle> {
        let socket = self.sockets.get(worker).or(self.sockets.first());
        let socket = socket.ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        Ok(Handle::Fd(socket.try_clone()?))
    }

    fn bind(key: Key, workers: usize, ours: bool) -> std::io::Result<Bound> {
        match &key.address {
            Address::Inet(address) => Bound::bind_inet(*address, key.clone(), workers, ours),
            Address::Unix(path) => Bound::bind_unix(path.clone(), key.clone(), ours),
            Address::Dns(..) => {
                Err(Error::new(ErrorKind::InvalidInput, "a listener needs an IP address, not a name"))
            }
        }
    }

    /// One socket per worker. The first is tried without SO_REUSEPORT: with it, a second Ringway on the same port would
    /// silently take half of the connections of the first.
    fn bind_inet(address: SocketAddr, key: Key, workers: usize, ours: bool) -> std::io::Result<Bound> {
        if !ours && address.port() != 0 {
            inet_socket(address, false)?;
        }
        let mut actual = address;
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            let socket = inet_socket(actual, true)?;
            if key.client_first {
                ringway_driver::listen::defer_accept(socket.as_fd(), DEFER_ACCEPT_S)?;
            }
            actual = socket.local_addr()?.as_socket().unwrap_or(actual);
            sockets.push(socket);
        }
        // Listening starts together, so that no connection hashes to a socket of a group still growing.
        for socket in &sockets {
            socket.listen(BACKLOG)?;
        }
        if let (true, Some(first)) = (key.steering, sockets.first()) {
            ringway_driver::listen::steer_by_cpu(first.as_fd(), workers as u32)?;
        }
        let sockets = sockets.into_iter().map(OwnedFd::from).collect();
        Ok(Bound { key, actual: Address::Inet(actual), sockets, _file: None })
    }

    fn bind_unix(path: Arc<str>, key: Key, ours: bool) -> std::io::Result<Bound> {
        let socket = unix_socket(&path, ours)?;
        let file = UnixFile::of(path.clone())?;
        Ok(Bound { key, actual: Address::Unix(path), sockets: vec![socket.into()], _file: Some(file) })
    }
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        let same = |m: &std::fs::Metadata| (m.dev(), m.ino()) == (self.device, self.inode);
        if std::fs::symlink_metadata(&*self.path).is_ok_and(|m| same(&m)) {
            let _ = std::fs::remove_file(&*self.path);
        }
    }
}

/// Binds and listens on a TCP address for the control thread itself (admin, telemetry, samples).
pub fn listen_inet(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = inet_socket(address, false)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds and listens on a unix socket path, replacing the file of a listener that is gone. With `replace` the file is
/// replaced even when somebody (ourselves) still listens on it.
pub fn unix_socket(path: &str, replace: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(Error::new(ErrorKind::AlreadyExists, "a file is there that is no socket"));
        }
        if !replace && is_served(&address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    } else if let Some(folder) = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty() && !p.is_dir())
    {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no folder {}", folder.display())));
    }
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether a process still accepts on this unix socket. Only a refusal proves that nobody does.
fn is_served(address: &SockAddr) -> bool {
    let Ok(probe) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return true };
    let _ = probe.set_nonblocking(true);
    match probe.connect(address) {
        Ok(()) => true,
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
    }
}

fn inet_socket(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if let SocketAddr::V6(v6) = address {
        // `[::]` serves IPv4 as well; any other address is what it says.
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // Accepted sockets inherit it, which saves a system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether the kernel may hold a connection back until its first bytes are there.
fn client_speaks_first(listener: &Listener) -> bool {
    match &listener.protocol {
        Protocol::Http(_) => true,
        Protocol::Tcp(tcp) => tcp.client_first || !tcp.sni.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_policy::spec::{Http, ProxyProtocolIn, Tcp};
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn listener(name: &str, address: Address) -> Listener {
        Listener {
            name: name.into(),
            address,
            proxy_protocol: ProxyProtocolIn::Off,
            proxy_protocol_trusted: Vec::new(),
            protocol: Protocol::Tcp(Tcp::default()),
        }
    }

    fn loopback() -> Address {
        Address::Inet(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("ringway-sockets-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    fn installed(listeners: &[&Listener]) -> Sockets {
        let mut sockets = Sockets::default();
        let prepared = sockets.prepare(listeners, 2, false).expect("binds");
        sockets.install(prepared, listeners);
        sockets
    }

    fn actual(sockets: &Sockets, name: &str) -> Address {
        sockets.addresses().find(|(n, _)| &***n == name).expect("is bound").1.clone()
    }

    #[test]
    fn workers_share_a_port_the_kernel_chose_and_a_second_process_is_refused() {
        let web = listener("web", loopback());
        let sockets = installed(&[&web]);
        let Address::Inet(address) = actual(&sockets, "web") else { panic!("an IP address") };
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).expect("connects");
        let other = listener("other", Address::Inet(address));
        let error = Sockets::default().prepare(&[&other], 2, false).expect_err("is taken");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address} (other): another process listens there")
        );
    }

    #[test]
    fn what_did_not_change_is_not_bound_again() {
        let web = listener("web", loopback());
        let mut sockets = installed(&[&web]);
        let before = actual(&sockets, "web");
        let more = listener("more", loopback());
        let prepared = sockets.prepare(&[&web, &more], 2, false).expect("binds");
        assert_eq!(prepared.handles(1).expect("has descriptors").len(), 1);
        sockets.install(prepared, &[&web, &more]);
        assert_eq!(sockets.handles(0).expect("has descriptors").len(), 2);
        assert_eq!(actual(&sockets, "web"), before);
        let prepared = sockets.prepare(&[&more], 2, false).expect("binds nothing");
        assert!(prepared.handles(0).expect("has none").is_empty());
        sockets.install(prepared, &[&more]);
        assert_eq!(sockets.addresses().map(|(name, _)| &**name).collect::<Vec<_>>(), ["more"]);
        let Address::Inet(gone) = before else { panic!("an IP address") };
        assert_eq!(TcpStream::connect(gone).expect_err("closed").kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_renamed_listener_takes_over_its_own_port() {
        let web = listener("web", loopback());
        let mut sockets = installed(&[&web]);
        let renamed = listener("renamed", actual(&sockets, "web"));
        let prepared = sockets.prepare(&[&renamed], 2, false).expect("binds beside its own");
        sockets.install(prepared, &[&renamed]);
        let Address::Inet(address) = actual(&sockets, "renamed") else { panic!("an IP address") };
        TcpStream::connect(address).expect("connects");
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_served_one_is_not() {
        let folder = scratch("stale");
        let path = folder.join("a.sock");
        let text = path.to_str().expect("is text");
        drop(UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        let web = listener("web", Address::Unix(text.into()));
        let mut sockets = installed(&[&web]);
        UnixStream::connect(&path).expect("connects");
        let error = Sockets::default().prepare(&[&web], 1, false).expect_err("is served");
        assert!(error.to_string().contains("another process listens there"), "{error}");
        sockets.release();
        assert!(!path.exists());
        std::fs::write(&path, "precious").expect("writes");
        let error = Sockets::default().prepare(&[&web], 1, false).expect_err("is a file");
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).expect("is untouched"), b"precious");
        std::fs::remove_dir_all(&folder).expect("cleans up");
    }

    #[test]
    fn a_file_somebody_else_put_there_is_left_alone() {
        let folder = scratch("replaced");
        let path = folder.join("a.sock");
        let web = listener("web", Address::Unix(path.to_str().expect("is text").into()));
        let mut sockets = installed(&[&web]);
        std::fs::remove_file(&path).expect("removes");
        let theirs = UnixListener::bind(&path).expect("binds");
        sockets.release();
        assert!(path.exists());
        drop(theirs);
        std::fs::remove_dir_all(&folder).expect("cleans up");
    }

    #[test]
    fn http_and_sni_let_the_kernel_wait_for_the_first_bytes() {
        let mut web = listener("web", loopback());
        assert!(!client_speaks_first(&web));
        web.protocol = Protocol::Http(Http::default());
        assert!(client_speaks_first(&web));
        web.protocol = Protocol::Tcp(Tcp { client_first: true, ..Tcp::default() });
        assert!(client_speaks_first(&web));
    }

    #[test]
    fn the_wildcard_serves_both_families() {
        let web = listener("web", Address::Inet(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))));
        let Ok(prepared) = Sockets::default().prepare(&[&web], 1, false) else {
            return assert!(
                Socket::new(Domain::IPV6, Type::STREAM, None).is_err(),
                "IPv6 works but [::] does not"
            );
        };
        let mut sockets = Sockets::default();
        sockets.install(prepared, &[&web]);
        let Address::Inet(address) = actual(&sockets, "web") else { panic!("an IP address") };
        TcpStream::connect(("127.0.0.1", address.port())).expect("IPv4 reaches it");
    }
}
