//! Whatever the text: an answer, never a panic, and positions that lie in the text. And whatever its size: soon.
#![allow(clippy::unwrap_used)]

mod random;

use std::fmt::Write;
use std::time::{Duration, Instant};

use random::Random;
use ringway_config::{Format, compile, parse};
use ringway_policy::compile::Resolved;

/// Right and wrong files with their format.
fn files() -> Vec<(&'static str, Format)> {
    let examples = [
        include_str!("../../../docs/examples/canary.yaml"),
        include_str!("../../../docs/examples/proxy-protocol.yaml"),
        include_str!("../../../docs/examples/tcp-sni.yaml"),
        include_str!("../../../docs/examples/unix-sockets.yaml"),
    ];
    let wrong =
        [(include_str!("errors/yaml.txt"), Format::Yaml), (include_str!("errors/toml.txt"), Format::Toml)];
    let mut files = Vec::new();
    for (table, format) in wrong {
        let cases = table.split("===== ").skip(1);
        let texts = cases.filter_map(|case| Some(case.split_once('\n')?.1.split_once("-----\n")?.0));
        files.extend(texts.map(|text| (text, format)));
    }
    // As often as the wrong ones, so that some mutated files are still right.
    let right = examples.iter().map(|text| (*text, Format::Yaml)).cycle().take(files.len());
    files.extend(right.collect::<Vec<_>>());
    files
}

/// Replaces, removes, repeats and moves pieces.
fn mutate(text: &str, random: &mut Random) -> String {
    const PIECES: &[&str] = &[
        "\n", "  ", "{", "}", "[", "]", ":", ": ", "- ", "\"", "'", "&a ", "*a", "|", ">", "#", "\t", "é",
        "\u{0}", "=", "~", "1", "0s",
    ];
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(characters.len() as u64 + 1) as usize;
        let end = (at + random.below(6) as usize).min(characters.len());
        match random.below(3) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..end, random.pick(PIECES).chars())),
            _ => {
                let piece: Vec<char> = characters[at..end].to_vec();
                let to = random.below(characters.len() as u64 + 1) as usize;
                drop(characters.splice(to..to, piece));
            }
        }
    }
    characters.into_iter().collect()
}

#[test]
fn mutated_files_get_an_answer_with_valid_positions() {
    let files = files();
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        let (text, format) = random.pick(&files);
        let text = mutate(text, &mut random);
        let lines = text.lines().count() as u32;
        match parse("mutated", &text, format) {
            Ok(document) => {
                accepted += 1;
                let _ = compile(&document, &Resolved::new(), None, 1);
            }
            Err(errors) => {
                refused += 1;
                assert!(!errors.is_empty(), "seed {seed}");
                for error in errors {
                    assert!(
                        error.line >= 1 && error.line <= lines + 1 && error.column >= 1,
                        "seed {seed}: {error}"
                    );
                    assert!(!error.message.is_empty(), "seed {seed}");
                }
            }
        }
    }
    assert!(refused > 1_000 && accepted > 100, "{refused} refused, {accepted} accepted");
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "a:\n - ".repeat(3), "- ".repeat(50_000)] {
        assert!(parse("deep", &text, Format::Yaml).is_err());
    }
    assert!(parse("deep", &format!("a = {}", "[".repeat(100_000)), Format::Toml).is_err());
}

#[test]
fn aliases_of_aliases_are_bounded() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{}]", below.trim_end_matches(", ")).unwrap();
    }
    let started = Instant::now();
    assert!(parse("bomb", &text, Format::Yaml).is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// The bound is far above what it takes (well under a second in release builds): it catches quadratic work, not noise.
#[test]
fn ten_thousand_routes_are_read_and_compiled_soon() {
    let mut yaml = String::from("version: 1\nlisteners:\n  web: { address: \"0.0.0.0:80\" }\nroutes:\n");
    let mut toml = String::from("version = 1\nlisteners.web.address = \"0.0.0.0:80\"\n");
    for at in 0..10_000 {
        writeln!(
            yaml,
            "  - {{ name: r{at}, host: h{}.example.com, path: {{ prefix: /a/{at} }}, methods: [GET, POST], cluster: c{}, \
             timeout: 15s, retry: {{ max: 2 }} }}",
            at % 100,
            at % 1000
        )
        .unwrap();
        writeln!(
            toml,
            "[[routes]]\nname = \"r{at}\"\nhost = \"h{}.example.com\"\npath.prefix = \"/a/{at}\"\nmethods = [\"GET\", \
             \"POST\"]\ncluster = \"c{}\"\ntimeout = \"15s\"\nretry.max = 2",
            at % 100,
            at % 1000
        )
        .unwrap();
    }
    yaml.push_str("clusters:\n");
    for at in 0..1000 {
        writeln!(yaml, "  c{at}: {{ endpoints: [\"10.0.0.1:{}\"] }}", at + 1).unwrap();
        writeln!(toml, "[clusters.c{at}]\nendpoints = [\"10.0.0.1:{}\"]", at + 1).unwrap();
    }
    let read = |text: &str, format| {
        let started = Instant::now();
        let document = parse("large", text, format).unwrap();
        let parsed = started.elapsed();
        compile(&document, &Resolved::new(), None, 1).unwrap();
        println!("{format:?}: parsed in {parsed:?}, compiled in {:?}", started.elapsed() - parsed);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        document.spec
    };
    let spec = read(&yaml, Format::Yaml);
    assert_eq!(spec.routes.len(), 10_000);
    assert!(spec == read(&toml, Format::Toml));
}
