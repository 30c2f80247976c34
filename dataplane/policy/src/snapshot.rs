//! The compiled, immutable configuration that workers serve from: pages of `Arc`, so that a change copies one page. Built by
//! [`Snapshot::compile`](crate::compile); nothing in it can hold nonsense.

use std::sync::Arc;

use crate::cidr::CidrSet;
use crate::fields::Edits;
pub use crate::respond::Respond;
pub use crate::rewrite::{PathRewrite, Redirect};
pub(crate) use crate::route::Conditions;
pub use crate::route::RouteTable;
use crate::spec;
pub use crate::split::Split;
pub use crate::tcp::TcpRoutes;
use crate::weights::Weights;

/// Index of a cluster in [`Snapshot::clusters`]. A cluster keeps its number over reloads as long as the table has no gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// Index of a route in [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// Everything a worker serves from.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises by one with each publication.
    pub generation: u64,
    /// Process-wide settings.
    pub process: Arc<spec::Process>,
    /// Listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// The page of clusters.
    pub clusters: Vec<Arc<Cluster>>,
}

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// As configured.
    pub spec: spec::Listener,
    /// [`spec::Listener::proxy_protocol_trusted`], compiled.
    pub trusted: CidrSet,
    /// HTTP listeners: routes that apply here, compiled (shared between listeners with the same set).
    pub routes: Arc<RouteTable>,
    /// TCP listeners.
    pub tcp: Option<TcpRoutes>,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub spec: spec::Route,
    /// Where it goes.
    pub action: Action,
    /// [`spec::Route::rewrite_path`], compiled; see [`Route::write_target`].
    pub path_rewrite: Option<PathRewrite>,
    /// [`spec::Route::request_fields`], compiled.
    pub request_edits: Edits,
    /// [`spec::Route::response_fields`], compiled. Already part of a direct response; to be added to a redirect.
    pub response_edits: Edits,
    pub(crate) conditions: Conditions,
}

/// A compiled action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forwarded.
    Cluster(ClusterId),
    /// Forwarded to one of several.
    Split(Split),
    /// Answered here with a redirect.
    Redirect(Redirect),
    /// Answered here.
    Respond(Respond),
}

/// A compiled cluster.
#[derive(Debug)]
pub struct Cluster {
    /// As configured.
    pub spec: spec::Cluster,
    /// Resolved endpoints, duplicates merged, weight 0 left out.
    pub endpoints: Vec<Endpoint>,
    /// Their weights, compiled; `None` if there are no endpoints.
    pub weights: Option<Weights>,
}

/// A resolved endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where (never a name).
    pub address: spec::Address,
    /// At least 1.
    pub weight: u32,
}

impl Snapshot {
    /// The cluster of that number.
    #[inline]
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        &self.clusters[id.0 as usize]
    }

    /// The cluster of that name and its number.
    pub fn cluster_named(&self, name: &str) -> Option<(ClusterId, &Arc<Cluster>)> {
        let place = self.clusters.iter().position(|cluster| &*cluster.spec.name == name)?;
        Some((ClusterId(place as u32), &self.clusters[place]))
    }

    /// The listener of that name.
    pub fn listener_named(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| &*listener.spec.name == name)
    }
}

impl Listener {
    /// Whether a PROXY protocol header and forwarding fields of that peer are believed; `None` stands for a unix socket, which is
    /// trusted as its file permissions say who may connect.
    pub fn trusts(&self, peer: Option<std::net::IpAddr>) -> bool {
        self.trusted.is_empty() || peer.is_none_or(|ip| self.trusted.contains(ip))
    }
}
