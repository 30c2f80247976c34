//! Why a request takes the route it takes, and why every other route lost. Checks each route by itself, without the index.

use std::sync::Arc;

use super::build::{PathCondition, Specificity};
use super::{MatchScratch, Request, RouteTable, Work};
use crate::host::bare_host;
use crate::path::Form;
use crate::pattern::PatternSet;
use crate::snapshot::{Route, RouteId};

/// What became of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Which.
    pub route: RouteId,
    /// What.
    pub outcome: Outcome,
}

/// Why a route was taken or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the one.
    Chosen,
    /// The first condition that does not hold, in the order in which routes are compared.
    Fails(Criterion),
    /// It matches too, but another is more specific by this.
    LessSpecific(Criterion),
    /// The path reads as two different resources, so no route is looked for.
    PathRefused,
}

/// What routes are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The host.
    Host,
    /// The path.
    Path,
    /// The method.
    Method,
    /// A field condition of that name; for [`Outcome::LessSpecific`] the number of them, and no name.
    Header(Option<Arc<str>>),
    /// A query condition, likewise.
    Query(Option<Arc<str>>),
    /// The place in the file.
    Order,
}

impl RouteTable {
    /// What became of each route, in file order. Not for the request path: it allocates and compiles regular expressions.
    pub fn explain(&self, request: &Request<'_>) -> Vec<Explanation> {
        let mut scratch = MatchScratch::new();
        scratch.load(request);
        let path = scratch.matched_path(request).to_vec();
        let refused = scratch.form == Form::Refused;
        let failures: Vec<Option<Criterion>> =
            self.routes.iter().map(|route| failure(route, request, &path, &mut scratch.work)).collect();
        let winner = (0..self.routes.len() as u32)
            .filter(|&route| failures[route as usize].is_none())
            .map(|route| self.routes[route as usize].conditions.specificity(route))
            .max();
        let explain = |(place, failure): (usize, Option<Criterion>)| {
            let own = self.routes[place].conditions.specificity(place as u32);
            let outcome = match (failure, winner) {
                _ if refused => Outcome::PathRefused,
                (Some(criterion), _) => Outcome::Fails(criterion),
                (None, Some(winner)) if winner != own => Outcome::LessSpecific(difference(&winner, &own)),
                (None, _) => Outcome::Chosen,
            };
            Explanation { route: RouteId(place as u32), outcome }
        };
        failures.into_iter().enumerate().map(explain).collect()
    }
}

/// The first condition of `route` that does not hold.
fn failure(route: &Route, request: &Request<'_>, path: &[u8], work: &mut Work) -> Option<Criterion> {
    let conditions = &route.conditions;
    if !conditions.host.matches(bare_host(request.head.host.of(request.bytes))) {
        return Some(Criterion::Host);
    }
    if !path_matches(&conditions.path, path, work) {
        return Some(Criterion::Path);
    }
    if !conditions.methods.matches(request) {
        return Some(Criterion::Method);
    }
    let mut headers = conditions.headers.iter().zip(&route.spec.matches.headers);
    if let Some((_, spec)) = headers.find(|(header, _)| !header.matches(request, &mut work.value_patterns)) {
        return Some(Criterion::Header(Some(spec.name.clone())));
    }
    let query = request.head.target.query.of(request.bytes);
    let mut parameters = conditions.query.iter().zip(&route.spec.matches.query);
    let failed = parameters
        .find(|(parameter, _)| !parameter.matches(query, &mut work.decoded, &mut work.value_patterns));
    failed.map(|(_, spec)| Criterion::Query(Some(spec.name.clone())))
}

fn path_matches(condition: &PathCondition, path: &[u8], work: &mut Work) -> bool {
    match condition {
        PathCondition::Exact(exact) => **exact == *path,
        PathCondition::Prefix(prefix) => {
            path.strip_prefix(&**prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        }
        PathCondition::Pattern(text) => {
            PatternSet::new(&[text]).is_ok_and(|pattern| pattern.test(path, &mut work.path_patterns))
        }
    }
}

/// What decides between two routes.
fn difference(winner: &Specificity, loser: &Specificity) -> Criterion {
    if winner.host != loser.host {
        Criterion::Host
    } else if winner.path != loser.path {
        Criterion::Path
    } else if winner.method != loser.method {
        Criterion::Method
    } else if winner.headers != loser.headers {
        Criterion::Header(None)
    } else if winner.query != loser.query {
        Criterion::Query(None)
    } else {
        Criterion::Order
    }
}
