//! HTTP/1.1 as clients and upstreams see it: connections, versions, framing, interim answers.

use ringway_conformance::config::Config;
use ringway_conformance::http::{OK, with_body};
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{End, Upstream};
use ringway_conformance::process::Ringway;

on_both_drivers!(
    pipelined_requests_are_answered_in_order_over_one_connection,
    a_request_may_come_byte_by_byte,
    http10_closes_and_http10_with_keep_alive_does_not,
    a_chunked_answer_reaches_an_http10_client_without_chunks,
    absolute_form_names_the_host,
    head_204_and_304_have_no_body_whatever_their_length_says,
    chunked_bodies_keep_their_bytes_and_trailers_both_ways,
    an_answer_up_to_the_close_is_chunked_and_keeps_the_client,
    connection_level_fields_stay_on_their_connection,
    expect_is_answered_by_the_upstream,
    expect_with_an_upstream_that_says_nothing,
    interim_answers_pass_to_http11_clients_only,
    names_keep_case_and_order,
    connection_close_ends_both_sides,
    trace_and_connect_are_refused,
);

fn pipelined_requests_are_answered_in_order_over_one_connection(driver: &str) {
    let upstream = Upstream::serving(|request| with_body(request.start()));
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let post = "POST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nxyz";
    client.send([&one("/a"), post, &one("/c"), &one("/d")].concat().as_bytes()).expect("sends");
    for expected in ["GET /a HTTP/1.1", "POST /b HTTP/1.1", "GET /c HTTP/1.1", "GET /d HTTP/1.1"] {
        assert_eq!(client.answer().text(), expected);
    }
    client.expect_open();
    assert_eq!(client.get("/e").text(), "GET /e HTTP/1.1");
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 1);
}

fn a_request_may_come_byte_by_byte(driver: &str) {
    let upstream = Upstream::serving(|request| with_body([&request.body[..], b"!"].concat()));
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let request = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for byte in request {
        client.send(&[*byte]).expect("sends");
    }
    let answer = client.answer();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().ends_with("0\r\n\r\n!"), "{}", answer.text());
    assert_eq!(client.get("/").status(), 200);
}

