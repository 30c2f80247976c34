//! The hostile tables against the running binary, on each driver, sent at once and byte by byte. The table of docs/conformance.md is
//! written from expectation and observation: `RINGWAY_WRITE_DOCS=1 cargo test -p ringway-conformance --test hostile`.

use std::fmt::Write as _;

use ringway_conformance::PATIENCE;
use ringway_conformance::cases::{Fate, Outcome, RequestCase, ResponseCase, requests, responses};
use ringway_conformance::message::{Message, answer, message};
use ringway_conformance::peer::{Client, End, Upstream};
use ringway_conformance::process::Ringway;

/// How the bytes of a case are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    ByteByByte,
}

const PACES: [Pace; 2] = [Pace::AtOnce, Pace::ByteByByte];
/// Longer cases are sent at once only.
const BYTE_BY_BYTE_MAX: usize = 600;

fn config(upstream: &Upstream) -> String {
    format!(
        "version: 1\nadmin: \"off\"\nlisteners:\n  web: {{ address: \"127.0.0.1:0\" }}\nroutes:\n  - {{ cluster: app }}\n\
         clusters:\n  app: {{ endpoints: [\"{}\"] }}\n",
        upstream.address
    )
}

fn send(client: &mut Client, bytes: &[u8], pace: Pace) {
    let step = if pace == Pace::AtOnce { bytes.len().max(1) } else { 1 };
    for piece in bytes.chunks(step) {
        // A refusal may come, and the connection end, before everything was sent.
        if client.send(piece).is_err() {
            return;
        }
    }
}

/// Reads one request and answers it; the proxy's connection ends behind that.
fn answer_one(client: &mut Client) {
    client.read_until(|bytes| message(bytes, false).is_some_and(|m| m.whole));
    if message(&client.received, false).is_some_and(|m| m.whole) {
        let _ = client.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        client.read_to_end();
    }
}

/// What upstream connections received, up to a marker request that this sends and at least `expected` whole requests besides it
/// (connections end in any order).
fn seen_until_marker(ringway: &Ringway, upstream: &Upstream, number: usize, expected: usize) -> Vec<Vec<u8>> {
    let marker = format!("GET /marker/{number} HTTP/1.1\r\nHost: marker\r\n\r\n");
    let mut client = Client::connect(ringway.address("web"));
    client.send(marker.as_bytes()).expect("the proxy listens");
    client.read_until(|bytes| message(bytes, false).is_some_and(|m| m.whole));
    let wanted = format!("GET /marker/{number} ");
    let (mut seen, mut marked) = (Vec::new(), false);
    while !marked || whole(&seen).len() < expected {
        let bytes = upstream.seen(PATIENCE).expect("the marker and the requests arrive");
        match bytes.starts_with(wanted.as_bytes()) {
            true => marked = true,
            false => seen.push(bytes),
        }
    }
    seen
}

fn whole(seen: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    seen.iter().filter(|b| message(b, false).is_some_and(|m| m.whole)).collect()
}

/// Runs one request case; what was observed, or what was wrong.
fn run_request(
    ringway: &Ringway,
    upstream: &Upstream,
    case: &RequestCase,
    pace: Pace,
    number: usize,
) -> Result<String, String> {
    let mut client = Client::connect(ringway.address("web"));
    send(&mut client, &case.bytes, pace);
    let count = if let Outcome::Answered(count) = case.outcome { count } else { 1 };
    client.read_until(|bytes| take_answers(bytes, count).is_some());
    let Some(answers) = take_answers(&client.received, count) else {
        return Err(format!("no answer: {:?}", String::from_utf8_lossy(&client.received)));
    };
    let end = if matches!(case.outcome, Outcome::Refused(_)) { Some(client.read_to_end()) } else { None };
    let expected = match case.outcome {
        Outcome::Refused(_) => 0,
        Outcome::Passed(..) => usize::from(answers[0].status() == 200),
        Outcome::Answered(_) => answers.iter().filter(|a| a.status() == 200).count(),
    };
    let seen = seen_until_marker(ringway, upstream, number, expected);
    let whole = whole(&seen);
    match &case.outcome {
        Outcome::Refused(statuses) => {
            let status = answers[0].status();
            if !statuses.contains(&status) || end != Some(End::Closed) || !whole.is_empty() {
                return Err(format!(
                    "status {status}, connection {end:?}, {} requests reached the upstream",
                    whole.len()
                ));
            }
            Ok(format!("{status}, closed"))
        }
        Outcome::Passed(with, without) => {
            let text =
                whole.first().and_then(|b| message(b, false)).map(|m| m.normal_text()).unwrap_or_default();
            let missing = with.iter().find(|t| !text.contains(**t));
            let extra = without.iter().find(|t| text.contains(**t));
            if answers[0].status() != 200 || whole.len() != 1 || missing.is_some() || extra.is_some() {
                return Err(format!(
                    "status {}, missing {missing:?}, extra {extra:?}: {text:?}",
                    answers[0].status()
                ));
            }
            Ok("forwarded".into())
        }
        Outcome::Answered(count) => {
            let good = answers.iter().filter(|a| a.status() == 200).count();
            if good != *count || whole.len() != *count {
                return Err(format!("{good} answers of 200, {} requests reached the upstream", whole.len()));
            }
            Ok(format!("{count} answers"))
        }
    }
}

