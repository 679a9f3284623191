//! `docs/capacity.md`: its tables are computed here from its inputs, and must be what stands there.

mod bill;
mod inputs;
mod plan;
mod tables;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use self::inputs::{Inputs, Row, rows};
use self::plan::{Copies, Load, Mode, writes_of_copies};
use self::tables::tables;

const PAGE: &str = include_str!("../../docs/capacity.md");
const MEASURED: &str = include_str!("../../docs/performance.md");

/// How far a measurement may lie outside of what the last `make bench` saw: half of what the headroom makes up for.
const TOLERANCE: f64 = 1.25;

#[test]
fn every_table_is_what_its_formulas_give() {
    let is_wrong = |(name, table): &(&str, String)| table.trim() != on_page(name);
    let wrong: Vec<_> = tables(&Inputs::read(PAGE)).into_iter().filter(is_wrong).collect();
    let shown = |(name, table): &(_, String)| format!("\n<!-- {name} -->\n\n{table}\n<!-- end -->\n");
    let expected: String = wrong.iter().map(shown).collect();
    assert!(wrong.is_empty(), "docs/capacity.md should have, between these lines:\n{expected}");
}

/// The table of this name, as it stands on the page.
fn on_page(name: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no place for {name:?}"));
    rest.split_once("<!-- end -->").expect("a table has an end").0.trim()
}

/// Fails when `make bench` has come to other figures: then renew the measured inputs, and the tables after them.
#[test]
fn measured_inputs_are_what_the_bench_measured() {
    let measured: Vec<_> = rows(PAGE).into_iter().filter_map(|row| Some((row, bench_cell(row.from)?))).collect();
    assert!(measured.len() >= 5, "the page takes little from docs/performance.md: {measured:?}");
    let is_other = |(row, (low, high)): &(Row, (f64, f64))| !(low / TOLERANCE..=high * TOLERANCE).contains(&row.value);
    let other: Vec<_> = measured.into_iter().filter(is_other).collect();
    assert!(other.is_empty(), "docs/performance.md has, from lowest to highest: {other:#?}");
}

/// The lowest and the highest of the cell that "performance: row, column" names.
fn bench_cell(from: &str) -> Option<(f64, f64)> {
    let (row, column) = from.strip_prefix("performance: ")?.rsplit_once(", ")?;
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let line = |start: &str| MEASURED.lines().find(|line| line.starts_with(start)).map(cells);
    let columns = line("|  | CPU").expect("docs/performance.md has its table");
    let column = columns.iter().position(|name| *name == column).unwrap_or_else(|| panic!("no column: {from}"));
    let cell = line(&format!("| {row} |")).unwrap_or_else(|| panic!("no row: {from}"))[column];
    let numbers = cell.split(['(', '–', ')', ' ']).filter_map(|number| number.parse::<f64>().ok());
    let (low, high) = numbers.fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(n), high.max(n)));
    Some((low, high))
}

#[test]
fn the_bounds_of_the_manifests_and_flags_are_the_pages() {
    let inputs = Inputs::read(PAGE);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let scaler = file("infra/kubernetes/overlays/gke/scaledobject.yaml");
    assert!(scaler.contains(&format!("maxReplicaCount: {}\n", inputs.replicas)), "maxReplicaCount is another");
    assert!(scaler.contains(&format!("threshold: \"{}\"\n", inputs.threshold)), "threshold is another");
    let readme = file("README.md");
    let default = |flag: &str, value: String| {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{flag}`")));
        assert!(row.is_some_and(|row| row.contains(&format!("| `{value}` |"))), "{flag} is not {value}: {row:?}");
    };
    default("--max-outstanding`, `-m", inputs.outstanding_default.to_string());
    default("--consumers`, `-c", inputs.streams.to_string());
    default("--max-outstanding-bytes", format!("{}MiB", inputs.outstanding_bytes / 1024.0 / 1024.0));
}

#[test]
fn a_source_is_named_for_every_limit_and_price() {
    let (_, outside) = PAGE.split_once("### Limits and prices").expect("the section of what others publish");
    let lines: Vec<_> = outside.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
    let lines: Vec<_> = lines.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(lines.len() > 20, "{}", lines.len());
    let without = lines.iter().find(|line| !line.contains("](https://"));
    assert_eq!(without, None, "a row without its source");
}

#[test]
fn the_pages_examples_of_the_formulas_hold() {
    assert_eq!(bill::tiered(11.0, &[(1.0, 3.0), (10.0, 2.0), (f64::INFINITY, 1.0)]), 3.0 + 9.0 * 2.0 + 1.0);
    assert_eq!(bill::wire(1400.0), 1400.0 + 22.0 + 2.0 * 52.0);
    assert_eq!(writes_of_copies(10.0, 1.0), 1.0);
    assert!((writes_of_copies(2.0, 2.0) - 1.5).abs() < 1e-9);
}

fn load(messages: f64, mode: Mode, copies: Copies) -> Load {
    Load { messages, mode, copies, cores: 4 }
}

/// What must not fall when there is more to do.
fn efforts(inputs: &Inputs, load: &Load) -> [f64; 12] {
    let bill = inputs.bill(load);
    [
        inputs.writes(load),
        inputs.write_units(load),
        inputs.partitions(load),
        inputs.warm_throughput(load),
        inputs.cores(load),
        inputs.consumers(load),
        inputs.in_flight(load),
        inputs.to_aws(load),
        inputs.to_google(load),
        bill.write_units,
        bill.pubsub,
        bill.from_google + bill.from_aws,
    ]
}

fn none_falls(less: [f64; 12], more: [f64; 12]) -> bool {
    less.iter().zip(more).all(|(less, more)| *less <= more * (1.0 + 1e-9))
}

proptest! {
    #[test]
    fn more_of_anything_never_needs_less(
        messages in 1.0..2e6, more in 1.0..3.0, response in 1.0..100_000.0, copies in 0.0..0.99, missing in 0.0..0.5,
        batch: bool, meet: bool,
    ) {
        let inputs = Inputs { response, copies, missing, ..Inputs::read(PAGE) };
        let mode = if batch { Mode::Batch } else { Mode::Put };
        let case = if meet { Copies::Meet } else { Copies::Miss };
        let at = |messages| load(messages, mode, case);
        let now = efforts(&inputs, &at(messages));
        prop_assert!(none_falls(now, efforts(&inputs, &at(messages * more))), "more messages");
        let larger = Inputs { response: response * more, ..inputs.clone() };
        prop_assert!(none_falls(now, efforts(&larger, &at(messages))), "larger responses");
        let unsure = Inputs { missing: f64::min(missing * more, 0.5), ..inputs.clone() };
        prop_assert!(none_falls(now, efforts(&unsure, &at(messages))), "keys that are harder to guess");
        prop_assert!(none_falls(efforts(&inputs, &load(messages, mode, Copies::Meet)), now), "copies that do not meet");
        let fewer = Inputs { copies: copies / more, ..inputs.clone() };
        prop_assert!(inputs.writes(&at(messages)) <= fewer.writes(&at(messages)), "fewer copies");
    }

    #[test]
    fn copies_cost_from_one_write_to_one_each(copies in 1.0..1000.0, consumers in 1.0..1000.0, more in 1.0..3.0) {
        let writes = writes_of_copies(copies, consumers);
        prop_assert!((1.0 - 1e-9..=copies + 1e-9).contains(&writes), "{writes}");
        prop_assert!(writes <= writes_of_copies(copies * more, consumers) + 1e-9, "more copies");
        prop_assert!(writes <= writes_of_copies(copies, consumers * more) + 1e-9, "more consumers");
    }
}
