//! Listeners: addresses, the routes that apply to each, server-name rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_wire::h1::Relaxations;

use super::routes::{self, CheckedAction};
use super::{Errors, Names, duplicates};
use crate::cidr::CidrSet;
use crate::host::HostPattern;
use crate::nearest::nearest;
use crate::route::RouteTable;
use crate::snapshot::{Listener, Snapshot};
use crate::spec::{self, Address, Protocol, Spec};
use crate::tcp::TcpRoutes;

/// Checks names and addresses.
pub(super) fn check(spec: &Spec, errors: &mut Errors) {
    for (place, _) in duplicates(&spec.listeners, |listener| Some(listener.name.clone())) {
        let name = &spec.listeners[place].name;
        errors.add(format!("listeners.{name}"), format!("there are two listeners `{name}`"));
    }
    for (place, first) in duplicates(&spec.listeners, |listener| fixed(&listener.address).cloned()) {
        let (listener, first) = (&spec.listeners[place], &spec.listeners[first]);
        let path = format!("listeners.{}.address", listener.name);
        errors.add(path, format!("listener `{}` has the same address", first.name));
    }
    for listener in &spec.listeners {
        let path = |key: &str| format!("listeners.{}.{key}", listener.name);
        if let Address::Dns(host, port) = &listener.address {
            errors.add(
                path("address"),
                format!("`{host}:{port}` is a name; listen on an IP address or `unix:/path`"),
            );
        }
        for (key, own) in [("admin", &spec.process.admin), ("telemetry", &spec.process.telemetry)] {
            if own.as_ref().and_then(fixed).is_some_and(|own| *own == listener.address) {
                errors.add(path("address"), format!("is the same address as `{key}`"));
            }
        }
        for (place, cidr) in listener.proxy_protocol_trusted.iter().enumerate() {
            let bits_max = if cidr.ip.is_ipv4() { 32 } else { 128 };
            if cidr.bits > bits_max {
                let path = path(&format!("proxy_protocol_trusted[{place}]"));
                errors.add(path, format!("`/{}` is longer than an address of {bits_max} bits", cidr.bits));
            }
        }
        if let Protocol::Http(http) = &listener.protocol {
            for (place, name) in http.relax.iter().enumerate() {
                if Relaxations::from_name(name).is_none() {
                    let near = nearest(name, Relaxations::TABLE.iter().map(|row| row.1));
                    let path = path(&format!("relax[{place}]"));
                    errors.suggest(path, format!("there is no relaxation `{name}`"), near);
                }
            }
        }
    }
}

/// The address unless its port is left to the kernel.
fn fixed(address: &Address) -> Option<&Address> {
    match address {
        Address::Inet(inet) if inet.port() == 0 => None,
        address => Some(address),
    }
}

/// The compiled listeners, in file order.
pub(super) fn compile(
    names: &Names<'_>,
    actions: &[Option<CheckedAction>],
    previous: Option<&Snapshot>,
    errors: &mut Errors,
) -> Vec<Arc<Listener>> {
    let mut tables: BTreeMap<Vec<usize>, Arc<RouteTable>> = BTreeMap::new();
    let mut listeners = Vec::with_capacity(names.spec.listeners.len());
    for listener in &names.spec.listeners {
        let members = match &listener.protocol {
            Protocol::Http(_) => routes::applying(names.spec, listener),
            Protocol::Tcp(_) => Vec::new(),
        };
        let table = tables
            .entry(members)
            .or_insert_with_key(|members| routes::table(names.spec, members, actions, previous, errors))
            .clone();
        let tcp = match &listener.protocol {
            Protocol::Tcp(tcp) => Some(tcp_routes(names, listener, tcp, errors)),
            Protocol::Http(_) => None,
        };
        listeners.push(one(listener, table, tcp, previous));
    }
    listeners
}

/// One compiled listener, the one before if it would be the same.
fn one(
    listener: &spec::Listener,
    routes: Arc<RouteTable>,
    tcp: Option<TcpRoutes>,
    previous: Option<&Snapshot>,
) -> Arc<Listener> {
    let same_tcp = |before: &Listener| match (&before.tcp, &tcp) {
        (Some(before), Some(now)) => before.same_rules(now),
        (before, now) => before.is_none() == now.is_none(),
    };
    if let Some(before) = previous.and_then(|previous| previous.listener_named(&listener.name))
        && before.spec == *listener
        && Arc::ptr_eq(&before.routes, &routes)
        && same_tcp(before)
    {
        return before.clone();
    }
    let trusted = CidrSet::new(&listener.proxy_protocol_trusted);
    Arc::new(Listener { spec: listener.clone(), trusted, routes, tcp })
}

fn tcp_routes(
    names: &Names<'_>,
    listener: &spec::Listener,
    tcp: &spec::Tcp,
    errors: &mut Errors,
) -> TcpRoutes {
    let path = |key: &str| format!("listeners.{}.{key}", listener.name);
    if tcp.cluster.is_none() && tcp.sni.is_empty() {
        errors.add(format!("listeners.{}", listener.name), "needs a `cluster` or `sni` rules");
    }
    let default = tcp.cluster.as_ref().and_then(|name| names.cluster(name, path("cluster"), errors));
    let mut rules = Vec::with_capacity(tcp.sni.len());
    for (place, rule) in tcp.sni.iter().enumerate() {
        let cluster = names.cluster(&rule.cluster, path(&format!("sni[{place}].cluster")), errors);
        match HostPattern::parse(&rule.host) {
            Ok(pattern) => rules.extend(cluster.map(|cluster| (pattern, rule.alpn.clone(), cluster))),
            Err(why) => errors.add(path(&format!("sni[{place}].host")), format!("`{}` {why}", rule.host)),
        }
    }
    let key = |rule: &spec::SniRule| Some((HostPattern::parse(&rule.host).ok()?, rule.alpn.clone()));
    for (place, first) in duplicates(&tcp.sni, key) {
        let path = path(&format!("sni[{place}].host"));
        errors.add(path, format!("rule {first} has the same host and ALPN: this one is never used"));
    }
    TcpRoutes::new(default, rules)
}