fn take_answers(mut bytes: &[u8], count: usize) -> Option<Vec<Message>> {
    let mut answers = Vec::new();
    while answers.len() < count {
        let (next, used) = answer(bytes, false).filter(|(m, _)| m.whole)?;
        answers.push(next);
        bytes = &bytes[used..];
    }
    Some(answers)
}

/// Runs one response case.
fn run_response(
    ringway: &Ringway,
    upstream: &Upstream,
    case: &ResponseCase,
    pace: Pace,
) -> Result<String, String> {
    let bytes = case.bytes.clone();
    upstream.set_script(move |peer| {
        peer.read_until(|bytes| message(bytes, false).is_some_and(|m| m.whole));
        send(peer, &bytes, pace);
    });
    let mut client = Client::connect(ringway.address("web"));
    let request = format!("{} / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", case.method);
    client.send(request.as_bytes()).expect("the proxy listens");
    let end = client.read_to_end();
    // What the upstream still sends behind its answer must not meet the next case.
    upstream.seen(PATIENCE).expect("the upstream's script ends");
    let bodyless = case.method == "HEAD";
    let Some((answer, used)) = answer(&client.received, bodyless) else {
        return Err(format!("no answer, {end:?}: {:?}", String::from_utf8_lossy(&client.received)));
    };
    let interim = String::from_utf8_lossy(&client.received[..used - answer.len]);
    let received = format!("{interim}{}", answer.normal_text());
    let close_delimited =
        answer.field("transfer-encoding").is_none() && answer.field("content-length").is_none();
    let whole = (answer.whole || close_delimited) && end == End::Closed && used == client.received.len();
    match &case.fate {
        Fate::BadGateway if answer.status() == 502 && whole => Ok("502".into()),
        Fate::CutOff if answer.status() == 502 && whole => Ok("502, or cut off".into()),
        Fate::CutOff if answer.status() == 200 && !whole => Ok("502, or cut off".into()),
        Fate::Passed(status, with, without)
            if answer.status() == *status
                && whole
                && with.iter().all(|t| received.contains(t))
                && !without.iter().any(|t| received.contains(t)) =>
        {
            Ok(format!("{status}, whole"))
        }
        _ => Err(format!("status {}, whole {whole}, {end:?}: {received:?}", answer.status())),
    }
}

/// Observations of one case, by pace; failures are collected.
fn observe(
    name: &str,
    len: usize,
    failures: &mut Vec<String>,
    mut run: impl FnMut(Pace) -> Result<String, String>,
) -> String {
    let mut observed: Vec<String> = Vec::new();
    for pace in PACES {
        if pace == Pace::ByteByByte && len > BYTE_BY_BYTE_MAX {
            continue;
        }
        match run(pace) {
            Ok(text) if observed.contains(&text) => {}
            Ok(text) => observed.push(text),
            Err(error) => failures.push(format!("{name} ({pace:?}): {error}")),
        }
    }
    observed.join("; ")
}

fn run_all(driver: &str) -> (String, Vec<String>) {
    let mut failures = Vec::new();
    let mut table = String::new();
    let upstream = Upstream::start(answer_one);
    let ringway = Ringway::start(&config(&upstream), &["--driver", driver, "--workers", "1"]);
    let cases = requests();
    assert!(cases.len() >= 60, "{} requests", cases.len());
    let _ = writeln!(table, "## Requests\n\n| request | decided by | must be | was |\n|---|---|---|---|");
    for (number, case) in cases.iter().enumerate() {
        let mut attempt = 0;
        let observed = observe(case.name, case.bytes.len(), &mut failures, |pace| {
            attempt += 1;
            run_request(&ringway, &upstream, case, pace, number * 10 + attempt)
        });
        let _ = writeln!(table, "| {} | {} | {} | {observed} |", case.name, case.rfc, case.outcome);
    }
    let cases = responses();
    assert!(cases.len() >= 30, "{} responses", cases.len());
    let _ = writeln!(table, "\n## Responses\n\n| response | decided by | must be | was |\n|---|---|---|---|");
    for case in &cases {
        let observed = observe(case.name, case.bytes.len(), &mut failures, |pace| {
            run_response(&ringway, &upstream, case, pace)
        });
        let _ = writeln!(table, "| {} | {} | {} | {observed} |", case.name, case.rfc, case.fate);
    }
    (table, failures)
}

const INTRODUCTION: &str = "# Conformance: hostile HTTP/1.1\n\nEach line was decided by hand from the section named, before it was run; \
the last column is what the running binary did, with the bytes sent at once and one by one. `RINGWAY_WRITE_DOCS=1 cargo test -p \
ringway-conformance --test hostile` writes this page; the same test fails when it is stale.\n\n\"Refused\" means: answered with that status, the \
connection closed behind the answer, and no whole request reached the upstream.\n\n";

#[test]
fn every_hostile_message_on_epoll() {
    let (table, failures) = run_all("epoll");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let page = format!("{INTRODUCTION}{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
    if std::env::var_os("RINGWAY_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs is writable");
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "docs/conformance.md is stale");
}

#[test]
fn every_hostile_message_on_the_default_driver() {
    let (_, failures) = run_all("auto");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
