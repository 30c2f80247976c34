//! The books: statistics and log lines of what has ended.

use std::fmt::Display;

use ringway_driver::{Addr, Driver};
use ringway_wire::http::Version;

use crate::access_log::Record;
use crate::cluster::EndpointSlot;
use crate::exchange::Exchange;
use crate::flags::Flags;
use crate::session::Tunnel;
use crate::slab::Key;
use crate::worker::Worker;

impl<D: Driver> Worker<D> {
    /// An exchange has ended, however.
    pub(crate) fn account(&mut self, key: Key, exchange: Exchange) {
        let now = self.driver.now();
        let stats = &self.shared.stats;
        stats.worker.requests_active.sub(1);
        match exchange.response.status {
            200..=299 => stats.worker.responses_2xx.add(1),
            300..=399 => stats.worker.responses_3xx.add(1),
            400..=499 => stats.worker.responses_4xx.add(1),
            500..=599 => stats.worker.responses_5xx.add(1),
            _ => {}
        }
        stats.latency.record(now.saturating_sub(exchange.started));
        self.count_flags(exchange.flags);
        if !self.log.is_on() {
            return;
        }
        let Some(session) = self.sessions.get(key) else { return };
        let client = session.client();
        let named = exchange.client.as_ref().map(|c| c as &dyn Display);
        let listening = &self.listening[session.listener as usize];
        let record = Record {
            fields: &exchange.log,
            protocol: if exchange.request.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
            listener: &listening.name,
            route: exchange.route.map_or("", |r| &exchange.live.route(exchange.listener, r).spec.name),
            cluster: exchange.cluster.map_or("", |c| &self.clusters.config(c).spec.name),
            client: named.or(client.as_ref().map(|c| c as &dyn Display)),
            upstream: exchange.upstream.as_ref().map(|u| u as &dyn Display),
            status: exchange.response.status,
            flags: exchange.flags,
            reason: exchange.reason,
            bytes_received: exchange.request.bytes,
            bytes_sent: exchange.response.bytes,
            attempts: exchange.attempts,
            unix_us: self.driver.unix_now(),
            duration_us: now.saturating_sub(exchange.started),
        };
        self.log.write(&record, &self.shared);
        self.log.recycle(exchange.log);
    }

    /// A tunnel has ended, however.
    pub(crate) fn account_tunnel(&mut self, key: Key, tunnel: &Tunnel, flags: Flags) {
        let now = self.driver.now();
        self.count_flags(flags);
        if !self.log.is_on() {
            return;
        }
        let Some(session) = self.sessions.get(key) else { return };
        let client = session.client();
        let listening = &self.listening[session.listener as usize];
        let upstream = tunnel.endpoint.map(|e| self.upstream_addr(e));
        let record = Record {
            fields: &tunnel.log.fields,
            protocol: if tunnel.log.http { "HTTP/1.1" } else { "TCP" },
            listener: &listening.name,
            route: "",
            cluster: &self.clusters.config(tunnel.cluster).spec.name,
            client: client.as_ref().map(|c| c as &dyn Display),
            upstream: upstream.as_ref().map(|u| u as &dyn Display),
            status: tunnel.log.status,
            flags,
            reason: "",
            bytes_received: tunnel.bytes_up,
            bytes_sent: tunnel.bytes_down,
            attempts: tunnel.attempts,
            unix_us: self.driver.unix_now(),
            duration_us: now.saturating_sub(tunnel.log.started),
        };
        self.log.write(&record, &self.shared);
    }

    fn upstream_addr(&self, endpoint: EndpointSlot) -> Addr {
        self.clusters.endpoint(endpoint).addr.clone()
    }

    fn count_flags(&self, flags: Flags) {
        for flag in flags.iter() {
            self.shared.stats.flags[flag as usize].add(1);
        }
    }
}
