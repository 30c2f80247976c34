//! The compiled, immutable configuration that workers serve from: pages of `Arc`, so that a change copies one page.

use std::sync::Arc;

use crate::spec;

/// Index of a cluster in [`Snapshot::clusters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// Index of a route in [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// Everything a worker serves from.
#[derive(Debug)]
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
    /// HTTP listeners: routes that apply here, compiled (shared between listeners with the same set).
    pub routes: Arc<RouteTable>,
    /// TCP listeners.
    pub tcp: Option<TcpRoutes>,
}

/// Where connections of an opaque TCP listener go.
#[derive(Debug)]
pub struct TcpRoutes {
    /// Without a matching server name.
    pub default: Option<ClusterId>,
}

/// Compiled routes.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Route>,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub spec: spec::Route,
    /// Where it goes.
    pub action: Action,
}

/// A compiled action.
#[derive(Debug)]
pub enum Action {
    /// Forwarded.
    Cluster(ClusterId),
    /// Forwarded to one of several.
    Split(Vec<(ClusterId, u32)>),
    /// Answered here with a redirect.
    Redirect(spec::Redirect),
    /// Answered here.
    Respond(spec::Respond),
}

/// A compiled cluster.
#[derive(Debug)]
pub struct Cluster {
    /// As configured.
    pub spec: spec::Cluster,
    /// Resolved endpoints, duplicates merged, weight 0 left out.
    pub endpoints: Vec<Endpoint>,
}

/// A resolved endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where (never a name).
    pub address: spec::Address,
    /// At least 1.
    pub weight: u32,
}

impl RouteTable {
    /// The route of that number.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }
}
