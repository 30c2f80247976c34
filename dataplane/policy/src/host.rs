//! Names that a host or server name is looked up by: exact, then the longest wildcard, then any.

use crate::table::{Case, Table};

/// A set of host patterns, each with a number. Letter case is ignored (RFC 9110 section 4.2.3).
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    exact: Table,
    /// Keys without `*.`.
    wildcard: Table,
    /// Bit `n`: there is a wildcard whose fixed part has `n` labels; a name of 253 bytes has at most 127.
    labels: u128,
    any: Option<u32>,
}

/// A pattern of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostPattern {
    /// Exactly this name.
    Exact(String),
    /// One or more labels in front of this name.
    Wildcard(String),
    /// Any host, none at all included.
    Any,
}

impl HostPattern {
    /// Reads `*`, `*.example.com`, `example.com` or `[::1]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<HostPattern, &'static str> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let lower = text.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        let (wildcard, name) = match lower.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, lower),
        };
        if name.contains('*') {
            return Err("may have `*` only as its whole first label (`*.example.com`) or alone");
        }
        if let Some(literal) = name.strip_prefix('[') {
            let address =
                literal.strip_suffix(']').ok_or("has a port or an unclosed bracket: give the host alone")?;
            return match address.parse::<std::net::Ipv6Addr>() {
                Ok(_) if !wildcard => Ok(HostPattern::Exact(name.to_owned())),
                _ => Err("is not an IPv6 address in brackets"),
            };
        }
        if name.contains(':') {
            return Err("must not have a port: any port matches");
        }
        if name.len() > NAME_BYTES_MAX || name.split('.').any(|label| !is_label(label)) {
            return Err("is not a host name");
        }
        Ok(if wildcard {
            HostPattern::Wildcard(name.to_owned())
        } else {
            HostPattern::Exact(name.to_owned())
        })
    }

    /// Whether a host (without port and final dot) matches: the definition that [`HostTable`] must agree with.
    pub(crate) fn matches(&self, host: &[u8]) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            HostPattern::Wildcard(name) => {
                host.len().checked_sub(name.len() + 1).filter(|&front| front > 0).is_some_and(|front| {
                    host[front] == b'.' && host[front + 1..].eq_ignore_ascii_case(name.as_bytes())
                })
            }
        }
    }
}

impl HostTable {
    /// The table of these patterns, each there once.
    pub(crate) fn new(patterns: &[(HostPattern, u32)]) -> HostTable {
        let exact: Vec<_> = patterns
            .iter()
            .filter_map(|(pattern, value)| match pattern {
                HostPattern::Exact(name) => Some((0, name.as_bytes(), *value)),
                _ => None,
            })
            .collect();
        let wildcard: Vec<_> = patterns
            .iter()
            .filter_map(|(pattern, value)| match pattern {
                HostPattern::Wildcard(name) => Some((0, name.as_bytes(), *value)),
                _ => None,
            })
            .collect();
        HostTable {
            labels: wildcard.iter().fold(0, |labels, (_, name, _)| labels | 1 << (label_count(name) & 127)),
            any: patterns.iter().find(|(pattern, _)| *pattern == HostPattern::Any).map(|&(_, value)| value),
            exact: Table::build(exact.into_iter()),
            wildcard: Table::build(wildcard.into_iter()),
        }
    }

    /// Asks `accept` for the numbers of the patterns that match `host` (see [`bare_host`]), most specific first, until it gives something.
    #[inline]
    pub(crate) fn find_map<T>(&self, host: &[u8], mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        if let Some(number) = self.exact.find(0, host, Case::Ignore)
            && let found @ Some(_) = accept(number)
        {
            return found;
        }
        if self.labels != 0
            && let found @ Some(_) = self.find_wildcard(host, &mut accept)
        {
            return found;
        }
        self.any.and_then(accept)
    }

    /// Drops one label after the other and looks the remainder up.
    fn find_wildcard<T>(&self, host: &[u8], accept: &mut impl FnMut(u32) -> Option<T>) -> Option<T> {
        // A first label must be there: `.example.com` has none.
        if host.first() == Some(&b'.') {
            return None;
        }
        let mut labels = label_count(host);
        let mut rest = host;
        while let Some(dot) = memchr::memchr(b'.', rest) {
            rest = &rest[dot + 1..];
            labels = labels.saturating_sub(1);
            if self.labels.checked_shr(labels).unwrap_or(0) & 1 == 1
                && let Some(number) = self.wildcard.find(0, rest, Case::Ignore)
                && let found @ Some(_) = accept(number)
            {
                return found;
            }
        }
        None
    }
}

/// `host[:port]` without port and without the dot of a fully qualified name: what patterns are compared with.
#[inline]
pub(crate) fn bare_host(authority: &[u8]) -> &[u8] {
    // From the end: most authorities have no port and end in a letter.
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let host = match authority.split_at(authority.len() - digits).0 {
        [host @ .., b':'] => host,
        _ => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn label_count(name: &[u8]) -> u32 {
    memchr::memchr_iter(b'.', name).count() as u32 + 1
}

/// RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> HostTable {
        let patterns: Vec<_> = patterns
            .iter()
            .enumerate()
            .map(|(number, text)| (HostPattern::parse(text).unwrap(), number as u32))
            .collect();
        HostTable::new(&patterns)
    }

    fn candidates(table: &HostTable, host: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        let none: Option<()> = table.find_map(host, |number| {
            all.push(number);
            None
        });
        assert!(none.is_none());
        all
    }

    #[test]
    fn most_specific_first() {
        let table = table(&["*", "*.example.com", "a.b.example.com", "*.b.example.com", "*.com", "[::1]"]);
        for (host, expected) in [
            ("a.b.example.com", vec![2, 3, 1, 4, 0]),
            ("A.B.Example.COM", vec![2, 3, 1, 4, 0]),
            ("x.y.b.example.com", vec![3, 1, 4, 0]),
            ("b.example.com", vec![1, 4, 0]),
            ("example.com", vec![4, 0]),
            ("com", vec![0]),
            ("", vec![0]),
            (".com", vec![0]),
            ("[::1]", vec![5, 0]),
        ] {
            assert_eq!(candidates(&table, host.as_bytes()), expected, "{host}");
        }
    }

    #[test]
    fn hosts_without_a_pattern() {
        assert!(candidates(&table(&["a"]), b"b").is_empty());
        assert!(candidates(&table(&[]), b"b").is_empty());
        let dots = format!("a{}", ".".repeat(4_000));
        assert!(candidates(&table(&["*.com"]), dots.as_bytes()).is_empty());
        let deep = format!("{}com", "a.".repeat(4_000));
        assert_eq!(candidates(&table(&["*.com"]), deep.as_bytes()), [0]);
    }

    #[test]
    fn ports_and_final_dots_do_not_count() {
        for (authority, host) in [
            ("a.b", "a.b"),
            ("a.b:80", "a.b"),
            ("a.b.:80", "a.b"),
            ("a.b:", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(bare_host(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert_eq!(HostPattern::parse("*.Example.com."), Ok(HostPattern::Wildcard("example.com".into())));
        assert_eq!(HostPattern::parse("10.0.0.1"), Ok(HostPattern::Exact("10.0.0.1".into())));
        for text in
            ["", "a*", "*.*.a", "a.*", "a:80", "[::1", "[::1]:80", "[x]", "a..b", ".a", "*.", "a b", "é"]
        {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
