//! Clusters and endpoints as one worker sees them: requests in flight, pools of idle connections, statistics. They are named by
//! cluster and address, not by snapshot, so that a reload resets nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_driver::Addr;
use ringway_policy::lb::Balancer;
use ringway_policy::rng::Rng;
use ringway_policy::snapshot::{Cluster, Snapshot};
use ringway_policy::spec::Address;

use crate::slab::Key;
use crate::stats::{ClusterPage, EndpointStats};

/// Place of a cluster in [`Clusters`]; stays the same over reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterSlot(pub(crate) u32);

/// Place of an endpoint in [`Clusters`]; stays the same over reloads while anything uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointSlot(pub(crate) u32);

/// A cluster on this worker.
pub(crate) struct ClusterState {
    pub(crate) config: Arc<Cluster>,
    balancer: Balancer,
    /// Endpoint slots, in the order of `config.endpoints`.
    members: Vec<EndpointSlot>,
    /// Attempts in flight per member, in the same order.
    active: Vec<u32>,
}

/// An endpoint on this worker.
pub(crate) struct EndpointState {
    address: Address,
    pub(crate) addr: Addr,
    pub(crate) cluster: ClusterSlot,
    /// Its place in the cluster, unless a reload removed it.
    member: Option<u32>,
    active: u32,
    /// Open connections, idle ones included.
    pub(crate) connections: u32,
    /// Idle connections, the latest last.
    pub(crate) idle: Vec<Key>,
    pub(crate) stats: Arc<EndpointStats>,
}

/// All clusters of a worker.
#[derive(Default)]
pub(crate) struct Clusters {
    clusters: Vec<ClusterState>,
    by_name: BTreeMap<Arc<str>, ClusterSlot>,
    endpoints: Vec<Option<EndpointState>>,
    free: Vec<u32>,
}

impl Clusters {
    /// Takes over the clusters of a snapshot. Returns the slot of each, in snapshot order. Idle connections of endpoints that are gone
    /// are appended to `orphans`.
    pub(crate) fn adopt(
        &mut self,
        snapshot: &Snapshot,
        rng: &mut Rng,
        orphans: &mut Vec<Key>,
    ) -> Vec<ClusterSlot> {
        let slots = snapshot.clusters.iter().map(|c| self.adopt_one(c, rng, orphans)).collect();
        for (name, slot) in &self.by_name {
            if !snapshot.clusters.iter().any(|c| c.spec.name == *name) {
                for member in std::mem::take(&mut self.clusters[slot.0 as usize].members) {
                    retire_endpoint(&mut self.endpoints, &mut self.free, member, orphans);
                }
                self.clusters[slot.0 as usize].active.clear();
            }
        }
        slots
    }

    fn adopt_one(&mut self, config: &Arc<Cluster>, rng: &mut Rng, orphans: &mut Vec<Key>) -> ClusterSlot {
        let Some(&slot) = self.by_name.get(&config.spec.name) else {
            let slot = ClusterSlot(self.clusters.len() as u32);
            self.by_name.insert(config.spec.name.clone(), slot);
            let balancer = Balancer::new(config, rng.next_u64());
            let state =
                ClusterState { config: config.clone(), balancer, members: Vec::new(), active: Vec::new() };
            self.clusters.push(state);
            self.set_members(slot, orphans);
            return slot;
        };
        let state = &mut self.clusters[slot.0 as usize];
        if !Arc::ptr_eq(&state.config, config) || state.members.len() != config.endpoints.len() {
            if state.config.endpoints != config.endpoints || state.config.spec.lb != config.spec.lb {
                state.balancer = Balancer::new(config, rng.next_u64());
            }
            state.config = config.clone();
            self.set_members(slot, orphans);
        }
        slot
    }

