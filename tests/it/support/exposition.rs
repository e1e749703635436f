//! Reads both text formats of Prometheus, strictly: whatever a scraper might stumble over fails.

use std::collections::{BTreeMap, BTreeSet};

/// Names and values, in their order.
type Labels = Vec<(String, String)>;

/// By the name as it stands on the line, and the labels.
type Samples = BTreeMap<(String, Labels), f64>;

/// A family: its kind, and its samples.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub samples: Samples,
}

/// What was scraped.
#[derive(Debug)]
pub struct Scrape(pub BTreeMap<String, Family>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenMetrics,
    /// Version 0.0.4.
    Plain,
}

impl Scrape {
    pub fn read(text: &str, dialect: Dialect) -> Self {
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'));
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line == "# EOF" {
                assert!(dialect == Dialect::OpenMetrics && lines.peek().is_none(), "{line}");
                return Self(families).checked(dialect);
            }
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                let rest = words.next().unwrap_or_else(|| panic!("{line}"));
                assert_name(name, line);
                if what == "HELP" {
                    assert!(rest.ends_with('.') && rest.len() > 10, "{line}");
                    let again = families.insert(name.to_owned(), Family::default());
                    assert!(again.is_none(), "a family is in two pieces: {line}");
                    name.clone_into(&mut current);
                    continue;
                }
                assert_eq!(name, current, "{line}");
                match what {
                    "TYPE" => {
                        assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                        rest.clone_into(&mut families.get_mut(name).unwrap().kind);
                    }
                    "UNIT" => assert!(
                        dialect == Dialect::OpenMetrics && name.ends_with(&format!("_{rest}")),
                        "{line}"
                    ),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line}"));
            let suffix = name.strip_prefix(&*current).unwrap_or_else(|| panic!("{line}"));
            let expected: &[&str] = match (&*family.kind, dialect) {
                ("counter", Dialect::OpenMetrics) => &["_total"],
                ("counter" | "gauge", _) => &[""],
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                _ => panic!("{line} stands before its type"),
            };
            assert!(expected.contains(&suffix), "{line}");
            let again = family.samples.insert((name, labels), value);
            assert!(again.is_none(), "twice: {line}");
        }
        assert!(dialect == Dialect::Plain, "it does not end");
        Self(families).checked(dialect)
    }

    fn checked(self, dialect: Dialect) -> Self {
        for (name, Family { kind, samples }) in &self.0 {
            let ends = name.ends_with("_total");
            assert_eq!(ends, kind == "counter" && dialect == Dialect::Plain, "{name}");
            for value in samples.values() {
                assert!(value.is_finite() && *value >= 0.0, "{name} {value}");
            }
            if kind == "histogram" {
                check_histogram(name, samples);
            }
        }
        self
    }

    /// The value of a series; `None`: there is none.
    pub fn get(&self, series: &str) -> Option<f64> {
        let (name, labels, _) = sample(&format!("{series} 0"));
        let found =
            self.0.values().find_map(|family| family.samples.get(&(name.clone(), labels.clone())));
        found.copied()
    }

    /// The sum of a family's values, of those with this label.
    pub fn sum(&self, family: &str, label: (&str, &str)) -> f64 {
        let has = |labels: &[(String, String)]| {
            labels.iter().any(|(name, value)| (&**name, &**value) == label)
        };
        let samples = self.0[family].samples.iter();
        samples.filter(|((_, labels), _)| has(labels)).map(|(_, value)| value).sum()
    }
}

fn assert_name(name: &str, line: &str) {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_plain),
        "{line}"
    );
}

/// A line of a sample, without exemplar and time, which we give none of.
fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, rest)) = series.split_once('{') else {
        assert_name(series, line);
        return (series.to_owned(), Vec::new(), value);
    };
    assert_name(name, line);
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert_name(label, line);
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("{line}")) {
                (at, '"') => break at,
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => text.push('\n'),
                    c @ ('\\' | '"') => text.push(c),
                    _ => panic!("{line}"),
                },
                (_, c) => text.push(c),
            }
        };
        labels.push((label.to_owned(), text));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "{line}");
    (name.to_owned(), labels, value)
}

/// Buckets grow, the last has no bound, and its count is the count.
fn check_histogram(name: &str, samples: &Samples) {
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in samples {
        let (bounds, rest): (Vec<_>, Vec<_>) =
            labels.iter().cloned().partition(|(label, _)| label == "le");
        assert_eq!(bounds.len(), usize::from(sample.ends_with("_bucket")), "{sample}");
        if let [(_, bound)] = &bounds[..] {
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry(rest).or_default().push((bound, *value));
        }
    }
    for (labels, mut bounds) in buckets {
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(bounds.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{bounds:?}");
        let last = bounds.last().unwrap();
        let count = samples[&(format!("{name}_count"), labels)];
        assert_eq!((last.0, last.1), (f64::INFINITY, count), "{name}");
    }
}
