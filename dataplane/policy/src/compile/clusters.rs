//! Clusters: numbers, resolved endpoints, weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Errors, Resolved, duplicates};
use crate::snapshot::{Cluster, ClusterId, Endpoint, Snapshot};
use crate::spec::{self, Address, Spec};
use crate::weights::{WEIGHT_SUM_MAX, Weights, WeightsError};

/// The number of each cluster by name: the one it had, where that leaves no gap; else the lowest free one.
pub(super) fn assign_ids<'s>(spec: &'s Spec, previous: Option<&Snapshot>) -> BTreeMap<&'s str, ClusterId> {
    let count = spec.clusters.len();
    let mut taken = vec![false; count];
    let mut ids = BTreeMap::new();
    for cluster in &spec.clusters {
        let before = previous.and_then(|previous| previous.cluster_named(&cluster.name));
        if let Some((id, _)) = before.filter(|(id, _)| (id.0 as usize) < count) {
            taken[id.0 as usize] = true;
            ids.insert(&*cluster.name, id);
        }
    }
    let mut free = (0..count as u32).filter(|&id| !taken[id as usize]).map(ClusterId);
    for cluster in &spec.clusters {
        if !ids.contains_key(&*cluster.name)
            && let Some(id) = free.next()
        {
            ids.insert(&cluster.name, id);
        }
    }
    ids
}

/// The page of clusters, in the order of their numbers.
pub(super) fn compile(
    spec: &Spec,
    ids: &BTreeMap<&str, ClusterId>,
    resolved: &Resolved,
    previous: Option<&Snapshot>,
    errors: &mut Errors,
) -> Vec<Arc<Cluster>> {
    for (place, _) in duplicates(&spec.clusters, |cluster| Some(cluster.name.clone())) {
        let name = &spec.clusters[place].name;
        errors.add(format!("clusters.{name}"), format!("there are two clusters `{name}`"));
    }
    let mut page: Vec<(Option<&ClusterId>, Arc<Cluster>)> = Vec::with_capacity(spec.clusters.len());
    for cluster in &spec.clusters {
        check_endpoints(cluster, errors);
        let before = previous.and_then(|previous| previous.cluster_named(&cluster.name));
        page.push((
            ids.get(&*cluster.name),
            one(cluster, resolved, before.map(|(_, cluster)| cluster), errors),
        ));
    }
    page.sort_by_key(|(id, _)| *id);
    page.into_iter().map(|(_, cluster)| cluster).collect()
}

fn check_endpoints(cluster: &spec::Cluster, errors: &mut Errors) {
    for (place, first) in duplicates(&cluster.endpoints, |endpoint| Some(endpoint.address.clone())) {
        errors.add(
            format!("clusters.{}.endpoints[{place}]", cluster.name),
            format!("is the same address as endpoint {first}; use `weight` to give it a larger share"),
        );
    }
    for (place, endpoint) in cluster.endpoints.iter().enumerate() {
        if let Address::Inet(address) = endpoint.address
            && (address.port() == 0 || address.ip().is_unspecified())
        {
            errors.add(
                format!("clusters.{}.endpoints[{place}]", cluster.name),
                format!("`{address}` is no address to connect to"),
            );
        }
    }
}

/// One compiled cluster, the one before if it would be the same.
fn one(
    cluster: &spec::Cluster,
    resolved: &Resolved,
    before: Option<&Arc<Cluster>>,
    errors: &mut Errors,
) -> Arc<Cluster> {
    let endpoints = resolve(cluster, resolved);
    if let Some(before) = before
        && before.spec == *cluster
        && before.endpoints == endpoints
    {
        return before.clone();
    }
    let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
    let weights = match Weights::new(&weights) {
        Ok(weights) => Some(weights),
        Err(WeightsError::NoneLeft) => None,
        Err(WeightsError::SumTooLarge) => {
            let path = format!("clusters.{}.endpoints", cluster.name);
            errors.add(path, format!("the sum of the weights is above {WEIGHT_SUM_MAX}"));
            None
        }
    };
    Arc::new(Cluster { spec: cluster.clone(), endpoints, weights })
}

/// The endpoints with names replaced by their addresses: in the order of the file, weight 0 left out; the weights of an address that is there
/// more than once are added up.
fn resolve(cluster: &spec::Cluster, resolved: &Resolved) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(cluster.endpoints.len());
    let mut places: BTreeMap<Address, usize> = BTreeMap::new();
    let mut add = |address: Address, weight: u32| match places.get(&address) {
        Some(&place) => {
            let endpoint: &mut Endpoint = &mut endpoints[place];
            endpoint.weight = endpoint.weight.saturating_add(weight);
        }
        None => {
            places.insert(address.clone(), endpoints.len());
            endpoints.push(Endpoint { address, weight });
        }
    };
    for endpoint in cluster.endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
        match &endpoint.address {
            Address::Dns(host, port) => {
                for address in resolved.addresses(host, *port) {
                    add(Address::Inet(*address), endpoint.weight);
                }
            }
            address => add(address.clone(), endpoint.weight),
        }
    }
    endpoints
}
