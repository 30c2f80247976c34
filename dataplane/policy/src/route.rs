//! Which route a request takes: the most specific of those that match, whatever their order in the file.
//!
//! Specificity, first difference decides: host (exact, then longer wildcard, then any); path (exact, then longer regular expression, then
//! longer prefix); a method named; more field conditions; more query conditions; earlier in the file. These are the rules of the Gateway
//! API (GEP-718), with regular expressions placed where Envoy Gateway and Contour have them. A route is only passed over if one of its
//! conditions fails, so a request that fails a method or field condition under an exact host falls back to wider hosts.

mod build;
mod explain;

use std::ops::Range;

use ringway_wire::http::{RequestHead, TargetForm};

pub(crate) use build::{Conditions, PathCondition};
pub use explain::{Criterion, Explanation, Outcome};

use crate::host::{HostTable, bare_host};
use crate::path;
pub use crate::path::Form;
use crate::pattern::{PatternScratch, PatternSet};
use crate::snapshot::{Route, RouteId};
use crate::table::{Case, Table};

/// A request to be routed: a parsed head and the buffer it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The head.
    pub head: &'a RequestHead,
    /// The bytes that its spans refer to.
    pub bytes: &'a [u8],
}

/// Compiled routes.
///
/// Hosts are found by hash. Under each host there is a tree of path segments; its edges are in one hash table, so that a look-up takes one
/// step per segment of the request that any route names, whatever the number of routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// To an index of `roots`.
    hosts: HostTable,
    roots: Vec<Root>,
    nodes: Vec<Node>,
    /// From (node, segment) to node.
    edges: Table,
    /// Route numbers, most specific first within each range that refers here.
    rules: Vec<Rule>,
}

/// The routes of one host pattern.
#[derive(Debug)]
struct Root {
    /// The node of `/`.
    node: u32,
    patterns: Option<Box<Patterns>>,
}

/// The regular expressions of one host pattern, longest first.
#[derive(Debug)]
struct Patterns {
    set: PatternSet,
    /// Bytes of each pattern.
    lengths: Vec<u32>,
    /// For each pattern the places of its rules in `rules`, ascending.
    places: Vec<Vec<u32>>,
    /// Most specific first.
    rules: Vec<Rule>,
}

/// A path made of whole segments.
#[derive(Debug)]
struct Node {
    /// Rules for exactly this path.
    exact: Range<u32>,
    /// Rules for this path as a prefix.
    prefix: Range<u32>,
    /// The next shorter path that is a prefix of some route, [`NO_NODE`] if none.
    shorter: u32,
    has_children: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    route: RouteId,
    /// There is nothing more to check than host and path.
    unconditional: bool,
}

/// What matching writes to: one per worker, reused for every request, so that matching allocates nothing once it has grown to the longest
/// path seen. After [`RouteTable::find`] it holds the form of the path that was matched, for rewriting.
#[derive(Debug, Default)]
pub struct MatchScratch {
    path: Vec<u8>,
    form: Form,
    work: Work,
}

#[derive(Debug, Default)]
struct Work {
    path_patterns: PatternScratch,
    value_patterns: PatternScratch,
    decoded: Vec<u8>,
}

impl MatchScratch {
    /// Empty, with room for paths of the default target limit.
    pub fn new() -> MatchScratch {
        let bytes = PATH_BYTES_PREALLOCATED;
        let work = Work { decoded: Vec::with_capacity(bytes), ..Work::default() };
        MatchScratch { path: Vec::with_capacity(bytes), form: Form::Same, work }
    }

    /// How the path of the last request relates to what was matched. [`Form::Refused`]: answer 400, no route was looked for.
    #[inline]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The path of the last request in matched form; `/` for CONNECT and `OPTIONS *`.
    #[inline]
    pub fn matched_path<'m>(&'m self, request: &Request<'m>) -> &'m [u8] {
        if self.form == Form::Same { received_path(request) } else { &self.path }
    }

    #[inline]
    fn load(&mut self, request: &Request<'_>) {
        let received = received_path(request);
        self.form = if path::needs_normalising(received) {
            path::normalise(received, &mut self.path)
        } else {
            Form::Same
        };
    }
}

impl RouteTable {
    /// The route of that number.
    #[inline]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }

