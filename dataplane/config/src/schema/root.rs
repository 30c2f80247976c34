//! The top level of the file, and the checks that span sections: references, names and addresses used twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ringway_policy::spec::{
    AccessLog, Action, Address, Cluster, Drain, DriverChoice, Idle, Lb, Listener, Process, Protocol, Route,
    Spec,
};

use super::process::{Limits, WORKERS, set_workers};
use super::{
    Form, Key, Kind, Reader, Section, Shape, Target, VERSION, index, listener, names, pick, route, show,
};
use crate::error::Problem;
use crate::json::Json;
use crate::nearest::nearest;
use crate::tree::{Data, Node, push_key, shorten};
use crate::units::{Place, show_address};

/// The file.
pub(crate) struct Root {
    process: Process,
    listeners: Vec<listener::Draft>,
    routes: Vec<route::Draft>,
    clusters: Vec<Cluster>,
}

/// What a tree holds.
pub(crate) struct Read {
    pub(crate) spec: Spec,
    pub(crate) problems: Vec<Problem>,
    /// Not wrong, but probably not what was meant. Only where there are no problems.
    pub(crate) warnings: Vec<Problem>,
}

impl Root {
    /// Reads a whole file.
    pub(crate) fn read(tree: &Node) -> Read {
        let mut reader = Reader::default();
        let mut root = Root::blank();
        if let Data::Nothing = tree.data {
            reader.problem(
                tree.span,
                "the file is empty; required keys `version` and `listeners` are missing",
                None,
            );
        } else {
            reader.section(tree, &mut root);
        }
        let spec = root.into_spec();
        let mut linker = Linker { spec: &spec, tree, problems: Vec::new() };
        linker.references(&reader);
        linker.names_twice();
        linker.addresses_twice();
        linker.rules_twice();
        let mut problems = reader.problems;
        problems.append(&mut linker.problems);
        if problems.is_empty() {
            linker.warnings();
        }
        let warnings = linker.problems;
        Read { spec, problems, warnings }
    }

    fn into_spec(self) -> Spec {
        let mut routes: Vec<_> = self.routes.into_iter().map(route::Draft::into_spec).collect();
        name_all(&mut routes);
        Spec {
            process: self.process,
            listeners: self.listeners.into_iter().map(listener::Draft::into_spec).collect(),
            routes,
            clusters: self.clusters,
        }
    }

    /// The file that would give `spec`.
    pub(crate) fn of(spec: &Spec) -> Root {
        Root {
            process: spec.process.clone(),
            listeners: spec.listeners.iter().map(listener::Draft::of).collect(),
            routes: spec.routes.iter().map(route::Draft::of).collect(),
            clusters: spec.clusters.clone(),
        }
    }
}

