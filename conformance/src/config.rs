//! Configurations of the tests: one worker, one HTTP listener `web`, one route, one cluster `app`, and what a test adds to them.

use std::fmt::{Display, Write};

/// A configuration under construction; the parts are YAML flow mappings without their braces.
#[derive(Clone, Debug, Default)]
pub struct Config {
    listener: String,
    route: String,
    cluster: String,
    endpoints: Vec<String>,
    routes: Vec<String>,
    listeners: Vec<String>,
    clusters: Vec<String>,
    top: Vec<String>,
}

impl Config {
    /// Everything goes to these endpoints.
    pub fn to<E: Display>(endpoints: impl IntoIterator<Item = E>) -> Config {
        Config { endpoints: endpoints.into_iter().map(|e| e.to_string()).collect(), ..Config::default() }
    }

    /// Keys of the listener `web`.
    pub fn listener(mut self, keys: &str) -> Config {
        self.listener = format!(", {keys}");
        self
    }

    /// Keys of the route that takes everything to `app`.
    pub fn route(mut self, keys: &str) -> Config {
        self.route = format!(", {keys}");
        self
    }

    /// Keys of the cluster `app`.
    pub fn cluster(mut self, keys: &str) -> Config {
        self.cluster = format!(", {keys}");
        self
    }

    /// One more route.
    pub fn and_route(mut self, keys: &str) -> Config {
        self.routes.push(format!("  - {{ {keys} }}"));
        self
    }

    /// One more listener.
    pub fn and_listener(mut self, name: &str, keys: &str) -> Config {
        self.listeners.push(format!("  {name}: {{ {keys} }}"));
        self
    }

    /// One more cluster of endpoints.
    pub fn and_cluster<E: Display>(mut self, name: &str, endpoints: impl IntoIterator<Item = E>) -> Config {
        let list: Vec<String> = endpoints.into_iter().map(|e| format!("\"{e}\"")).collect();
        self.clusters.push(format!("  {name}: {{ endpoints: [{}] }}", list.join(", ")));
        self
    }

    /// One more cluster by its keys.
    pub fn and_cluster_of(mut self, name: &str, keys: &str) -> Config {
        self.clusters.push(format!("  {name}: {{ {keys} }}"));
        self
    }

    /// A line of the top level. `workers` and `access_log` have defaults here: one worker, JSON to standard output.
    pub fn top(mut self, line: &str) -> Config {
        self.top.push(line.to_owned());
        self
    }

    /// As a file.
    pub fn yaml(&self) -> String {
        let mut out = String::from("version: 1\nadmin: \"127.0.0.1:0\"\n");
        for (key, line) in
            [("workers:", "workers: 1"), ("access_log:", "access_log: { path: stdout, format: json }")]
        {
            if !self.top.iter().any(|line| line.starts_with(key)) {
                let _ = writeln!(out, "{line}");
            }
        }
        self.top.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        let _ = writeln!(out, "listeners:\n  web: {{ address: \"127.0.0.1:0\"{} }}", self.listener);
        self.listeners.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        let _ = writeln!(out, "routes:\n  - {{ cluster: app{} }}", self.route);
        self.routes.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        let endpoints: Vec<String> = self.endpoints.iter().map(|e| format!("\"{e}\"")).collect();
        let _ =
            writeln!(out, "clusters:\n  app: {{ endpoints: [{}]{} }}", endpoints.join(", "), self.cluster);
        self.clusters.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        out
    }
}