    /// All routes, in file order; the place of each is its number.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route that `request` takes.
    ///
    /// `None` if none matches (404) or the path reads as two different resources ([`MatchScratch::form`] is [`Form::Refused`]: 400).
    /// Takes time in proportion to the length of host and path, not to the number of routes; allocates nothing.
    #[inline]
    pub fn find(&self, request: &Request<'_>, scratch: &mut MatchScratch) -> Option<RouteId> {
        scratch.load(request);
        if scratch.form == Form::Refused {
            return None;
        }
        let MatchScratch { path, form, work } = scratch;
        let path = if *form == Form::Same { received_path(request) } else { path.as_slice() };
        let host = bare_host(request.head.host.of(request.bytes));
        self.hosts.find_map(host, |root| self.find_under(root, path, request, work))
    }

    /// The route among those of one host pattern.
    fn find_under(&self, root: u32, path: &[u8], request: &Request<'_>, work: &mut Work) -> Option<RouteId> {
        let root = &self.roots[root as usize];
        let (deepest, whole) = self.walk(root.node, path);
        if whole && let found @ Some(_) = self.first(&self.nodes[deepest as usize].exact, request, work) {
            return found;
        }
        if let Some(patterns) = &root.patterns
            && let found @ Some(_) = self.find_pattern(patterns, path, request, work)
        {
            return found;
        }
        let mut at = deepest;
        while at != NO_NODE {
            let node = &self.nodes[at as usize];
            if let found @ Some(_) = self.first(&node.prefix, request, work) {
                return found;
            }
            at = node.shorter;
        }
        None
    }

    /// Follows `path` from `root` as far as there are nodes; also says whether that was to its end.
    #[inline]
    fn walk(&self, root: u32, path: &[u8]) -> (u32, bool) {
        let mut at = root;
        let mut rest = path.get(1..).unwrap_or(&[]);
        while self.nodes[at as usize].has_children {
            // Segments are short: a plain loop is faster than a search with a set-up.
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let Some(child) = self.edges.find(at, &rest[..end], Case::Exact) else { break };
            at = child;
            match rest.get(end + 1..) {
                Some(behind) => rest = behind,
                None => return (at, true),
            }
        }
        (at, false)
    }

    fn find_pattern(
        &self,
        patterns: &Patterns,
        path: &[u8],
        request: &Request<'_>,
        work: &mut Work,
    ) -> Option<RouteId> {
        patterns.set.test(path, &mut work.path_patterns);
        let mut best: Option<(u32, u32)> = None;
        let mut next = work.path_patterns.next_hit(0);
        while let Some(pattern) = next {
            let length = patterns.lengths[pattern as usize];
            if best.is_some_and(|(_, best_length)| length < best_length) {
                break;
            }
            let mut places = patterns.places[pattern as usize].iter().copied();
            let holds = |place: &u32| self.conditions_hold(&patterns.rules[*place as usize], request, work);
            if let Some(place) = places.find(holds)
                && best.is_none_or(|(best_place, _)| place < best_place)
            {
                best = Some((place, length));
            }
            next = work.path_patterns.next_hit(pattern + 1);
        }
        best.map(|(place, _)| patterns.rules[place as usize].route)
    }

    /// The first rule whose conditions hold.
    #[inline]
    fn first(&self, rules: &Range<u32>, request: &Request<'_>, work: &mut Work) -> Option<RouteId> {
        self.rules[rules.start as usize..rules.end as usize]
            .iter()
            .find(|rule| self.conditions_hold(rule, request, work))
            .map(|rule| rule.route)
    }

    #[inline]
    fn conditions_hold(&self, rule: &Rule, request: &Request<'_>, work: &mut Work) -> bool {
        if rule.unconditional {
            return true;
        }
        let conditions = &self.routes[rule.route.0 as usize].conditions;
        conditions.methods.matches(request)
            && conditions.headers.iter().all(|header| header.matches(request, &mut work.value_patterns))
            && conditions.query.iter().all(|parameter| {
                let query = request.head.target.query.of(request.bytes);
                parameter.matches(query, &mut work.decoded, &mut work.value_patterns)
            })
    }
}

/// The path to match: `/` where the target has none (CONNECT, `OPTIONS *`, `http://host?query`).
#[inline]
fn received_path<'r>(request: &Request<'r>) -> &'r [u8] {
    match request.head.target.form {
        TargetForm::Origin => request.head.target.path.of(request.bytes),
        _ => match request.head.target.path.of(request.bytes) {
            [] => b"/",
            path => path,
        },
    }
}

const NO_NODE: u32 = u32::MAX;
const PATH_BYTES_PREALLOCATED: usize = 8 << 10;

#[cfg(test)]
pub(crate) mod tests;
