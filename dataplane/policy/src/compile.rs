//! From plain configuration to a snapshot: names resolved, everything checked, unchanged pages of the previous snapshot kept. Called by
//! the control thread and by `ringway check`; never on the request path.

mod clusters;
mod listeners;
mod routes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::nearest::nearest;
use crate::snapshot::{ClusterId, Snapshot};
use crate::spec::{self, Spec};

/// Something in the configuration that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Key path in the configuration file: `routes[3].cluster`, `clusters.app.endpoints[0]`.
    pub path: String,
    /// What is wrong, with the value in back quotes.
    pub message: String,
    /// The valid name that was probably meant.
    pub suggestion: Option<String>,
}

/// What names of endpoints resolve to at the moment. A name that is not in it has no addresses: its endpoint is left out, which is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    names: BTreeMap<(Arc<str>, u16), Vec<SocketAddr>>,
}

impl Resolved {
    /// Nothing resolved yet.
    pub fn new() -> Resolved {
        Resolved::default()
    }

    /// Sets the addresses of a name and port. Their order does not matter: resolvers rotate it.
    pub fn insert(&mut self, host: Arc<str>, port: u16, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        self.names.insert((host, port), addresses);
    }

    /// The addresses of a name and port, sorted.
    pub fn addresses(&self, host: &Arc<str>, port: u16) -> &[SocketAddr] {
        self.names.get(&(host.clone(), port)).map_or(&[], Vec::as_slice)
    }
}

impl Snapshot {
    /// Compiles `spec` into a snapshot of that `generation`. Clusters, route tables and listeners that would come out the same are taken
    /// from `previous`, so an endpoint that comes or goes costs one new cluster page.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file sections: listeners, routes, clusters.
    pub fn compile(
        spec: &Spec,
        resolved: &Resolved,
        previous: Option<&Snapshot>,
        generation: u64,
    ) -> Result<Snapshot, Vec<CompileError>> {
        let mut errors = Errors::default();
        listeners::check(spec, &mut errors);
        let ids = clusters::assign_ids(spec, previous);
        let names = Names { spec, ids: &ids };
        let actions = routes::check(&names, &mut errors);
        let clusters = clusters::compile(spec, &ids, resolved, previous, &mut errors);
        let listeners = listeners::compile(&names, &actions, previous, &mut errors);
        if !errors.list.is_empty() {
            return Err(errors.list);
        }
        let process = match previous {
            Some(previous) if *previous.process == spec.process => previous.process.clone(),
            _ => Arc::new(spec.process.clone()),
        };
        Ok(Snapshot { generation, process, listeners, clusters })
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)?;
        match &self.suggestion {
            Some(name) => write!(formatter, " (did you mean `{name}`?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

/// What was found wrong so far.
#[derive(Default)]
struct Errors {
    list: Vec<CompileError>,
}

impl Errors {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.suggest(path, message, None);
    }

    fn suggest(&mut self, path: impl Into<String>, message: impl Into<String>, suggestion: Option<String>) {
        self.list.push(CompileError { path: path.into(), message: message.into(), suggestion });
    }
}

/// Names that references are resolved by.
struct Names<'a> {
    spec: &'a Spec,
    /// By name; the first of a duplicated one.
    ids: &'a BTreeMap<&'a str, ClusterId>,
}

impl Names<'_> {
    /// The cluster that `path` refers to as `name`.
    fn cluster(&self, name: &str, path: impl Into<String>, errors: &mut Errors) -> Option<ClusterId> {
        let id = self.ids.get(name).copied();
        if id.is_none() {
            let near = nearest(name, self.ids.keys().copied());
            errors.suggest(path, format!("there is no cluster `{name}`"), near);
        }
        id
    }

    fn listener(&self, name: &str) -> Option<&spec::Listener> {
        self.spec.listeners.iter().find(|listener| &*listener.name == name)
    }
}

/// The first of `items` equal to an earlier one by `key`, as (place, place of the earlier one).
fn duplicates<T, K: Ord>(items: &[T], key: impl Fn(&T) -> Option<K>) -> Vec<(usize, usize)> {
    let mut seen = BTreeMap::new();
    let mut found = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        match seen.get(&key) {
            Some(&first) => found.push((place, first)),
            None => {
                seen.insert(key, place);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
