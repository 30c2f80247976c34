//! Real clients and a real server: curl, wrk and h2load in front, nginx behind (on a unix socket, so that no port is fixed).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringway_conformance::config::Config;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::Upstream;
use ringway_conformance::process::{Ringway, scratch_file};

use crate::support::{Peer, pattern};

on_both_drivers!(
    curl_in_its_ways,
    large_files_go_up_and_down_unchanged,
    wrk_and_h2load_see_no_error,
    curl_talks_through_connect,
);

const NGINX: &str = "
daemon off;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    server {
        listen unix:FOLDER/nginx.sock;
        root FOLDER/files;
        location /up/ { dav_methods PUT; create_full_put_path on; }
        location /small { return 200 \"small answer\"; }
        location /moved { return 302 /small; }
    }
}
";

/// nginx on a unix socket, and the folder it serves.
fn nginx() -> (Peer, PathBuf) {
    let folder = scratch_file("nginx");
    std::fs::create_dir_all(folder.join("files/up")).expect("makes a folder");
    if rustix::process::getuid().is_root() {
        // Its workers run as another user.
        let opened =
            Command::new("chmod").args(["-R", "a+rwX"]).arg(folder.parent().unwrap_or(&folder)).status();
        assert!(opened.is_ok_and(|status| status.success()));
    }
    let config = folder.join("nginx.conf");
    std::fs::write(&config, NGINX.replace("FOLDER", &folder.display().to_string())).expect("writes");
    // The shell says when the socket is there; nginx itself says nothing.
    let script = "nginx -p \"$1\" -c \"$1/nginx.conf\" -e \"$1/error.log\" & pid=$!; \
                  trap 'kill $pid' EXIT TERM; until [ -S \"$1/nginx.sock\" ]; do kill -0 $pid || exit 1; done; \
                  echo ready; read -r _; ";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(&folder).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    (Peer::start(shell.stderr(Stdio::null()), "ready"), folder)
}

fn config(folder: &Path) -> Config {
    Config::to([format!("unix:{}/nginx.sock", folder.display())]).top("workers: 2").top("access_log: off")
}

/// Runs curl; its standard output with what went wrong behind it.
fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30"]).args(arguments);
    let output = curl.stdin(Stdio::null()).output().expect("curl: `.ci/install packages` installs it");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn curl_in_its_ways(driver: &str) {
    let (_nginx, folder) = nginx();
    let ringway = Ringway::on(driver, &config(&folder));
    let url = |path: &str| format!("http://{}{path}", ringway.address("web"));
    let small = url("/small");
    for options in [
        &["--http1.1"][..],
        &["--http1.0"],
        &["--http2"],
        &["-H", "Connection: close"],
        &["-H", "Expect: 100-continue"],
    ] {
        assert_eq!(curl(&[options, &[&small]].concat()), "small answer", "{options:?}");
    }
    let codes = ["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"];
    let several =
        curl(&[&codes[..], &[&small, "-o", "/dev/null", &small, "-o", "/dev/null", &small]].concat());
    assert_eq!(several, "200 1\n200 0\n200 0\n", "one connection");
    assert!(curl(&["--head", &small]).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(
        curl(&[
            "--location",
            "--header",
            "Host: x.test",
            "--resolve",
            "x.test:80:127.0.0.1",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--max-redirs",
            "0",
            &small
        ]),
        "200"
    );
    let moved = curl(&["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", &url("/moved")]);
    assert!(moved.starts_with("302 http://127.0.0.1") && moved.ends_with("/small"), "{moved}");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", &url("/up/none")]), "404");
    assert_eq!(curl(&["-X", "OPTIONS", "-o", "/dev/null", "-w", "%{http_code}", &small]), "200");
}

fn large_files_go_up_and_down_unchanged(driver: &str) {
    const LEN: usize = 64 << 20;
    let (_nginx, folder) = nginx();
    let ringway = Ringway::on(driver, &config(&folder));
    let bytes = pattern(LEN, 11);
    let (source, copy) = (folder.join("source"), folder.join("copy"));
    std::fs::write(&source, &bytes).expect("writes");
    let text = |path: &Path| path.display().to_string();
    for (name, options) in [("length", &[][..]), ("chunked", &["-H", "Transfer-Encoding: chunked"])] {
        let url = format!("http://{}/up/{name}", ringway.address("web"));
        let upload = ["--upload-file", &text(&source), "-o", "/dev/null", "-w", "%{http_code}", &url];
        assert_eq!(curl(&[options, &upload[..]].concat()), "201", "{name}");
        assert!(
            std::fs::read(folder.join("files/up").join(name)).is_ok_and(|found| found == bytes),
            "{name}"
        );
        assert_eq!(curl(&["-o", &text(&copy), "-w", "%{size_download}", &url]), LEN.to_string());
        assert!(std::fs::read(&copy).is_ok_and(|found| found == bytes), "{name}");
    }
    let range = curl(&[
        "-r",
        "1000-1009",
        "-o",
        &text(&copy),
        "-w",
        "%{http_code}",
        &format!("http://{}/up/length", ringway.address("web")),
    ]);
    assert_eq!((range.as_str(), std::fs::read(&copy).ok()), ("206", Some(bytes[1000..1010].to_vec())));
    let _ = std::fs::remove_dir_all(folder);
}

fn wrk_and_h2load_see_no_error(driver: &str) {
    let (_nginx, folder) = nginx();
    let ringway = Ringway::on(driver, &config(&folder));
    let url = format!("http://{}/small", ringway.address("web"));
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .arg(&url)
            .output()
            .expect("wrk and h2load: `.ci/install packages` installs them");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let wrk = run("wrk", &["-t1", "-c16", "-d1s"]);
    assert!(
        wrk.contains("requests in") && !wrk.contains("Socket errors") && !wrk.contains("Non-2xx"),
        "{wrk}"
    );
    let h2load = run("h2load", &["--h1", "-n3000", "-c16", "-t1"]);
    assert!(h2load.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{h2load}");
    assert_eq!(ringway.metric("ringway_responses_total{class=\"5xx\"}"), 0);
}

fn curl_talks_through_connect(driver: &str) {
    let upstream = Upstream::ok();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).listener("connect: true"));
    let proxy = format!("http://{}", ringway.address("web"));
    assert_eq!(curl(&["--proxytunnel", "--proxy", &proxy, "http://inner.test/"]), "ok");
    // Without a tunnel: the absolute form.
    assert_eq!(curl(&["--proxy", &proxy, "http://inner.test/"]), "ok");
}
