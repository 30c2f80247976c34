//! Names that a host or server name is looked up by: exact, then the longest wildcard, then any.

use crate::table::{Case, Table};

/// A set of host patterns, each with a number. Letter case is ignored (RFC 9110 section 4.2.3).
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    exact: Table,
    /// Keys without `*.`.
    wildcard: Table,
    /// Bit `n`: there is a wildcard whose fixed part has `n` labels.
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
            labels: wildcard.iter().fold(0, |labels, (_, name, _)| labels | 1 << label_count(name)),
            any: patterns.iter().find(|(pattern, _)| *pattern == HostPattern::Any).map(|&(_, value)| value),
            exact: Table::build(exact.into_iter()),
            wildcard: Table::build(wildcard.into_iter()),
        }
    }

    /// The numbers of the patterns that match `host` (see [`bare_host`]), most specific first.
    #[inline]
    pub(crate) fn candidates<'t>(&'t self, host: &'t [u8]) -> Candidates<'t> {
        Candidates { table: self, host, rest: Some(host), step: Step::Exact }
    }
}

/// What [`HostTable::candidates`] walks through.
pub(crate) struct Candidates<'t> {
    table: &'t HostTable,
    host: &'t [u8],
    /// What of the host is left behind the dots passed so far.
    rest: Option<&'t [u8]>,
    step: Step,
}

enum Step {
    Exact,
    /// Labels left in `rest`.
    Wildcard(u32),
    Any,
    End,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            match self.step {
                Step::Exact => {
                    self.step = if self.table.labels == 0 {
                        Step::Any
                    } else {
                        Step::Wildcard(label_count(self.host))
                    };
                    if let found @ Some(_) = self.table.exact.find(0, self.host, Case::Ignore) {
                        return found;
                    }
                }
                Step::Wildcard(labels) => {
                    if let found @ Some(_) = self.next_wildcard(labels) {
                        return found;
                    }
                }
                Step::Any => {
                    self.step = Step::End;
                    if self.table.any.is_some() {
                        return self.table.any;
                    }
                }
                Step::End => return None,
            }
        }
    }
}

impl Candidates<'_> {
    /// Drops the first label of `rest` and looks the remainder up.
    fn next_wildcard(&mut self, labels: u32) -> Option<u32> {
        let behind = self.rest.and_then(|rest| memchr::memchr(b'.', rest).map(|dot| &rest[dot + 1..]));
        self.rest = behind;
        let (Some(name), true) = (behind, labels > 1) else {
            self.step = Step::Any;
            return None;
        };
        self.step = Step::Wildcard(labels - 1);
        // A first label must be there: `.example.com` has none.
        if self.host.first() == Some(&b'.') || self.table.labels >> (labels - 1).min(LABELS_MAX) & 1 == 0 {
            return None;
        }
        self.table.wildcard.find(0, name, Case::Ignore)
    }
}

/// `host[:port]` without port and without the dot of a fully qualified name: what patterns are compared with.
#[inline]
pub(crate) fn bare_host(authority: &[u8]) -> &[u8] {
    let host = match authority {
        [b'[', ..] => match memchr::memchr(b']', authority) {
            Some(close) => &authority[..=close],
            None => authority,
        },
        _ => match memchr::memchr(b':', authority) {
            Some(colon) => &authority[..colon],
            None => authority,
        },
    };
    host.strip_suffix(b".").unwrap_or(host)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Labels of a name, counted up to [`LABELS_MAX`].
fn label_count(name: &[u8]) -> u32 {
    (memchr::memchr_iter(b'.', name).count() as u32 + 1).min(LABELS_MAX)
}

/// RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// A name of 253 bytes has at most 127 labels.
const LABELS_MAX: u32 = 127;

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
            assert_eq!(table.candidates(host.as_bytes()).collect::<Vec<_>>(), expected, "{host}");
        }
    }

    #[test]
    fn hosts_without_a_pattern() {
        assert_eq!(table(&["a"]).candidates(b"b").next(), None);
        assert_eq!(table(&[]).candidates(b"b").next(), None);
        let dots = ".".repeat(4_000);
        assert_eq!(table(&["*.com"]).candidates(dots.as_bytes()).next(), None);
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
