//! Names as endpoints: looked up on the control thread, each name by its own task that follows the records' TTL.
//! What was found once is kept when a later look-up fails or finds nothing.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// A name is looked up again at least this often, however long its TTL: moved services are found within minutes.
pub const REFRESH_MAX: Duration = Duration::from_secs(300);
/// After a failure: the first wait, doubled with each further one up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// One look-up ends here, all attempts and servers included.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Addresses used of one name; further ones are ignored.
pub const ADDRESSES_MAX: usize = 256;

/// The outcome of one look-up of both address families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The name as configured.
    pub name: Arc<str>,
    /// Sorted addresses, or why there are none.
    pub outcome: Result<Vec<IpAddr>, String>,
}

/// All names in use and what they stand for.
pub struct Names {
    resolver: Option<TokioResolver>,
    servers: Option<Vec<SocketAddr>>,
    entries: BTreeMap<Arc<str>, Entry>,
    updates: UnboundedSender<Update>,
    /// Look-ups that gave addresses.
    pub successes: u64,
    /// Look-ups that failed or gave none.
    pub failures: u64,
}

struct Entry {
    task: Option<AbortHandle>,
    refresh_min: Duration,
    answered: bool,
    addresses: Vec<IpAddr>,
    error: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Names {
    /// Asks `servers`, or those of `/etc/resolv.conf`. Outcomes arrive on `updates` and are brought back to [`Names::learn`].
    pub fn new(servers: Option<Vec<SocketAddr>>, updates: UnboundedSender<Update>) -> Names {
        Names { resolver: None, servers, entries: BTreeMap::new(), updates, successes: 0, failures: 0 }
    }

    /// Follows exactly these names from now on (each with the lowest time between two look-ups): new ones are looked up
    /// at once, others no longer. Must be called on the runtime.
    pub fn follow(&mut self, wanted: &BTreeMap<Arc<str>, Duration>) {
        self.entries.retain(|name, _| wanted.contains_key(name));
        for (name, refresh_min) in wanted {
            if self.entries.get(name).is_none_or(|entry| entry.refresh_min != *refresh_min) {
                self.start(name.clone(), *refresh_min);
            }
        }
    }

    /// Reads the system's resolver configuration again and looks every name up anew; what is known stays until then.
    pub fn refresh_servers(&mut self) {
        self.resolver = None;
        let names: Vec<_> =
            self.entries.iter().map(|(name, entry)| (name.clone(), entry.refresh_min)).collect();
        for (name, refresh_min) in names {
            self.start(name, refresh_min);
        }
    }

    /// Takes an outcome in. True when the addresses of the name changed.
    pub fn learn(&mut self, update: Update) -> bool {
        match update.outcome {
            Ok(_) => self.successes += 1,
            Err(_) => self.failures += 1,
        }
        let Some(entry) = self.entries.get_mut(&update.name) else { return false };
        entry.answered = true;
        match update.outcome {
            Ok(addresses) => {
                entry.error = None;
                let changed = entry.addresses != addresses;
                entry.addresses = addresses;
                changed
            }
            Err(error) => {
                entry.error = Some(error);
                false
            }
        }
    }

    /// What a name stands for now; empty before its first answer.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.entries.get(name).map_or(&[], |entry| &entry.addresses)
    }

    /// True when every name was answered or failed at least once.
    pub fn settled(&self) -> bool {
        self.entries.values().all(|entry| entry.answered)
    }

    /// Names without any address, each with the last error.
    pub fn unresolved(&self) -> Vec<(Arc<str>, String)> {
        let empty = self.entries.iter().filter(|(_, entry)| entry.addresses.is_empty());
        let why = |entry: &Entry| entry.error.clone().unwrap_or_else(|| "no answer yet".to_string());
        empty.map(|(name, entry)| (name.clone(), why(entry))).collect()
    }

