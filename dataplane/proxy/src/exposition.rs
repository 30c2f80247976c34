//! The Prometheus text format (version 0.0.4): families of samples that add up by name and labels, written with HELP and TYPE.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact.
    Whole(u64),
    /// Seconds and the like.
    Real(f64),
}

/// Families by name.
#[derive(Clone, Debug, Default)]
pub struct Families {
    families: BTreeMap<String, Family>,
}

#[derive(Clone, Debug)]
struct Family {
    kind: Kind,
    help: &'static str,
    /// In the order of their first appearance; the key is suffix and labels as written.
    samples: Vec<(String, Number)>,
    index: HashMap<String, usize>,
}

impl Families {
    /// Adds to a sample of a counter or gauge; samples with the same labels are summed.
    pub fn add(&mut self, name: &str, kind: Kind, help: &'static str, labels: &[(&str, &str)], value: u64) {
        self.put(name, kind, help, show_labels(labels), Number::Whole(value));
    }

    /// Like [`Families::add`] with a real number.
    pub fn add_real(
        &mut self,
        name: &str,
        kind: Kind,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        self.put(name, kind, help, show_labels(labels), Number::Real(value));
    }

    /// Adds to a histogram in seconds: `counts` per bucket, the last one above all `bounds_us`.
    pub fn add_histogram(
        &mut self,
        name: &str,
        help: &'static str,
        bounds_us: &[u64],
        counts: &[u64],
        sum_us: u64,
    ) {
        let mut total = 0;
        for (at, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds_us.get(at).map_or("+Inf".to_string(), |us| (*us as f64 / 1e6).to_string());
            let key = format!("_bucket{}", show_labels(&[("le", &bound)]));
            self.put(name, Kind::Histogram, help, key, Number::Whole(total));
        }
        self.put(name, Kind::Histogram, help, "_sum".to_string(), Number::Real(sum_us as f64 / 1e6));
        self.put(name, Kind::Histogram, help, "_count".to_string(), Number::Whole(total));
    }

    /// Adds everything of `other` that only rises: what a worker that is gone had counted.
    pub fn absorb_counters(&mut self, other: &Families) {
        for (name, family) in other.families.iter().filter(|(_, family)| family.kind != Kind::Gauge) {
            for (key, value) in &family.samples {
                self.put(name, family.kind, family.help, key.clone(), *value);
            }
        }
    }

    /// The text a scraper reads.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, family) in &self.families {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (key, value) in &family.samples {
                let _ = match value {
                    Number::Whole(n) => writeln!(out, "{name}{key} {n}"),
                    Number::Real(x) => writeln!(out, "{name}{key} {x}"),
                };
            }
        }
        out
    }

    fn put(&mut self, name: &str, kind: Kind, help: &'static str, key: String, value: Number) {
        if !self.families.contains_key(name) {
            let family = Family { kind, help, samples: Vec::new(), index: HashMap::new() };
            self.families.insert(name.to_string(), family);
        }
        let Some(family) = self.families.get_mut(name) else { return };
        debug_assert_eq!(family.kind, kind, "{name} is both");
        match family.index.get(&key).and_then(|at| family.samples.get_mut(*at)) {
            Some((_, sum)) => *sum = sum.plus(value),
            None => {
                family.index.insert(key.clone(), family.samples.len());
                family.samples.push((key, value));
            }
        }
    }
}

impl Number {
    fn plus(self, other: Number) -> Number {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => Number::Whole(a.wrapping_add(b)),
            (a, b) => Number::Real(a.real() + b.real()),
        }
    }

    fn real(self) -> f64 {
        match self {
            Number::Whole(n) => n as f64,
            Number::Real(x) => x,
        }
    }
}

fn show_labels(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let shown: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", shown.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_under_one_header() {
        let mut families = Families::default();
        families.add("b_total", Kind::Counter, "B.", &[("x", "1")], 2);
        families.add("a", Kind::Gauge, "A.", &[], 7);
        families.add("b_total", Kind::Counter, "B.", &[("x", "2")], 1);
        families.add("b_total", Kind::Counter, "B.", &[("x", "1")], 3);
        let text = "# HELP a A.\n# TYPE a gauge\na 7\n\
                    # HELP b_total B.\n# TYPE b_total counter\nb_total{x=\"1\"} 5\nb_total{x=\"2\"} 1\n";
        assert_eq!(families.text(), text);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(show_labels(&[("a", "q\"b\\s\nn")]), r#"{a="q\"b\\s\nn"}"#);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let mut families = Families::default();
        for _ in 0..2 {
            families.add_histogram("d_seconds", "D.", &[100, 250_000], &[1, 2, 3], 1_500_000);
        }
        let text = "# HELP d_seconds D.\n# TYPE d_seconds histogram\n\
                    d_seconds_bucket{le=\"0.0001\"} 2\nd_seconds_bucket{le=\"0.25\"} 6\n\
                    d_seconds_bucket{le=\"+Inf\"} 12\nd_seconds_sum 3\nd_seconds_count 12\n";
        assert_eq!(families.text(), text);
    }

    #[test]
    fn only_what_rises_outlives_its_worker() {
        let mut gone = Families::default();
        gone.add("c_total", Kind::Counter, "C.", &[], 4);
        gone.add("g", Kind::Gauge, "G.", &[], 9);
        let mut families = Families::default();
        families.add("c_total", Kind::Counter, "C.", &[], 1);
        families.absorb_counters(&gone);
        assert_eq!(families.text(), "# HELP c_total C.\n# TYPE c_total counter\nc_total 5\n");
    }
}
