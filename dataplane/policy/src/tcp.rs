//! Where connections of an opaque TCP listener go: by server name and ALPN of a TLS ClientHello, without terminating TLS.

use std::sync::Arc;

use crate::host::{HostPattern, HostTable};
use crate::snapshot::ClusterId;

/// Compiled server-name rules.
#[derive(Debug, Default)]
pub struct TcpRoutes {
    /// Without a matching rule; `None`: the connection is closed.
    pub default: Option<ClusterId>,
    /// To an index of `rules`.
    hosts: HostTable,
    /// Per host pattern: rules with ALPN first, then file order.
    rules: Vec<Vec<Rule>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    alpn: Option<Arc<str>>,
    cluster: ClusterId,
}

impl TcpRoutes {
    /// Compiles rules of (pattern, ALPN, cluster), each pair of pattern and ALPN there once.
    pub(crate) fn new(
        default: Option<ClusterId>,
        rules: Vec<(HostPattern, Option<Arc<str>>, ClusterId)>,
    ) -> TcpRoutes {
        let mut hosts: Vec<(HostPattern, u32)> = Vec::new();
        let mut lists: Vec<Vec<Rule>> = Vec::new();
        for (pattern, alpn, cluster) in rules {
            let known = hosts.iter().find(|(other, _)| *other == pattern).map(|&(_, list)| list);
            let list = known.unwrap_or_else(|| {
                lists.push(Vec::new());
                hosts.push((pattern, lists.len() as u32 - 1));
                lists.len() as u32 - 1
            });
            lists[list as usize].push(Rule { alpn, cluster });
        }
        for list in &mut lists {
            list.sort_by_key(|rule| rule.alpn.is_none());
        }
        TcpRoutes { default, hosts: HostTable::new(&hosts), rules: lists }
    }

    /// Whether there are rules: a ClientHello has to be read first.
    #[inline]
    pub fn needs_hello(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The cluster for a server name (RFC 6066 section 3; `None` if the client sent none) and the protocols it offers (RFC 7301).
    ///
    /// The most specific name wins: exact, longest wildcard, any name. Under one name a rule with an ALPN that the client offers wins over
    /// one without; if only rules with other ALPNs are there, the next wider name is tried. Without any the default.
    pub fn find<'p>(
        &self,
        sni: Option<&[u8]>,
        alpn: impl Iterator<Item = &'p [u8]> + Clone,
    ) -> Option<ClusterId> {
        let Some(name) = sni else { return self.default };
        let name = name.strip_suffix(b".").unwrap_or(name);
        let offered = |wanted: &str| alpn.clone().any(|protocol| protocol == wanted.as_bytes());
        self.hosts
            .find_map(name, |list| {
                let mut rules = self.rules[list as usize].iter();
                rules.find(|rule| rule.alpn.as_deref().is_none_or(offered)).map(|rule| rule.cluster)
            })
            .or(self.default)
    }

    /// Whether both send every connection to the same place.
    pub(crate) fn same_rules(&self, other: &TcpRoutes) -> bool {
        self.default == other.default && self.rules == other.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(rules: &[(&str, Option<&str>, u32)]) -> TcpRoutes {
        let rules = rules
            .iter()
            .map(|&(host, alpn, cluster)| {
                (HostPattern::parse(host).unwrap(), alpn.map(Arc::from), ClusterId(cluster))
            })
            .collect();
        TcpRoutes::new(Some(ClusterId(99)), rules)
    }

    fn find(routes: &TcpRoutes, sni: &str, alpn: &[&str]) -> u32 {
        let offered = alpn.iter().map(|protocol| protocol.as_bytes());
        routes.find(Some(sni.as_bytes()), offered).unwrap().0
    }

    #[test]
    fn exact_then_longest_wildcard_then_any_then_default() {
        let all = routes(&[
            ("*", None, 0),
            ("*.example.com", None, 1),
            ("a.example.com", None, 2),
            ("*.com", None, 3),
        ]);
        for (sni, cluster) in [
            ("a.example.com", 2),
            ("A.Example.com", 2),
            ("b.example.com", 1),
            ("example.com", 3),
            ("x.org", 0),
        ] {
            assert_eq!(find(&all, sni, &[]), cluster, "{sni}");
        }
        assert_eq!(all.find(None, std::iter::empty()), Some(ClusterId(99)));
        assert_eq!(find(&routes(&[("a", None, 1)]), "b", &[]), 99);
    }

    #[test]
    fn alpn_decides_under_one_name_and_falls_back_to_wider_names() {
        let routes = routes(&[
            ("a.example.com", None, 1),
            ("a.example.com", Some("h2"), 2),
            ("b.example.com", Some("h2"), 3),
            ("*.example.com", None, 4),
        ]);
        assert_eq!(find(&routes, "a.example.com", &["http/1.1", "h2"]), 2);
        assert_eq!(find(&routes, "a.example.com", &["http/1.1"]), 1);
        assert_eq!(find(&routes, "b.example.com", &["h2"]), 3);
        assert_eq!(find(&routes, "b.example.com", &["http/1.1"]), 4);
    }

    #[test]
    fn whether_a_hello_is_needed() {
        assert!(routes(&[("a", None, 1)]).needs_hello());
        assert!(!routes(&[]).needs_hello());
    }
}
