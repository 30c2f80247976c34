//! What a document knows besides its specification: positions, presence of keys, warnings.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use ringway_config::{Document, Format, Position, parse};
use ringway_policy::spec::{Action, Address, Protocol, ValueIs};

const TEXT: &str = r#"version: 1
admin: off
listeners:
  web: { address: "0.0.0.0:80" }
  a.b: { address: "[::1]:81" }
routes:
  - cluster: app
    path:
      prefix: /api
clusters:
  app: { endpoints: ["10.0.0.1:80"] }
"#;

fn read(text: &str) -> Document {
    parse("x.yaml", text, Format::Yaml).unwrap()
}

#[test]
fn formats_follow_the_extension() {
    assert_eq!(Format::from_path(Path::new("/etc/ringway.toml")), Format::Toml);
    assert_eq!(Format::from_path(Path::new("/etc/ringway.TOML")), Format::Toml);
    for other in ["/etc/ringway.yaml", "ringway.yml", "ringway.json", "toml", "/etc/x.toml/ringway"] {
        assert_eq!(Format::from_path(Path::new(other)), Format::Yaml, "{other}");
    }
}

#[test]
fn key_paths_have_positions() {
    let document = read(TEXT);
    let at = |path: &str| {
        let Position { line, column } = document.position(path);
        (line, column)
    };
    assert_eq!(at("routes[0].path.prefix"), (9, 15));
    assert_eq!(at("routes[0].path"), (8, 5), "a mapping stands where its key stands");
    assert_eq!(at("routes[0].path.exact"), (8, 5), "a missing key stands where its parent stands");
    assert_eq!(at("routes[7]"), (6, 1));
    assert_eq!(at("clusters.app.endpoints[0]"), (11, 22));
    assert_eq!(at(r#"listeners["a.b"].address"#), (5, 19));
    assert_eq!(at("listeners.a.b.address"), (5, 19), "also without quotes");
    assert_eq!(at(""), (1, 1));
    assert_eq!(at("nowhere.at.all"), (1, 1));
    assert_eq!(document.file(), "x.yaml");
}

#[test]
fn presence_tells_a_default_from_the_same_value_written() {
    let document = read(TEXT);
    assert!(document.has("admin") && document.spec.process.admin.is_none());
    assert!(!document.has("telemetry") && document.spec.process.telemetry.is_none());
    assert!(document.has("routes[0].path.prefix"));
    assert!(!document.has("routes[0].path.exact"));
}

#[test]
fn errors_found_later_are_shown_like_any_other() {
    let error = read(TEXT).error("listeners.web.address", "cannot bind: permission denied", None);
    let expected = "x.yaml:4:19: listeners.web.address: cannot bind: permission denied\n \
                    4 |   web: { address: \"0.0.0.0:80\" }\n   |                   ^^^^^^^^^^^^";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    assert_eq!(read(&format!("\u{feff}{TEXT}")).position("version"), Position { line: 1, column: 10 });
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = "version: 1\nlisteners:\n  web: { address: \"0.0.0.0:80\" }\n  idle: { address: \"0.0.0.0:81\" }\n\
                routes:\n  - { listeners: [web], cluster: app }\nclusters:\n\
                \x20 app: { endpoints: [{ address: \"10.0.0.1:80\", weight: 2 }], lb: round_robin }\n\
                \x20 old: { endpoints: [\"10.0.0.1:80\"] }\n";
    let warnings: Vec<_> = read(text).warnings.iter().map(|warning| warning.headline()).collect();
    assert_eq!(
        warnings,
        [
            "x.yaml:4:3: listeners.idle: no route applies to this listener: it answers 404 to everything",
            "x.yaml:8:66: clusters.app.lb: `lb: round_robin` ignores the weights of the endpoints (did you mean \
             `weighted`?)",
            "x.yaml:9:3: clusters.old: no route or listener uses this cluster",
        ]
    );
}

#[test]
fn both_formats_say_the_same() {
    let yaml = read(
        "version: 1\nworkers: auto\nadmin: unix:/run/a.sock\nlisteners:\n  b: { address: \"0.0.0.0:80\" }\n  a: { address: \
         \"0.0.0.0:81\", protocol: tcp, cluster: app }\nroutes:\n  - name: r\n    headers: [{ name: X-A, exact: b }]\n    \
         split: [{ cluster: app, weight: 2 }]\n    timeout: 1m30s\n    try_timeout: 0s\nclusters:\n  app: { endpoints: \
         [\"Host.example:80\"], limits: { head: 2KiB } }\n",
    );
    let text = "version = 1\nworkers = \"auto\"\nadmin = \"unix:/run/a.sock\"\n[listeners.b]\naddress = \"0.0.0.0:80\"\n\
                [listeners.a]\naddress = \"0.0.0.0:81\"\nprotocol = \"tcp\"\ncluster = \"app\"\n[[routes]]\nname = \"r\"\n\
                timeout = \"1m30s\"\ntry_timeout = \"off\"\nheaders = [{ name = \"X-A\", exact = \"b\" }]\n\
                [[routes.split]]\ncluster = \"app\"\nweight = 2\n[clusters.app]\nendpoints = [\"Host.example:80\"]\n\
                limits.head = \"2KiB\"\n";
    let toml = parse("x.toml", text, Format::Toml).unwrap();
    assert_eq!(yaml.spec, toml.spec);
    let names: Vec<_> = toml.spec.listeners.iter().map(|listener| &*listener.name).collect();
    assert_eq!(names, ["b", "a"], "the order of the file");
    assert!(
        matches!(&toml.spec.listeners[1].protocol, Protocol::Tcp(tcp) if tcp.cluster.as_deref() == Some("app"))
    );
    assert_eq!(toml.spec.clusters[0].endpoints[0].address, Address::Dns("host.example".into(), 80));
    let route = &toml.spec.routes[0];
    assert_eq!((route.timeout_ms, route.try_timeout_ms), (90_000, None));
    assert_eq!(*route.matches.headers[0].name, *"x-a");
    assert_eq!(route.matches.headers[0].value, ValueIs::Exact("b".into()));
    assert_eq!(route.action, Action::Split(vec![("app".into(), 2)]));
}

#[test]
fn routes_without_a_name_get_unique_ones() {
    let text = "version: 1\nlisteners: {}\nroutes:\n  - { cluster: a }\n  - { cluster: a }\n  - { name: \"*/*\", cluster: a }\n  \
                - { host: \"*.x.example\", path: { exact: /p }, methods: [GET, HEAD], cluster: a }\n  \
                - { path: { regex: \"/a|b\" }, headers: [{ name: q }], query: [{ name: z }], cluster: a }\n\
                clusters: { a: { endpoints: [\"10.0.0.1:1\"] } }\n";
    let spec = read(text).spec;
    let names: Vec<_> = spec.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["*/* #2", "*/* #3", "*/*", "GET,HEAD *.x.example/p", "* ~/a|b q ?z"]);
}

#[test]
fn several_values_of_a_field_keep_their_order() {
    let text = "version: 1\nlisteners: {}\nroutes:\n  - respond: { status: 204 }\n    response_headers:\n      \
                add: { Set-Cookie: [b=1, a=2], x: y }\n";
    let spec = read(text).spec;
    let added: Vec<_> =
        spec.routes[0].response_fields.add.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(added, [("Set-Cookie", "b=1"), ("Set-Cookie", "a=2"), ("x", "y")]);
    assert_eq!(read(&ringway_config::dump_yaml(&spec)).spec, spec);
}
