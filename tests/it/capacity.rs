//! Computes the tables of `docs/capacity.md` from its inputs, and compares them with the page.

mod bill;
mod events;
mod history;
mod inputs;
mod plan;
mod programs;
mod pubsub;
mod reads;
mod scaler;
mod storage;
mod tables;
mod webhooks;
mod widgets;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use self::inputs::{Inputs, Row, rows};
use self::plan::{Copies, Load, Mode, writes_of_copies};
use self::tables::tables;

const PAGE: &str = include_str!("../../docs/capacity.md");
const MEASURED: &str = include_str!("../../docs/performance.md");

/// The factor by which an input may differ from the range of the last `make bench`. The headroom covers twice as much.
const TOLERANCE: f64 = 1.25;

#[test]
fn the_tables_match_their_formulas() {
    let differs = |(name, table): &(&str, String)| table.trim() != on_page(name);
    let different: Vec<_> = tables(&Inputs::read(PAGE)).into_iter().filter(differs).collect();
    let shown = |(name, table): &(_, String)| format!("\n<!-- {name} -->\n\n{table}\n<!-- end -->\n");
    let expected: String = different.iter().map(shown).collect();
    assert!(different.is_empty(), "docs/capacity.md should have, between these lines:\n{expected}");
}

/// Returns the table of this name from the page.
fn on_page(name: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no table {name:?}"));
    rest.split_once("<!-- end -->").expect("a table has an end").0.trim()
}

/// Fails when `make bench` has measured other figures. Then update the measured inputs and the tables.
#[test]
fn the_measured_inputs_match_the_benchmark() {
    let measured: Vec<_> = rows(PAGE).into_iter().filter_map(|row| Some((row, bench_cell(row.from)?))).collect();
    assert!(measured.len() >= 5, "few inputs come from docs/performance.md: {measured:?}");
    let differs = |(row, (low, high)): &(Row, (f64, f64))| !(low / TOLERANCE..=high * TOLERANCE).contains(&row.value);
    let different: Vec<_> = measured.into_iter().filter(differs).collect();
    assert!(different.is_empty(), "docs/performance.md has these ranges: {different:#?}");
}

