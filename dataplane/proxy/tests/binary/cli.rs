//! The command line: what it prints and how it ends.

use std::net::TcpListener;

use crate::support::{Folder, ringway, text};

const GOOD: &str = "\
version: 1
listeners:
  web: { address: \"127.0.0.1:0\" }
  db: { address: \"127.0.0.1:5432\", protocol: tcp, cluster: app }
routes:
  - { name: pages, path: { prefix: \"/\" }, cluster: app }
  - { name: api, host: api.example.com, path: { prefix: \"/v1\" }, rewrite: { path: \"/\" }, cluster: api }
  - { name: posts, host: api.example.com, path: { prefix: \"/v1\" }, methods: [POST], cluster: app }
  - { name: canary, path: { prefix: \"/v1\" }, headers: [{ name: x-canary, exact: \"yes\" }], cluster: api }
clusters:
  app: { endpoints: [\"127.0.0.1:3000\"] }
  api: { endpoints: [\"api.internal:3001\", \"127.0.0.1:3002\"] }
";

#[test]
fn version_and_help_end_with_0_and_mistakes_with_2() {
    let version = ringway(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), format!("ringway {}\n", env!("CARGO_PKG_VERSION")));
    let help = ringway(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for part in [
        "--config",
        "--to",
        "--workers",
        "--driver",
        "--admin",
        "--telemetry",
        "check",
        "explain",
        "Exit codes",
    ] {
        assert!(text(&help.stdout).contains(part), "{part}");
    }
    for line in [
        &["--nonsense"][..],
        &["--workers", "none"],
        &["-c", "a", "--to", "1"],
        &["check"],
        &["--driver", "x"],
    ] {
        let output = ringway(line);
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(!output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn check_sums_up_a_good_file() {
    let folder = Folder::new();
    let file = folder.write("good.yaml", GOOD);
    let output = ringway(&["check", file.to_str().expect("is text")]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let expected = format!(
        "{}: OK: 2 listeners, 4 routes, 2 clusters, 3 endpoints\n  web http 127.0.0.1:0\n  db tcp 127.0.0.1:5432\n",
        file.display()
    );
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn check_names_every_error_with_its_place() {
    let folder = Folder::new();
    let bad = "version: 1\nlisteners:\n  web: { adress: \"127.0.0.1:80\" }\nroutes:\n  - { cluster: ap }\n\
               clusters:\n  app: { endpoints: [] }\nworkers: many\n";
    let file = folder.write("bad.yaml", bad);
    let output = ringway(&["check", file.to_str().expect("is text")]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let name = file.display();
    for part in [format!("{name}:3:"), "adress".into(), "did you mean `address`".into(), format!("{name}:8:")]
    {
        assert!(errors.contains(&part), "{part} in\n{errors}");
    }
    let missing = ringway(&["check", "/nonexistent/ringway.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/ringway.yaml"));
}

#[test]
fn run_refuses_a_bad_configuration_with_1() {
    let folder = Folder::new();
    let file = folder.write(
        "bad.yaml",
        "version: 1\nlisteners: { web: { address: \"127.0.0.1:0\" } }\nroutes: [{ cluster: nowhere }]\n",
    );
    let output = ringway(&["-c", file.to_str().expect("is text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere"), "{}", text(&output.stderr));
}

#[test]
fn an_address_in_use_ends_with_3_and_says_which() {
    let folder = Folder::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("binds");
    let address = taken.local_addr().expect("is bound");
    let config = |admin: &str, web: &str| {
        let routes = "routes: [{ respond: { status: 204 } }]\n";
        format!("version: 1\nadmin: {admin:?}\nlisteners: {{ web: {{ address: {web:?} }} }}\n{routes}")
    };
    let listener = config("off", &address.to_string());
    let admin = config(&address.to_string(), "127.0.0.1:0");
    for (config, who) in [(listener, "web"), (admin, "admin")] {
        let file = folder.write("a.yaml", &config);
        let output = ringway(&["-c", file.to_str().expect("is text")]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(
            error.contains(&format!("cannot listen on {address} ({who}): another process listens there")),
            "{error}"
        );
    }
}

#[test]
fn explain_shows_the_way_of_a_request_and_why_others_lost() {
    let folder = Folder::new();
    let file = folder.write("good.yaml", GOOD);
    let file = file.to_str().expect("is text");
    let output = ringway(&["explain", "-c", file, "GET", "http://api.example.com/v1/users?a=b"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for part in [
        "listener  web http 127.0.0.1:0",
        "route     api ",
        "forwarded as /users?a=b",
        "cluster   api",
        "endpoint  api.internal:3001 weight 1  looked up when running",
        "lost      pages",
        "is less specific by the host",
        "lost      posts",
        "the method does not match",
        "lost      canary",
        "the header x-canary does not match",
    ] {
        assert!(shown.contains(part), "{part:?} in\n{shown}");
    }
    let canary = ringway(&["explain", "-c", file, "GET", "http://other.example/v1", "-H", "X-Canary: yes"]);
    assert!(text(&canary.stdout).contains("route     canary"), "{}", text(&canary.stdout));
    let tcp = ringway(&["explain", "-c", file, "GET", "http://any.example:5432/"]);
    assert!(text(&tcp.stdout).contains("listener  db tcp 127.0.0.1:5432"), "{}", text(&tcp.stdout));
    assert!(text(&tcp.stdout).contains("cluster   app"), "{}", text(&tcp.stdout));
}

#[test]
fn explain_refuses_what_the_proxy_would_refuse() {
    let folder = Folder::new();
    let file = folder.write("good.yaml", GOOD);
    let file = file.to_str().expect("is text");
    let refused = ringway(&["explain", "-c", file, "GET", "http://a/", "-H", "Content-Length: 1x"]);
    assert!(
        text(&refused.stdout).contains("the request itself is refused with 400"),
        "{}",
        text(&refused.stdout)
    );
    assert_eq!(ringway(&["explain", "-c", file, "GET", "not-a-url"]).status.code(), Some(2));
    assert_eq!(ringway(&["explain", "-c", "/nonexistent", "GET", "http://a/"]).status.code(), Some(1));
}
