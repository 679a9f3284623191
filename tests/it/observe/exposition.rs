//! A strict parser of Prometheus' text format. It rejects everything that Prometheus only tolerates.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Exposition {
    pub(super) families: BTreeMap<String, Family>,
    samples: BTreeMap<(String, Labels), f64>,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: String,
    /// The labels of all samples, without `le`.
    pub(super) labels: BTreeSet<String>,
}

type Labels = BTreeMap<String, String>;

impl Exposition {
    /// Returns the value of the sample with this name and exactly these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = (name.to_owned(), labels);
        *self.samples.get(&key).unwrap_or_else(|| panic!("no sample {key:?} in {:#?}", self.samples.keys()))
    }
}

/// Parses the text. Panics if it violates the format.
pub(super) fn parse(text: &str) -> Exposition {
    assert!(text.ends_with('\n'), "no newline after the last line");
    let mut exposition = Exposition::default();
    let mut current: Option<String> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a help text");
            assert!(!help.is_empty() && is_name(name), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).and_then(|line| line.split_once(' '));
            let (typed, kind) = kind.expect("TYPE follows HELP");
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let family = Family { kind: kind.to_owned(), labels: BTreeSet::new() };
            assert!(exposition.families.insert(name.to_owned(), family).is_none(), "a second {name}");
            current = Some(name.to_owned());
            continue;
        }
        let (name, labels, value) = sample(line);
        let family_name = current.as_deref().expect("a sample belongs to a family");
        let family = exposition.families.get_mut(family_name).expect("`current` is a key of the map");
        let suffix = name.strip_prefix(family_name).unwrap_or_else(|| panic!("{line} is not in {family_name}"));
        match family.kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{line}");
        assert!(family.kind == "gauge" || value >= 0.0, "{line}");
        family.labels.extend(labels.keys().filter(|label| *label != "le").cloned());
        assert!(exposition.samples.insert((name, labels), value).is_none(), "a second {line}");
    }
    check_histograms(&exposition);
    exposition
}

/// Checks that buckets never decrease, and that the last one is `+Inf` and equals the count.
fn check_histograms(exposition: &Exposition) {
    let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), value) in &exposition.samples {
        let Some(family) = name.strip_suffix("_bucket") else { continue };
        let mut labels = labels.clone();
        let bound = labels.remove("le").expect("a bucket has the label `le`");
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
        buckets.entry((family.to_owned(), labels)).or_default().push((bound, *value));
    }
    for ((family, labels), mut bounds) in buckets {
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(bounds.is_sorted_by(|one, other| one.1 <= other.1), "{family}: {bounds:?}");
        let count = exposition.samples[&(format!("{family}_count"), labels.clone())];
        assert_eq!(bounds.last(), Some(&(f64::INFINITY, count)), "{family}");
        assert!(exposition.samples.contains_key(&(format!("{family}_sum"), labels)), "{family}");
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, Labels::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("labels end with a brace"))),
    };
    assert!(is_name(name), "{line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("not a number: {line}")))
}

fn labels(mut rest: &str) -> Labels {
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label has a value");
        assert!(is_name(name), "{name}");
        let (value, after) = quoted(after);
        assert!(labels.insert(name.to_owned(), value).is_none(), "a second label {name}");
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(after.is_empty() || !rest.is_empty(), "a comma without a label");
    }
    labels
}

/// Returns the unescaped text before the closing quote, and the rest after it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return (value, &text[index + 1..]),
            '\\' => match chars.next().expect("a character follows a backslash").1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                c => panic!("\\{c} is not an escape"),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote: {text}");
}

fn is_name(name: &str) -> bool {
    let starts_well = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