/// Returns the lowest and the highest value of the cell that "performance: row, column" names.
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
fn the_settings_match_the_manifests_and_the_defaults_of_the_flags() {
    let inputs = Inputs::read(PAGE);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let scaler = file("infra/kubernetes/components/gke/scaledobject.yaml");
    assert!(scaler.contains(&format!("maxReplicaCount: {}\n", inputs.replicas)), "maxReplicaCount differs");
    assert!(scaler.contains(&format!("threshold: \"{}\"\n", inputs.threshold)), "threshold differs");
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
fn the_settings_of_webhooks_match_the_engine_and_the_manifest() {
    let inputs = Inputs::read(PAGE);
    let engine = ::webhooks::Settings::default();
    let settings = [engine.max_attempts, engine.max_bytes, engine.max_backlogs].map(|setting| setting as f64);
    assert_eq!(settings, [inputs.attempts, inputs.webhook_bytes, inputs.backlogs]);
    assert_eq!(engine.poll_interval.as_secs_f64(), 1.0 / inputs.looks);
    assert_eq!(engine.schedule.delays.len(), 9, "a table has the writes of ten attempts");
    let manifest = include_str!("../../infra/kubernetes/webhooks/changes/deployment.yaml");
    let limit = manifest.split("limits:").nth(1).and_then(|limits| limits.split("memory: ").nth(1));
    assert_eq!(limit.map(str::trim), Some("1Gi"));
    let needed = webhooks::memory_of_an_instance(&inputs);
    assert!(needed < 1024.0, "{needed} MiB do not fit into the limit");
}

#[test]
fn the_retention_of_the_topic_matches_the_module() {
    let variables = include_str!("../../infra/terraform/gcp/variables.tf");
    let (_, block) = variables.split_once("variable \"replay_days\" {").expect("the variable exists");
    let (_, default) = block.split_once("default     = ").expect("a default");
    let default = default.lines().next().and_then(|days| days.parse::<f64>().ok());
    assert_eq!(default, Some(Inputs::read(PAGE).replay_days));
}

#[test]
fn the_cpu_target_is_what_the_formulas_say() {
    let target = Inputs::read(PAGE).cpu_target * 100.0;
    assert!(PAGE.contains(&format!("running at {target} % (where the autoscaler adds a consumer)")), "{target}");
}

#[test]
fn the_settings_of_the_reader_of_changes_and_of_the_cache_match_the_flags() {
    let settings = include_str!("../../docs/settings.md");
    let inputs = Inputs::read(PAGE);
    let flags = [
        ("--checkpoint-interval", format!("{}s", 1.0 / inputs.checkpoints)),
        ("--history-ttl", format!("{}days", inputs.entry_days)),
        ("--cache-max-age", "10m".to_owned()),
    ];
    for (flag, default) in flags {
        let line = settings.lines().find(|line| line.starts_with(&format!("| `{flag} ")));
        assert!(
            line.is_some_and(|line| line.contains(&format!("| `{default}` |"))),
            "{flag} is not {default}: {line:?}"
        );
    }
    assert!(PAGE.contains("`--cache-max-age` (10 minutes)"));
}

#[test]
fn the_settings_of_event_pipeline_match_its_flags_and_its_manifest() {
    let flags = [
        include_str!("../../crates/events/src/cli/processor.rs"),
        include_str!("../../crates/events/src/cli/deliver.rs"),
    ];
    for (name, default, sentence) in [
        ("EVENT_PIPELINE_MAX_MESSAGES", "5000", "(`--max-messages` is 5,000)"),
        ("EVENT_PIPELINE_POLLERS", "4", "(4 pollers that wait for 20 s)"),
        ("EVENT_PIPELINE_POLL_INTERVAL", "250ms", "reads each shard 4\n  times per second"),
        ("EVENT_PIPELINE_CHECKPOINT_INTERVAL", "1s", "stores its progress once per second"),
    ] {
        let flag = format!("env = \"{name}\", default_value = \"{default}\"");
        assert!(flags.iter().any(|code| code.contains(&flag)), "{flag}");
        assert!(PAGE.contains(sentence), "{sentence}");
    }
    let scaler = include_str!("../../infra/kubernetes/events/scaledobject.yaml");
    assert!(scaler.contains("maxReplicaCount: 20\n") && PAGE.contains("20 processors (`maxReplicaCount`)"));
    assert!(20.0 * 5_000.0 <= Inputs::read(PAGE).events.in_flight, "the queue allows all messages in flight");
}

#[test]
fn the_autoscaler_of_widgets_matches_its_manifest() {
    let registry = Inputs::read(PAGE).registry;
    let manifest = include_str!("../../infra/kubernetes/widgets/horizontalpodautoscaler.yaml");
    for line in [
        format!("minReplicas: {}\n", registry.min_instances),
        format!("maxReplicas: {}\n", registry.max_instances),
        format!("averageValue: \"{}\"\n", registry.requests_of_an_instance),
    ] {
        assert!(manifest.contains(&line), "{line}");
    }
}

/// Autoscalers count CPU in percent of what an instance requests, and the page plans with whole cores.
#[test]
fn the_autoscalers_add_an_instance_at_the_cpu_that_the_page_plans_with() {
    let inputs = Inputs::read(PAGE);
    let (_, after) = PAGE.split_once("running at ").expect("the page has the target");
    let target: f64 = after.split(' ').next().and_then(|number| number.parse().ok()).expect("a number of percent");
    assert!(100.0 / inputs.headroom < target, "the planned load alone must not add an instance");
    let scaler = include_str!("../../infra/kubernetes/components/gke/scaledobject.yaml");
    let (_, cpu) = scaler.split_once("- type: cpu\n      metricType: Utilization\n").expect("a trigger for the CPU");
    assert!(cpu.contains(&format!("value: \"{target}\"\n")), "{cpu}");
    for autoscaler in [
        include_str!("../../infra/kubernetes/api/horizontalpodautoscaler.yaml"),
        include_str!("../../infra/kubernetes/widgets/horizontalpodautoscaler.yaml"),
    ] {
        assert!(autoscaler.contains(&format!("averageUtilization: {target}\n")), "{autoscaler}");
    }
    let consumer = include_str!("../../infra/kubernetes/base/deployment.yaml");
    assert_eq!(cpu_requested(consumer), tables::SIZES[0].1 as f64, "cores of a consumer");
    let registry = include_str!("../../infra/kubernetes/widgets/deployment.yaml");
    assert_eq!(cpu_requested(registry), inputs.registry.cores, "cores of an instance of widget-registry");
}

/// Returns the cores that the container of a Deployment requests.
fn cpu_requested(manifest: &str) -> f64 {
    let (_, requests) = manifest.split_once("requests:\n").expect("requests");
    let line = requests.lines().next().unwrap_or_default();
    line.trim().strip_prefix("cpu: ").and_then(|cores| cores.trim_matches('"').parse().ok()).expect("whole cores")
}

#[test]
fn every_limit_and_price_has_a_source() {
    let (_, section) = PAGE.split_once("### Limits and prices").expect("the section exists");
    let lines: Vec<_> = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
    let lines: Vec<_> = lines.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(lines.len() > 20, "{}", lines.len());
    let without = lines.iter().find(|line| !line.contains("](https://"));
    assert_eq!(without, None, "a row without a source");
}

#[test]
fn the_formulas_compute_known_examples() {
    assert_eq!(bill::tiered(11.0, &[(1.0, 3.0), (10.0, 2.0), (f64::INFINITY, 1.0)]), 3.0 + 9.0 * 2.0 + 1.0);
    assert_eq!(bill::wire(1400.0), 1400.0 + 22.0 + 2.0 * 52.0);
    assert_eq!(writes_of_copies(10.0, 1.0), 1.0);
    assert!((writes_of_copies(2.0, 2.0) - 1.5).abs() < 1e-9);
}

fn load(messages: f64, mode: Mode, copies: Copies) -> Load {
    Load { messages, mode, copies, cores: 4 }
}

/// The results that must not decrease when the load increases.
fn results(inputs: &Inputs, load: &Load) -> [f64; 13] {
    let bill = inputs.bill(load);
    [
        inputs.writes(load),
        inputs.write_units(load),
        inputs.index_units(load),
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

fn none_decreases(less: [f64; 13], more: [f64; 13]) -> bool {
    less.iter().zip(more).all(|(less, more)| *less <= more * (1.0 + 1e-9))
}

proptest! {
    #[test]
    fn a_higher_load_never_needs_less(
        messages in 1.0..2e6, more in 1.0..3.0, response in 1.0..100_000.0, copies in 0.0..0.99, missing in 0.0..0.5,
        batch: bool, meet: bool,
    ) {
        let inputs = Inputs { response, copies, missing, ..Inputs::read(PAGE) };
        let mode = if batch { Mode::Batch } else { Mode::Put };
        let case = if meet { Copies::Meet } else { Copies::Miss };
        let at = |messages| load(messages, mode, case);
        let now = results(&inputs, &at(messages));
        prop_assert!(none_decreases(now, results(&inputs, &at(messages * more))), "more messages");
        let larger = Inputs { response: response * more, ..inputs.clone() };
        prop_assert!(none_decreases(now, results(&larger, &at(messages))), "larger responses");
        let unsure = Inputs { missing: f64::min(missing * more, 0.5), ..inputs.clone() };
        prop_assert!(none_decreases(now, results(&unsure, &at(messages))), "a verb that is harder to guess");
        let met = results(&inputs, &load(messages, mode, Copies::Meet));
        prop_assert!(none_decreases(met, now), "copies that do not meet");
        let fewer = Inputs { copies: copies / more, ..inputs.clone() };
        prop_assert!(inputs.writes(&at(messages)) <= fewer.writes(&at(messages)), "fewer copies");
    }

    #[test]
    fn copies_cost_between_one_write_in_total_and_one_write_each(copies in 1.0..1000.0, consumers in 1.0..1000.0, more in 1.0..3.0) {
        let writes = writes_of_copies(copies, consumers);
        prop_assert!((1.0 - 1e-9..=copies + 1e-9).contains(&writes), "{writes}");
        prop_assert!(writes <= writes_of_copies(copies * more, consumers) + 1e-9, "more copies");
        prop_assert!(writes <= writes_of_copies(copies, consumers * more) + 1e-9, "more consumers");
    }
}