/// Routes without a name get one made from what they match, with a number where it is taken.
fn name_all(routes: &mut [Route]) {
    let mut taken: HashSet<Arc<str>> = routes.iter().map(|route| route.name.clone()).collect();
    for route in routes.iter_mut().filter(|route| route.name.is_empty()) {
        let plain = route::describe(&route.matches);
        let numbered = (2..).map(|number| format!("{plain} #{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name.as_str()));
        route.name = free.unwrap_or(plain).into();
        taken.insert(route.name.clone());
    }
}

impl Section for Root {
    const ID: &'static str = "file";
    const DOC: &'static str = "The top level of the file.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf("version", Kind::Version, |_, _| {}, |_| VERSION.into(), "Version of this schema.")
            .required(),
        Key::<Self>::optional(
            "workers",
            WORKERS,
            "auto",
            |root, value| set_workers(&mut root.process, value),
            |root| root.process.workers.into(),
            "Worker threads. `auto`: the CPUs that this process may use.",
        ),
        Key::<Self>::leaf(
            "driver",
            Kind::Choice(names::<DriverChoice>),
            |root, value| root.process.driver = pick(value),
            |root| index(root.process.driver),
            "`auto`: io_uring where its self-test passes, else epoll; `uring`: io_uring or fail; `epoll`.",
        ),
        Key::<Self>::leaf(
            "idle",
            Kind::Choice(names::<Idle>),
            |root, value| root.process.idle = pick(value),
            |root| index(root.process.idle),
            "How a worker waits. `wait`: sleep in the kernel; `spin`: first spin for a moment while an upstream's answer \
             is outstanding; `poll`: keep the CPUs of the machine from halting (dedicated machines only).",
        ),
        Key::<Self>::leaf(
            "cpu_steering",
            Kind::Bool,
            |root, value| root.process.cpu_steering = value.bool(),
            |root| root.process.cpu_steering.into(),
            "Give a connection to the worker on the CPU that took its packet instead of by kernel hash. For network \
             cards with one queue for each core.",
        ),
        Key::<Self>::nested(
            "drain",
            Shape::of::<Drain>(Form::One),
            |root, node, reader| reader.section(node, &mut root.process.drain),
            |root| Some(show(&root.process.drain)),
            "Graceful end.",
        ),
        Key::<Self>::nested(
            "limits",
            Shape::of::<Limits>(Form::One),
            |root, node, reader| {
                let mut limits = Limits::of(&root.process);
                reader.section(node, &mut limits);
                limits.store(&mut root.process);
            },
            |root| Some(show(&Limits::of(&root.process))),
            "Limits of the whole process.",
        ),
        Key::<Self>::optional(
            "admin",
            Kind::Address(Place::Listen),
            "off",
            |root, value| root.process.admin = value.opt_address(),
            |root| root.process.admin.as_ref().into(),
            "Address of the admin API. When the key is absent `ringway` uses 127.0.0.1:9901.",
        ),
        Key::<Self>::optional(
            "telemetry",
            Kind::Address(Place::Listen),
            "off",
            |root, value| root.process.telemetry = value.opt_address(),
            |root| root.process.telemetry.as_ref().into(),
            "Address of the read-only `/ready`, `/live` and `/metrics`.",
        ),
        Key::<Self>::nested(
            "access_log",
            Shape::of::<AccessLog>(Form::One).or(Kind::Choice(access_log_words)),
            read_access_log,
            |root| Some(root.process.access_log.as_ref().map_or(Json::text("off"), show)),
            "Access log. `off` (the default) and `stdout` stand for themselves.",
        ),
        Key::<Self>::nested(
            "listeners",
            Shape::of::<listener::Draft>(Form::Named),
            |root, node, reader| root.listeners = reader.named(node, listener::Draft::set_name),
            |root| Some(show_named(&Root::listener_names(root), &root.listeners)),
            "Listening sockets by name.",
        )
        .required(),
        Key::<Self>::nested(
            "routes",
            Shape::of::<route::Draft>(Form::List),
            |root, node, reader| root.routes = reader.sections(node),
            |root| Some(Json::List(root.routes.iter().map(show).collect())),
            "Routes of the HTTP listeners. The most specific wins; the order breaks ties.",
        ),
        Key::<Self>::nested(
            "clusters",
            Shape::of::<Cluster>(Form::Named),
            |root, node, reader| {
                root.clusters = reader.named(node, |cluster: &mut Cluster, name| cluster.name = name)
            },
            |root| {
                let names: Vec<_> = root.clusters.iter().map(|cluster| cluster.name.clone()).collect();
                Some(show_named(&names, &root.clusters))
            },
            "Clusters by name.",
        ),
    ];

    fn blank() -> Self {
        Root { process: Process::default(), listeners: Vec::new(), routes: Vec::new(), clusters: Vec::new() }
    }
}

impl Root {
    fn listener_names(&self) -> Vec<Arc<str>> {
        self.listeners.iter().map(listener::Draft::name).collect()
    }
}

fn access_log_words() -> Vec<&'static str> {
    vec!["off", "stdout"]
}

fn read_access_log(root: &mut Root, node: &Node, reader: &mut Reader) {
    let mut log = AccessLog::blank();
    if let Data::Map(_) = node.data {
        reader.section(node, &mut log);
        root.process.access_log = Some(log);
    } else if let Some(word) = reader.leaf(Kind::Choice(access_log_words), None, node) {
        root.process.access_log = (word.int() == 1).then_some(log);
    }
}

fn show_named<S: Section>(names: &[Arc<str>], sections: &[S]) -> Json {
    Json::Map(names.iter().zip(sections).map(|(name, section)| (name.to_string(), show(section))).collect())
}

/// What to say of a name that is defined nowhere.
fn missing<'a>(what: &str, name: &str, names: Vec<&'a str>) -> (String, Option<&'a str>) {
    const NAMES_MAX: usize = 8;
    let near = nearest(name, names.iter().copied());
    let mut message = format!("there is no {what} `{}`", shorten(name));
    if near.is_none() && !names.is_empty() && names.len() <= NAMES_MAX {
        message.push_str(&format!("; there are: {}", names.join(", ")));
    }
    (message, near)
}

