//! The text format of Prometheus, read strictly: whatever its reader would only bear is an error here.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Exposition {
    pub(super) families: BTreeMap<String, Family>,
    samples: BTreeMap<(String, Labels), f64>,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: String,
    /// The labels of any sample, but for `le`.
    pub(super) labels: BTreeSet<String>,
}

type Labels = BTreeMap<String, String>;

impl Exposition {
    /// The sample of this name with just these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = (name.to_owned(), labels);
        *self.samples.get(&key).unwrap_or_else(|| panic!("no sample {key:?} in {:#?}", self.samples.keys()))
    }
}

/// Panics where the text is not what Prometheus defines.
pub(super) fn parse(text: &str) -> Exposition {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut exposition = Exposition::default();
    let mut current: Option<String> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a help");
            assert!(!help.is_empty() && is_name(name), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).and_then(|line| line.split_once(' '));
            let (of, kind) = kind.expect("a type follows a help");
            assert_eq!(of, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let family = Family { kind: kind.to_owned(), labels: BTreeSet::new() };
            assert!(exposition.families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
            current = Some(name.to_owned());
            continue;
        }
        let (name, labels, value) = sample(line);
        let family_name = current.as_deref().expect("a sample stands in a family");
        let family = exposition.families.get_mut(family_name).expect("it was inserted");
        let suffix = name.strip_prefix(family_name).unwrap_or_else(|| panic!("{line} is not of {family_name}"));
        match family.kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{line}");
        assert!(family.kind == "gauge" || value >= 0.0, "{line}");
        family.labels.extend(labels.keys().filter(|label| *label != "le").cloned());
        assert!(exposition.samples.insert((name, labels), value).is_none(), "{line} comes twice");
    }
    check_histograms(&exposition);
    exposition
}

/// Buckets never fall, end with all, and all is the count.
fn check_histograms(exposition: &Exposition) {
    let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), value) in &exposition.samples {
        let Some(family) = name.strip_suffix("_bucket") else { continue };
        let mut labels = labels.clone();
        let bound = labels.remove("le").expect("a bucket has a bound");
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
        Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("labels end"))),
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
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(after.is_empty() || !rest.is_empty(), "a comma and no label");
    }
    labels
}

/// The text up to the closing quote, and what comes after it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[place + 1..]),
            '\\' => match letters.next().expect("something is escaped").1 {
                'n' => value.push('\n'),
                letter @ ('\\' | '"') => value.push(letter),
                letter => panic!("\\{letter} is no escape"),
            },
            letter => value.push(letter),
        }
    }
    panic!("no closing quote: {text}");
}

fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    first && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
