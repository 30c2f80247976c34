//! Building the index of a route table.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{NO_NODE, Node, Patterns, Root, RouteTable, Rule};
use crate::condition::{HeaderCondition, Methods, QueryCondition};
use crate::host::{HostPattern, HostTable};
use crate::pattern::PatternSet;
use crate::snapshot::{Route, RouteId};
use crate::table::Table;

/// What a route asks for, compiled.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) host: HostPattern,
    pub(crate) path: PathCondition,
    pub(crate) methods: Methods,
    pub(crate) headers: Box<[HeaderCondition]>,
    pub(crate) query: Box<[QueryCondition]>,
}

/// A path condition, in matched form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathCondition {
    /// The whole path.
    Exact(Box<[u8]>),
    /// Without final `/`; empty for `/` itself.
    Prefix(Box<[u8]>),
    /// The text of the pattern.
    Pattern(Box<str>),
}

/// How specific a route is: the greater wins. The order of the fields is the order of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    pub(super) host: (u8, usize),
    pub(super) path: (u8, usize),
    pub(super) method: bool,
    pub(super) headers: usize,
    pub(super) query: usize,
    pub(super) order: Reverse<u32>,
}

impl Conditions {
    pub(super) fn specificity(&self, route: u32) -> Specificity {
        Specificity {
            host: match &self.host {
                HostPattern::Exact(_) => (2, 0),
                HostPattern::Wildcard(name) => (1, name.len()),
                HostPattern::Any => (0, 0),
            },
            path: match &self.path {
                PathCondition::Exact(_) => (2, 0),
                PathCondition::Pattern(text) => (1, text.len()),
                PathCondition::Prefix(path) => (0, path.len()),
            },
            method: !self.methods.is_any(),
            headers: self.headers.len(),
            query: self.query.len(),
            order: Reverse(route),
        }
    }
}

impl RouteTable {
    /// Compiles the index of `routes`.
    ///
    /// # Errors
    /// The place of the route whose regular expression is wrong, and why.
    pub(crate) fn new(routes: Vec<Route>) -> Result<RouteTable, (usize, String)> {
        let mut order: Vec<u32> = (0..routes.len() as u32).collect();
        order.sort_by_key(|&route| Reverse(routes[route as usize].conditions.specificity(route)));
        let mut builder = Builder::default();
        let mut hosts: BTreeMap<&HostPattern, Vec<u32>> = BTreeMap::new();
        for route in order {
            hosts.entry(&routes[route as usize].conditions.host).or_default().push(route);
        }
        let mut patterns = Vec::with_capacity(hosts.len());
        for (host, members) in hosts {
            patterns.push((host.clone(), builder.roots.len() as u32));
            builder.add_host(&routes, &members)?;
        }
        let (nodes, rules) = builder.flatten();
        let edges =
            builder.edges.iter().map(|((parent, segment), child)| (*parent, segment.as_slice(), *child));
        Ok(RouteTable {
            hosts: HostTable::new(&patterns),
            edges: Table::build(edges),
            roots: builder.roots,
            nodes,
            rules,
            routes,
        })
    }
}

#[derive(Default)]
struct Builder {
    roots: Vec<Root>,
    nodes: Vec<Growing>,
    edges: BTreeMap<(u32, Vec<u8>), u32>,
}

/// A node while rules are added to it.
struct Growing {
    parent: u32,
    has_children: bool,
    exact: Vec<Rule>,
    prefix: Vec<Rule>,
}

impl Builder {
    /// Adds the routes of one host pattern, most specific first.
    fn add_host(&mut self, routes: &[Route], members: &[u32]) -> Result<(), (usize, String)> {
        let root = self.add_node(NO_NODE);
        let mut patterned = Vec::new();
        for &route in members {
            let conditions = &routes[route as usize].conditions;
            let rule = Rule {
                route: RouteId(route),
                unconditional: conditions.methods.is_any()
                    && conditions.headers.is_empty()
                    && conditions.query.is_empty(),
            };
            match &conditions.path {
                PathCondition::Exact(path) => {
                    let node = self.node_of(root, &path[1..]);
                    self.nodes[node as usize].exact.push(rule);
                }
                PathCondition::Prefix(path) => {
                    let node = path.get(1..).map_or(root, |rest| self.node_of(root, rest));
                    self.nodes[node as usize].prefix.push(rule);
                }
                PathCondition::Pattern(text) => patterned.push((&**text, rule)),
            }
        }
        let patterns = if patterned.is_empty() { None } else { Some(Box::new(Patterns::new(&patterned)?)) };
        self.roots.push(Root { node: root, patterns });
        Ok(())
    }

    fn add_node(&mut self, parent: u32) -> u32 {
        self.nodes.push(Growing { parent, has_children: false, exact: Vec::new(), prefix: Vec::new() });
        self.nodes.len() as u32 - 1
    }

    /// The node of the segments of `rest`, made where missing.
    fn node_of(&mut self, root: u32, rest: &[u8]) -> u32 {
        let mut at = root;
        for segment in rest.split(|&byte| byte == b'/') {
            at = match self.edges.get(&(at, segment.to_vec())) {
                Some(&child) => child,
                None => {
                    let child = self.add_node(at);
                    self.nodes[at as usize].has_children = true;
                    self.edges.insert((at, segment.to_vec()), child);
                    child
                }
            };
        }
        at
    }

    /// Nodes and rules as the table holds them. Parents come before their children.
    fn flatten(&mut self) -> (Vec<Node>, Vec<Rule>) {
        let mut rules = Vec::new();
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        let mut take = |list: &mut Vec<Rule>| {
            let start = rules.len() as u32;
            rules.append(list);
            start..rules.len() as u32
        };
        for growing in &mut self.nodes {
            let shorter = match nodes.get(growing.parent as usize) {
                Some(parent) if !parent.prefix.is_empty() => growing.parent,
                Some(parent) => parent.shorter,
                None => NO_NODE,
            };
            nodes.push(Node {
                exact: take(&mut growing.exact),
                prefix: take(&mut growing.prefix),
                shorter,
                has_children: growing.has_children,
            });
        }
        (nodes, rules)
    }
}

impl Patterns {
    /// Rules with their patterns, most specific first: lengths do not rise.
    fn new(patterned: &[(&str, Rule)]) -> Result<Patterns, (usize, String)> {
        let mut texts: Vec<&str> = Vec::new();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut places: Vec<Vec<u32>> = Vec::new();
        for (place, &(text, _)) in patterned.iter().enumerate() {
            let number = *numbers.entry(text).or_insert_with(|| {
                texts.push(text);
                places.push(Vec::new());
                texts.len() - 1
            });
            places[number].push(place as u32);
        }
        let set = PatternSet::new(&texts).map_err(|(place, error)| {
            let route = patterned.iter().find(|(text, _)| *text == texts[place]);
            (route.map_or(0, |(_, rule)| rule.route.0 as usize), error)
        })?;
        let lengths = texts.iter().map(|text| text.len() as u32).collect();
        Ok(Patterns { set, lengths, places, rules: patterned.iter().map(|&(_, rule)| rule).collect() })
    }
}