    fn set_members(&mut self, slot: ClusterSlot, orphans: &mut Vec<Key>) {
        let state = &mut self.clusters[slot.0 as usize];
        let old = std::mem::take(&mut state.members);
        let config = state.config.clone();
        let mut members = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let known = old.iter().copied().find(|m| {
                self.endpoints[m.0 as usize].as_ref().is_some_and(|e| e.address == endpoint.address)
            });
            members.push(known.unwrap_or_else(|| self.add_endpoint(slot, &endpoint.address)));
        }
        for gone in old.iter().filter(|m| !members.contains(m)) {
            retire_endpoint(&mut self.endpoints, &mut self.free, *gone, orphans);
        }
        let mut active = Vec::with_capacity(members.len());
        for (at, member) in members.iter().enumerate() {
            let endpoint = self.endpoint_mut(*member);
            endpoint.member = Some(at as u32);
            active.push(endpoint.active);
        }
        let state = &mut self.clusters[slot.0 as usize];
        (state.members, state.active) = (members, active);
    }

    fn add_endpoint(&mut self, cluster: ClusterSlot, address: &Address) -> EndpointSlot {
        let state = EndpointState {
            address: address.clone(),
            addr: driver_addr(address),
            cluster,
            member: None,
            active: 0,
            connections: 0,
            idle: Vec::new(),
            stats: Arc::default(),
        };
        if let Some(at) = self.free.pop() {
            self.endpoints[at as usize] = Some(state);
            return EndpointSlot(at);
        }
        self.endpoints.push(Some(state));
        EndpointSlot(self.endpoints.len() as u32 - 1)
    }

    /// Picks an endpoint for one attempt, if possible not `avoid`.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        slot: ClusterSlot,
        rng: &mut Rng,
        avoid: Option<EndpointSlot>,
    ) -> Option<EndpointSlot> {
        let state = &mut self.clusters[slot.0 as usize];
        let avoid = avoid.and_then(|a| state.members.iter().position(|m| *m == a)).map(|at| at as u32);
        let at = state.balancer.pick(&state.config, &state.active, rng, avoid)?;
        state.members.get(at as usize).copied()
    }

    pub(crate) fn config(&self, slot: ClusterSlot) -> &Arc<Cluster> {
        &self.clusters[slot.0 as usize].config
    }

    pub(crate) fn endpoint(&self, slot: EndpointSlot) -> &EndpointState {
        match &self.endpoints[slot.0 as usize] {
            Some(endpoint) => endpoint,
            None => unreachable!("an endpoint in use is kept"),
        }
    }

    pub(crate) fn endpoint_mut(&mut self, slot: EndpointSlot) -> &mut EndpointState {
        match &mut self.endpoints[slot.0 as usize] {
            Some(endpoint) => endpoint,
            None => unreachable!("an endpoint in use is kept"),
        }
    }

    /// Whether its cluster still names the endpoint.
    pub(crate) fn is_member(&self, slot: EndpointSlot) -> bool {
        self.endpoint(slot).member.is_some()
    }

    /// Configuration of the cluster an endpoint belongs to.
    pub(crate) fn config_of(&self, slot: EndpointSlot) -> &Arc<Cluster> {
        self.config(self.endpoint(slot).cluster)
    }

    /// An attempt at the endpoint begins.
    #[inline]
    pub(crate) fn begin(&mut self, slot: EndpointSlot) {
        let endpoint = self.endpoint_mut(slot);
        endpoint.active += 1;
        endpoint.stats.requests_total.add(1);
        endpoint.stats.requests_active.add(1);
        self.show_active(slot);
    }

    /// An attempt at the endpoint is over.
    #[inline]
    pub(crate) fn end(&mut self, slot: EndpointSlot) {
        let endpoint = self.endpoint_mut(slot);
        debug_assert!(endpoint.active > 0);
        endpoint.active -= 1;
        endpoint.stats.requests_active.sub(1);
        self.show_active(slot);
        self.collect(slot);
    }

    #[inline]
    fn show_active(&mut self, slot: EndpointSlot) {
        let (active, member, cluster) = {
            let endpoint = self.endpoint(slot);
            (endpoint.active, endpoint.member, endpoint.cluster)
        };
        if let Some(at) = member {
            self.clusters[cluster.0 as usize].active[at as usize] = active;
        }
    }

    /// A connection of the endpoint was closed.
    pub(crate) fn connection_closed(&mut self, slot: EndpointSlot) {
        let endpoint = self.endpoint_mut(slot);
        endpoint.connections -= 1;
        endpoint.stats.connections_active.sub(1);
        self.collect(slot);
    }

    /// Frees an endpoint that no cluster names and nothing uses.
    fn collect(&mut self, slot: EndpointSlot) {
        let endpoint = self.endpoint(slot);
        if endpoint.member.is_none() && endpoint.active == 0 && endpoint.connections == 0 {
            self.endpoints[slot.0 as usize] = None;
            self.free.push(slot.0);
        }
    }

    /// The statistics of all clusters of a snapshot.
    pub(crate) fn pages(&self, snapshot: &Snapshot) -> Vec<ClusterPage> {
        let page = |config: &Arc<Cluster>| {
            let slot = self.by_name.get(&config.spec.name)?;
            let members = &self.clusters[slot.0 as usize].members;
            let endpoints = members
                .iter()
                .map(|m| self.endpoint(*m))
                .map(|e| (e.address.clone(), e.stats.clone()))
                .collect();
            Some(ClusterPage { name: config.spec.name.clone(), endpoints })
        };
        snapshot.clusters.iter().filter_map(page).collect()
    }
}

/// Takes an endpoint out of its cluster; it lives on while attempts or connections use it.
fn retire_endpoint(
    endpoints: &mut [Option<EndpointState>],
    free: &mut Vec<u32>,
    slot: EndpointSlot,
    orphans: &mut Vec<Key>,
) {
    let place = &mut endpoints[slot.0 as usize];
    let Some(endpoint) = place else { return };
    endpoint.member = None;
    orphans.extend_from_slice(&endpoint.idle);
    if endpoint.active == 0 && endpoint.connections == 0 {
        *place = None;
        free.push(slot.0);
    }
}

/// The driver's form of a resolved address.
pub(crate) fn driver_addr(address: &Address) -> Addr {
    match address {
        Address::Inet(a) => Addr::Inet(*a),
        Address::Unix(path) => Addr::Unix(path.clone()),
        Address::Dns(name, _) => unreachable!("{name} was resolved when the snapshot was compiled"),
    }
}
