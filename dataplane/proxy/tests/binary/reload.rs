//! Reload: what changes, what stays, and what a bad file does.

use std::net::TcpStream;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::support::{Folder, Ringway, Upstream, ask_again, config, connect, get, wait_until};

#[test]
fn an_atomic_rename_is_taken_into_force_and_touches_no_connection() {
    let (folder, one, two) = (Folder::new(), Upstream::start("one"), Upstream::start("two"));
    let file = folder.write("a.yaml", &config(one.address, ""));
    let ringway = Ringway::start(&file, &[]);
    let web = ringway.address("web");
    let mut kept = connect(web);
    assert_eq!(ask_again(&mut kept, "/"), "one");
    folder.replace("a.yaml", &config(two.address, ""));
    ringway.wait_for_log("configuration reloaded: generation 2");
    wait_until("new requests go to the new upstream", || get(web, "/").body == "two");
    // The connection opened before the reload serves the new configuration as well.
    assert_eq!(ask_again(&mut kept, "/"), "two");
    let metrics = get(ringway.address("telemetry"), "/metrics").body;
    assert!(metrics.contains("ringway_config_reloads_total{result=\"success\"} 1"), "{metrics}");
}

#[test]
fn a_kubernetes_volume_swap_and_a_write_in_place_are_seen() {
    let (folder, one, two) = (Folder::new(), Upstream::start("one"), Upstream::start("two"));
    for (revision, upstream) in [("..1", &one), ("..2", &two)] {
        std::fs::create_dir(folder.path(revision)).expect("makes a folder");
        std::fs::write(folder.path(revision).join("a.yaml"), config(upstream.address, "")).expect("writes");
    }
    symlink("..1", folder.path("..data")).expect("links");
    symlink("..data/a.yaml", folder.path("a.yaml")).expect("links");
    let ringway = Ringway::start(&folder.path("a.yaml"), &[]);
    let web = ringway.address("web");
    assert_eq!(get(web, "/").body, "one");
    symlink("..2", folder.path("..data_tmp")).expect("links");
    std::fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("swaps");
    wait_until("the second revision serves", || get(web, "/").body == "two");
    std::fs::write(folder.path("..2").join("a.yaml"), config(one.address, "")).expect("writes");
    wait_until("the edit serves", || get(web, "/").body == "one");
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let (folder, one) = (Folder::new(), Upstream::start("one"));
    let file = folder.write("a.yaml", &config(one.address, ""));
    let ringway = Ringway::start(&file, &[]);
    let (web, telemetry) = (ringway.address("web"), ringway.address("telemetry"));
    folder.replace("a.yaml", "version: 1\nlistners: {}\n");
    ringway.wait_for_log("reload refused");
    ringway.wait_for_log("did you mean `listeners`");
    assert_eq!(get(web, "/").body, "one");
    let ready = get(telemetry, "/ready");
    assert!(ready.status == 200 && ready.body.contains("did you mean `listeners`"), "{ready:?}");
    let metrics = get(telemetry, "/metrics").body;
    assert!(metrics.contains("ringway_config_reloads_total{result=\"failure\"} 1"), "{metrics}");
    // The next good file clears the error.
    folder.replace("a.yaml", &config(one.address, "drain: { timeout: 3s }\n"));
    ringway.wait_for_log("configuration reloaded");
    assert_eq!(get(telemetry, "/ready").body, "ready\n");
}

#[test]
fn sighup_reads_the_file_again_even_unchanged() {
    let (folder, one) = (Folder::new(), Upstream::start("one"));
    let file = folder.write("a.yaml", &config(one.address, ""));
    let ringway = Ringway::start(&file, &[]);
    ringway.signal(Signal::HUP);
    ringway.wait_for_log("configuration reloaded: generation 2, 1 listener, 1 route, 1 cluster");
    std::fs::remove_file(&file).expect("removes");
    ringway.signal(Signal::HUP);
    ringway.wait_for_log("reload refused");
    assert_eq!(get(ringway.address("web"), "/").body, "one");
}

#[test]
fn listeners_come_and_go_and_an_address_in_use_refuses_the_whole_reload() {
    let (folder, one) = (Folder::new(), Upstream::start("one"));
    let base = config(one.address, "");
    let file = folder.write("a.yaml", &base);
    let ringway = Ringway::start(&file, &["--admin", "127.0.0.1:0"]);
    let (web, admin) = (ringway.address("web"), ringway.address("admin"));
    let more = base.replace("routes:", "  more: { address: \"127.0.0.1:0\" }\nroutes:");
    folder.replace("a.yaml", &more);
    let mut found = None;
    wait_until("the listener is there", || {
        let listeners = get(admin, "/listeners").body;
        found = listeners
            .lines()
            .find_map(|line| line.strip_prefix("more "))
            .map(|at| at.parse().expect("an address"));
        found.is_some()
    });
    let added = found.expect("was found");
    wait_until("the listener serves", || get(added, "/").body == "one");

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binds");
    let busy = format!("  busy: {{ address: \"{}\" }}\nroutes:", taken.local_addr().expect("is bound"));
    folder.replace("a.yaml", &base.replace("routes:", &busy));
    ringway.wait_for_log("another process listens there");
    assert_eq!(get(added, "/").body, "one");

    let mut kept = connect(web);
    assert_eq!(ask_again(&mut kept, "/"), "one");
    folder.replace("a.yaml", &base);
    wait_until("the listener is closed", || TcpStream::connect(added).is_err());
    assert_eq!(ask_again(&mut kept, "/"), "one");
    assert_eq!(get(web, "/").body, "one");
}