    /// Starts following a name, or starts over; its addresses stay until they are known to be others.
    fn start(&mut self, name: Arc<str>, refresh_min: Duration) {
        let mut entry =
            Entry { task: None, refresh_min, answered: false, addresses: Vec::new(), error: None };
        if let Some(mut old) = self.entries.remove(&name) {
            entry.answered = old.answered;
            entry.addresses = std::mem::take(&mut old.addresses);
        }
        if self.resolver.is_none() {
            self.resolver =
                build(self.servers.as_deref()).map_err(|error| entry.error = Some(describe(&error))).ok();
        }
        match &self.resolver {
            Some(resolver) => {
                let task = follow(resolver.clone(), name.clone(), refresh_min, self.updates.clone());
                entry.task = Some(tokio::spawn(task).abort_handle());
            }
            None => entry.answered = true,
        }
        self.entries.insert(name, entry);
    }
}

fn build(servers: Option<&[SocketAddr]>) -> Result<TokioResolver, NetError> {
    let Some(servers) = servers else { return TokioResolver::builder_tokio()?.build() };
    let servers = servers.iter().map(|server| {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        NameServerConfig::new(server.ip(), true, vec![connection])
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
}

/// Looks one name up, for ever: at its TTL, or with back-off after a failure.
async fn follow(
    resolver: TokioResolver,
    name: Arc<str>,
    refresh_min: Duration,
    updates: UnboundedSender<Update>,
) {
    let (mut v4, mut v6) = (Family::default(), Family::default());
    let mut failures = 0u32;
    loop {
        let both = async { tokio::join!(resolver.ipv4_lookup(&*name), resolver.ipv6_lookup(&*name)) };
        let outcome = match tokio::time::timeout(LOOKUP_MAX, both).await {
            Ok((first, second)) => combine(&mut v4, first, &mut v6, second),
            Err(_elapsed) => Err("no answer in time".to_string()),
        };
        failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
        let wait = match failures {
            0 => v4.valid_for().min(v6.valid_for()),
            n => RETRY_MIN.saturating_mul(1 << (n - 1).min(5)).min(RETRY_MAX),
        };
        if updates.send(Update { name: name.clone(), outcome }).is_err() {
            return;
        }
        tokio::time::sleep(with_jitter(wait.clamp(refresh_min, REFRESH_MAX.max(refresh_min)))).await;
    }
}

/// The addresses of one family as last seen.
#[derive(Default)]
struct Family {
    addresses: Vec<IpAddr>,
    valid_until: Option<Instant>,
}

impl Family {
    /// Takes in an answer. A server that says "none" empties the family; a server that does not answer leaves it as it was.
    fn learn(&mut self, answer: Result<Lookup, NetError>) -> Option<NetError> {
        match answer {
            Ok(lookup) => {
                self.addresses = lookup.answers().iter().filter_map(|record| address(&record.data)).collect();
                self.valid_until = Some(lookup.valid_until());
                None
            }
            Err(error) if error.is_no_records_found() => {
                self.addresses.clear();
                self.valid_until = None;
                Some(error)
            }
            Err(error) => Some(error),
        }
    }

    fn valid_for(&self) -> Duration {
        self.valid_until.map_or(REFRESH_MAX, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// The addresses of both families, if a server gave at least one of them now. What is left of earlier answers counts only beside
/// a fresh one: otherwise this look-up has failed, and the caller keeps what it has.
fn combine(
    v4: &mut Family,
    first: Result<Lookup, NetError>,
    v6: &mut Family,
    second: Result<Lookup, NetError>,
) -> Result<Vec<IpAddr>, String> {
    let errors = (v4.learn(first), v6.learn(second));
    let mut addresses: Vec<IpAddr> = v4.addresses.iter().chain(&v6.addresses).copied().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    match errors {
        (Some(error), Some(_)) => Err(describe(&error)),
        _ if addresses.is_empty() => Err("the name has no address".to_string()),
        _ => Ok(addresses),
    }
}

fn describe(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "there is no such name".to_string(),
        error if error.is_no_records_found() => "the name has no address".to_string(),
        error => error.to_string(),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// Up to a tenth longer, so that processes started together do not ask together.
fn with_jitter(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1024;
    wait + wait.mul_f64(random as f64 / 10_240.0)
}