/// Checks that need the whole file.
struct Linker<'a> {
    spec: &'a Spec,
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Linker<'_> {
    fn problem(&mut self, path: String, message: String, suggestion: Option<String>) {
        let (span, _) = self.tree.find(&path);
        self.problems.push(Problem { span, path, message, suggestion });
    }

    fn references(&mut self, reader: &Reader) {
        let listeners: HashMap<&str, &Listener> =
            self.spec.listeners.iter().map(|listener| (&*listener.name, listener)).collect();
        let clusters: HashSet<&str> = self.spec.clusters.iter().map(|cluster| &*cluster.name).collect();
        for reference in &reader.references {
            let name = &*reference.name;
            let (message, suggestion) = match reference.target {
                Target::Cluster if clusters.contains(name) => continue,
                // The section itself is missing or misspelled: one error for that is enough.
                Target::Cluster if clusters.is_empty() && !reader.problems.is_empty() => continue,
                Target::Listener if listeners.is_empty() && !reader.problems.is_empty() => continue,
                Target::Cluster => {
                    let names = self.spec.clusters.iter().map(|cluster| &*cluster.name);
                    missing("cluster", name, names.collect())
                }
                Target::Listener => match listeners.get(name).map(|listener| &listener.protocol) {
                    Some(Protocol::Http(_)) => continue,
                    Some(Protocol::Tcp(_)) => (
                        format!("listener `{name}` has `protocol: tcp`; routes apply to http listeners"),
                        None,
                    ),
                    None => {
                        let names = self.spec.listeners.iter().map(|listener| &*listener.name);
                        missing("listener", name, names.collect())
                    }
                },
            };
            self.problems.push(Problem {
                span: reference.span,
                path: reference.path.clone(),
                message,
                suggestion: suggestion.map(str::to_owned),
            });
        }
    }

    /// Names of routes.
    fn names_twice(&mut self) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (at, route) in self.spec.routes.iter().enumerate() {
            match names.get(&*route.name) {
                Some(first) => {
                    let message =
                        format!("duplicate route name `{}`, first of routes[{first}]", shorten(&route.name));
                    self.problem(format!("routes[{at}].name"), message, None);
                }
                None => {
                    names.insert(&route.name, at);
                }
            }
        }
    }

    /// Server names of a listener and clusters of a split.
    fn rules_twice(&mut self) {
        for listener in &self.spec.listeners {
            let Protocol::Tcp(tcp) = &listener.protocol else { continue };
            let mut known = HashSet::new();
            for (at, rule) in tcp.sni.iter().enumerate() {
                if !rule.host.is_empty() && !known.insert((&rule.host, &rule.alpn)) {
                    let mut path = String::from("listeners");
                    push_key(&mut path, &listener.name);
                    let message = format!("duplicate rule for `{}`", rule.host);
                    self.problem(format!("{path}.sni[{at}].host"), message, None);
                }
            }
        }
        for (place, route) in self.spec.routes.iter().enumerate() {
            let Action::Split(shares) = &route.action else { continue };
            let mut known = HashSet::new();
            for (at, (cluster, _)) in shares.iter().enumerate() {
                if !cluster.is_empty() && !known.insert(cluster) {
                    let message = format!("duplicate cluster `{cluster}`");
                    self.problem(format!("routes[{place}].split[{at}].cluster"), message, None);
                }
            }
        }
    }

    /// Addresses to listen on.
    fn addresses_twice(&mut self) {
        let process = &self.spec.process;
        let own = [("admin", &process.admin), ("telemetry", &process.telemetry)];
        let own = own.into_iter().filter_map(|(key, address)| Some((key.to_owned(), address.as_ref()?)));
        let listeners = self.spec.listeners.iter().map(|listener| {
            let mut path = String::from("listeners");
            push_key(&mut path, &listener.name);
            (path, &listener.address)
        });
        let mut addresses: HashMap<&Address, String> = HashMap::new();
        let mut twice = Vec::new();
        for (path, address) in own.chain(listeners) {
            if matches!(address, Address::Inet(address) if address.port() == 0) {
                continue;
            }
            match addresses.get(address) {
                Some(first) => {
                    twice.push((path, format!("`{}` is the address of `{first}`", show_address(address))))
                }
                None => {
                    addresses.insert(address, path);
                }
            }
        }
        for (path, message) in twice {
            let path = if path.starts_with("listeners") { format!("{path}.address") } else { path };
            self.problem(path, message, None);
        }
    }

    fn warnings(&mut self) {
        let spec = self.spec;
        let mut used: HashSet<&str> = HashSet::new();
        for listener in &spec.listeners {
            if let Protocol::Tcp(tcp) = &listener.protocol {
                used.extend(tcp.cluster.as_deref());
                used.extend(tcp.sni.iter().map(|rule| &*rule.cluster));
            }
        }
        for route in &spec.routes {
            match &route.action {
                Action::Cluster(cluster) => used.extend([&**cluster]),
                Action::Split(shares) => used.extend(shares.iter().map(|(cluster, _)| &**cluster)),
                Action::Redirect(_) | Action::Respond(_) => {}
            }
        }
        for cluster in &spec.clusters {
            let mut path = String::from("clusters");
            push_key(&mut path, &cluster.name);
            if !used.contains(&*cluster.name) {
                self.problem(path.clone(), "no route or listener uses this cluster".into(), None);
            }
            if cluster.lb == Lb::RoundRobin && cluster.endpoints.iter().any(|endpoint| endpoint.weight > 1) {
                let message = "`lb: round_robin` ignores the weights of the endpoints".into();
                self.problem(format!("{path}.lb"), message, Some("weighted".into()));
            }
        }
        self.listeners_without_routes();
    }

    fn listeners_without_routes(&mut self) {
        let everywhere = self.spec.routes.iter().any(|route| route.listeners.is_empty());
        let named: HashSet<&str> =
            self.spec.routes.iter().flat_map(|route| &route.listeners).map(|name| &**name).collect();
        for listener in &self.spec.listeners {
            let http = matches!(listener.protocol, Protocol::Http(_));
            if http && !everywhere && !named.contains(&*listener.name) {
                let mut path = String::from("listeners");
                push_key(&mut path, &listener.name);
                self.problem(
                    path,
                    "no route applies to this listener: it answers 404 to everything".into(),
                    None,
                );
            }
        }
    }
}
