//! A snapshot in use by one worker, with what the worker derives from it once: slots of its clusters, rules of its listeners.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_policy::rng::Rng;
use ringway_policy::snapshot::{ClusterId, RouteId, Snapshot};
use ringway_policy::snapshot::{Listener, Route};
use ringway_policy::spec;
use ringway_policy::split::Split;
use ringway_wire::h1::{Limits, Relaxations};

use crate::cluster::ClusterSlot;

/// Shared by `Rc`: exchanges count it without touching other cores.
pub(crate) struct Live {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) slots: Vec<ClusterSlot>,
    rules: Vec<HttpRules>,
    /// Where the sequence of each split stands, by listener and route; from a random start.
    splits: RefCell<BTreeMap<(u32, RouteId), u64>>,
}

/// What the codec needs to know of a listener.
#[derive(Clone, Copy)]
pub(crate) struct HttpRules {
    pub(crate) limits: Limits,
    /// What the parser lets pass.
    pub(crate) relax: Relaxations,
}

impl Live {
    pub(crate) fn new(snapshot: Arc<Snapshot>, slots: Vec<ClusterSlot>) -> Live {
        let rules = snapshot.listeners.iter().map(|l| rules(&l.spec)).collect();
        Live { snapshot, slots, rules, splits: RefCell::default() }
    }

    pub(crate) fn listener(&self, at: u32) -> &Arc<Listener> {
        &self.snapshot.listeners[at as usize]
    }

    pub(crate) fn http(&self, at: u32) -> Option<&spec::Http> {
        match &self.listener(at).spec.protocol {
            spec::Protocol::Http(http) => Some(http),
            spec::Protocol::Tcp(_) => None,
        }
    }

    pub(crate) fn rules(&self, at: u32) -> &HttpRules {
        &self.rules[at as usize]
    }

    pub(crate) fn route(&self, listener: u32, route: RouteId) -> &Route {
        self.listener(listener).routes.route(route)
    }

    /// The cluster of the next request of a split.
    pub(crate) fn split(&self, listener: u32, route: RouteId, split: &Split, rng: &mut Rng) -> ClusterId {
        let mut splits = self.splits.borrow_mut();
        split.pick(splits.entry((listener, route)).or_insert_with(|| rng.next_u64()))
    }

    pub(crate) fn slot(&self, cluster: ClusterId) -> ClusterSlot {
        self.slots[cluster.0 as usize]
    }
}

fn rules(listener: &spec::Listener) -> HttpRules {
    let mut rules = HttpRules { limits: Limits::DEFAULT, relax: Relaxations::NONE };
    if let spec::Protocol::Http(http) = &listener.protocol {
        rules.limits.head_bytes_max = http.limits.head_bytes_max;
        rules.limits.target_bytes_max = http.limits.target_bytes_max;
        rules.limits.fields_max = http.limits.fields_max;
        rules.relax = match http.dry_run {
            true => Relaxations::ALL,
            false => http
                .relax
                .iter()
                .filter_map(|n| Relaxations::from_name(n))
                .fold(Relaxations::NONE, |a, b| a | b),
        };
    }
    rules
}