fn http10_closes_and_http10_with_keep_alive_does_not(driver: &str) {
    let upstream = Upstream::echo();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let answer = client.ask("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert!(answer.start().starts_with("HTTP/1.1 "), "RFC 9110 section 2.5: our own version");
    assert!(answer.text().starts_with("GET / HTTP/1.1\r\n"));
    client.expect_closed();

    let mut client = ringway.client("web");
    for _ in 0..2 {
        let answer = client.ask("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("keep-alive")));
    }
    client.expect_open();
}

fn a_chunked_answer_reaches_an_http10_client_without_chunks(driver: &str) {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec()
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let answer = client.ask("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("abcde", None));
    assert_eq!(answer.field("connection"), Some("close"));
    client.received.clear();
    client.expect_closed();
}

fn absolute_form_names_the_host(driver: &str) {
    let upstream = Upstream::echo();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let answer = client.ask("GET http://example.com:8080/x?y=1 HTTP/1.1\r\nHost: other.test\r\n\r\n");
    let seen = answer.text();
    assert!(seen.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.to_lowercase().contains("\r\nhost: example.com:8080\r\n"), "RFC 9112 section 3.2.2: {seen}");
    assert!(!seen.contains("other.test"), "{seen}");
}

fn head_204_and_304_have_no_body_whatever_their_length_says(driver: &str) {
    let upstream = Upstream::serving(|request| {
        let head = match request.start().split(' ').nth(1) {
            Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
            Some("/chunked") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
            Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n",
            _ => return OK.to_vec(),
        };
        head.as_bytes().to_vec()
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let answer = client.ask("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((answer.status(), answer.field("content-length")), (200, Some("5000")));
    let answer = client.ask("HEAD /chunked HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    assert_eq!(client.get("/204").status(), 204);
    let answer = client.get("/304");
    assert_eq!((answer.status(), answer.field("etag")), (304, Some("\"x\"")));
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 1);
}

fn chunked_bodies_keep_their_bytes_and_trailers_both_ways(driver: &str) {
    let upstream = Upstream::serving(|request| {
        let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n".to_vec();
        for piece in request.body.chunks(7) {
            out.extend_from_slice(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\nX-Sum: down\r\n\r\n");
        out
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    let answer = client.ask(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n\
         5;a=b\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Up: up\r\n\r\n",
    );
    let seen = String::from_utf8_lossy(&answer.content()).into_owned();
    let sent: String = seen.lines().filter(|line| line.starts_with(['h', ' ', 'w'])).collect();
    assert_eq!(sent.replace("\r\n", ""), "hello world");
    assert!(seen.ends_with("0\r\nX-Up: up\r\n\r\n"), "trailers of the request: {seen:?}");
    assert!(
        answer.text().ends_with("0\r\nX-Sum: down\r\n\r\n"),
        "trailers of the answer: {:?}",
        answer.text()
    );
}

fn an_answer_up_to_the_close_is_chunked_and_keeps_the_client(driver: &str) {
    let upstream = Upstream::start(|connection| {
        if connection.next_message().is_some() {
            let _ = connection.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the ");
            let _ = connection.send(b"close");
        }
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.content(), b"until the close");
    }
}

fn connection_level_fields_stay_on_their_connection(driver: &str) {
    let upstream = Upstream::serving(|request| {
        let mut out =
            b"HTTP/1.1 200 OK\r\nConnection: X-Down\r\nX-Down: 1\r\nKeep-Alive: timeout=9\r\n".to_vec();
        let body = &request.head;
        out.extend_from_slice(
            format!("X-Kept: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        );
        out
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let answer = ringway.client("web").ask(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
         TE: gzip\r\nProxy-Connection: keep-alive\r\nX-Other: 2\r\n\r\n",
    );
    let seen = answer.text().to_lowercase();
    for name in ["connection:", "x-mine:", "keep-alive:", "\r\nte:"] {
        assert!(!seen.contains(name), "RFC 9110 section 7.6.1: {name} in {seen}");
    }
    assert!(seen.contains("x-other: 2"));
    assert_eq!((answer.field("x-down"), answer.field("keep-alive")), (None, None));
    assert_eq!((answer.field("x-kept"), answer.field("connection")), (Some("1"), None));
}

fn expect_is_answered_by_the_upstream(driver: &str) {
    let upstream = Upstream::start(|connection| {
        while let Some(head) = connection.next_head() {
            let refused = head.start().contains("/no");
            assert_eq!(head.field("expect"), Some("100-continue"));
            let answer: &[u8] = match refused {
                true => b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
                false => b"HTTP/1.1 100 Continue\r\n\r\n",
            };
            let _ = connection.send(answer);
            if refused {
                return;
            }
            connection.read_until(|bytes| bytes.len() >= 4);
            let body = std::mem::take(&mut connection.received);
            let _ = connection.send(&with_body(body));
        }
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let head = |path: &str| {
        format!("PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    };
    let mut client = ringway.client("web");
    client.send(head("/yes").as_bytes()).expect("sends");
    assert_eq!(client.next_message().map(|m| m.status()), Some(100));
    client.send(b"body").expect("sends");
    assert_eq!(client.answer().text(), "body");

    client.send(head("/no").as_bytes()).expect("sends");
    let answer = client.answer();
    assert_eq!(answer.status(), 417);
    // The body was not sent and never will be: the connection cannot go on.
    assert_eq!(answer.field("connection"), Some("close"));
    client.finish();
    client.expect_closed();
}

fn expect_with_an_upstream_that_says_nothing(driver: &str) {
    let upstream = Upstream::serving(|request| with_body(&request.body));
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client
        .send(b"PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .expect("sends");
    // RFC 9110 section 10.1.1: a client does not wait for ever.
    assert_eq!(client.watch(), End::Open);
    client.send(b"body").expect("sends");
    assert_eq!(client.answer().text(), "body");
    assert_eq!(client.get("/").status(), 200);
}

fn interim_answers_pass_to_http11_clients_only(driver: &str) {
    let upstream = Upstream::serving(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        [&hints[..], b"HTTP/1.1 102 Processing\r\n\r\n", OK].concat()
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    let hints = client.next_message().expect("103");
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.next_message().map(|m| m.status()), Some(102));
    assert_eq!(client.next_message().map(|m| m.status()), Some(200));

    let mut old = ringway.client("web");
    old.send(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n").expect("sends");
    assert_eq!(old.next_message().map(|m| m.status()), Some(200), "RFC 9110 section 15.2");
}

fn names_keep_case_and_order(driver: &str) {
    let upstream = Upstream::echo();
    let config = Config::to([upstream.address]).listener("x_forwarded: remove, request_id: remove");
    let ringway = Ringway::on(driver, &config);
    let request = "GET /a%2Fb?c=%20 HTTP/1.1\r\nHOST: test\r\nzZ-Top: 1\r\nX-aBc:  2 \r\nzz-top: 3\r\n\r\n";
    let seen = ringway.client("web").ask(request).text();
    assert_eq!(
        seen.replace("X-aBc:  2 \r\n", "X-aBc: 2\r\n"),
        request.replace("X-aBc:  2 \r\n", "X-aBc: 2\r\n")
    );
}

fn connection_close_ends_both_sides(driver: &str) {
    let upstream = Upstream::serving(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    // The upstream's wish is about its own connection.
    assert_eq!(client.get("/").field("connection"), None);
    let answer = client.ask("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.field("connection"), Some("close"));
    client.expect_closed();
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 2);
}

fn trace_and_connect_are_refused(driver: &str) {
    let upstream = Upstream::ok();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    for request in
        ["TRACE / HTTP/1.1\r\nHost: test\r\n\r\n", "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n"]
    {
        let mut client = ringway.client("web");
        let answer = client.ask(request);
        assert_eq!(answer.status(), 405, "{request}");
        assert!(answer.field("allow").is_some_and(|allow| allow.contains("GET")));
        client.expect_closed();
    }
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 0);
}
