//! Renders the computed tables of `docs/capacity.md`.

use indicatif::HumanCount;

use super::bill::{Bill, GIB};
use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode, writes_of_copies};
use super::{events, history, programs, pubsub, reads, scaler, storage, webhooks, widgets};

/// Messages per second, and the cores of each consumer at that rate.
pub(super) const SIZES: [(f64, usize); 3] = [(1e3, 2), (1e5, 4), (1e6, 8)];

pub(super) const GB: f64 = 1e9;

/// Returns each computed table, with the name in its marker `<!-- name -->`.
pub(super) fn tables(inputs: &Inputs) -> Vec<(&'static str, String)> {
    vec![
        ("put", sizes(inputs, Mode::Put)),
        ("batch", sizes(inputs, Mode::Batch)),
        ("programs", programs::programs(inputs)),
        ("pubsub", pubsub::requests(inputs)),
        ("storage", storage::storage(inputs)),
        ("index", index(inputs)),
        ("history", history::events(inputs)),
        ("history-sizes", history::sizes(inputs)),
        ("webhooks", webhooks::writes(inputs)),
        ("webhooks-sizes", webhooks::sizes(inputs)),
        ("webhooks-polls", webhooks::polls(inputs)),
        ("webhooks-memory", webhooks::memory(inputs)),
        ("events", events::events(inputs)),
        ("widgets", widgets::operations(inputs)),
        ("widgets-sizes", widgets::sizes(inputs)),
        ("widgets-load", widgets::loads(inputs)),
        ("widgets-audit", widgets::audits(inputs)),
        ("widgets-first", widgets::first(inputs)),
        ("copies", copies()),
        ("responses", responses(inputs)),
        ("reads", reads::reads(inputs)),
        ("autoscaler", scaler::targets(inputs)),
        ("first", first(inputs)),
        ("quotas", quotas(inputs)),
    ]
}

/// A row: its label, and its value for a load or in a bill.
type Line = (&'static str, fn(&Inputs, &Load) -> String);
type Choice = (&'static str, Need);
type Need = fn(&Inputs, &Load) -> f64;
type Item = (&'static str, fn(&Bill) -> f64);

const NEEDS: [Line; 10] = [
    ("writes per second", |i, load| short(i.writes(load))),
    ("write units per second", |i, load| short(i.write_units(load))),
    ("write units per second, `by-ip`", |i, load| short(i.index_units(load))),
    ("partitions, minimum", |i, load| whole(i.partitions(load))),
    ("warm throughput to set, write units per second", |i, load| whole(i.warm_throughput(load))),
    ("cores, with headroom", |i, load| short(i.cores(load))),
    ("cores per consumer", |_, load| load.cores.to_string()),
    ("consumers", |i, load| whole(i.consumers(load))),
    ("GB per day, Google to AWS", |i, load| short(i.to_aws(load) * 86_400.0 / GB)),
    ("GB per day, AWS to Google", |i, load| short(i.to_google(load) * 86_400.0 / GB)),
];

/// The settings of each consumer, which must suffice for both cases.
const CHOICES: [Choice; 3] = [
    ("`--max-outstanding` per consumer", |i, load| i.max_outstanding(load) as f64),
    ("`--consumers` (streams) per consumer", Inputs::streams_of_each),
    ("memory limit per consumer, MiB", Inputs::memory_limit),
];

const DOLLARS: [Item; 9] = [
    ("$ write units, on demand", |bill| bill.write_units),
    ("$ write units, `by-ip`, on demand", |bill| bill.index_units),
    ("$ Pub/Sub", |bill| bill.pubsub),
    ("$ Pub/Sub, retained for replays", |bill| bill.retained),
    ("$ Google to AWS", |bill| bill.from_google),
    ("$ Cloud NAT", |bill| bill.nat),
    ("$ AWS to Google", |bill| bill.from_aws),
    ("$ consumers", |bill| bill.consumers),
    ("**$ per month**", Bill::total),
];

fn sizes(inputs: &Inputs, mode: Mode) -> String {
    let loads = SIZES
        .map(|(messages, cores)| [Copies::Meet, Copies::Miss].map(|copies| Load { messages, mode, copies, cores }));
    let mut rows = vec![header("", &SIZES.map(|(messages, _)| format!("{} per second", whole(messages))))];
    for (name, value) in NEEDS {
        rows.push(row(name, &loads.map(|cases| range(cases.map(|load| value(inputs, &load))))));
    }
    for (name, value) in CHOICES {
        let larger = |[better, worse]: [Load; 2]| whole(value(inputs, &better).max(value(inputs, &worse)));
        rows.push(row(name, &loads.map(larger)));
    }
    let bills = loads.map(|cases| cases.map(|load| inputs.bill(&load)));
    for (name, value) in DOLLARS {
        rows.push(row(name, &bills.map(|cases| range(cases.map(|bill| short(value(&bill)))))));
    }
    let a_month = |load: &Load| load.messages * inputs.seconds() / 1e6;
    let a_million = |load: Load| short(inputs.bill(&load).total() / a_month(&load));
    rows.push(row("$ per million messages", &loads.map(|cases| range(cases.map(a_million)))));
    let provisioned = bills.map(|cases| range(cases.map(|bill| short(bill.provisioned))));
    rows.push(row("$ all write units, if provisioned", &provisioned));
    rows.concat()
}

/// Renders what one write costs in the table and in the index by-ip.
fn index(inputs: &Inputs) -> String {
    let names = ["units, table", "units, `by-ip`", "$ per million, table", "$ per million, with `by-ip`"];
    let mut rows = vec![header("write", &names)];
    let table = inputs.units_per_record();
    let writes = [("first scan of a key", inputs.index_units_new), ("rescan of a key", inputs.index_units_rescan)];
    for (name, index) in writes {
        let dollars = |units: f64| format!("{:.3}", units * 1e6 * inputs.units_price);
        rows.push(row(name, &[whole(table), whole(index), dollars(table), dollars(table + index)]));
    }
    rows.concat()
}

fn copies() -> String {
    let consumers = [1.0, 2.0, 5.0, 20.0, 100.0];
    let mut rows =
        vec![header("", &consumers.map(|n| if n == 1.0 { "1 consumer".to_owned() } else { format!("{n} consumers") }))];
    for copies in [2.0, 3.0, 10.0] {
        let cells = consumers.map(|n| format!("{:.2}", writes_of_copies(copies, n)));
        rows.push(row(&format!("{copies} copies"), &cells));
    }
    rows.concat()
}

fn responses(inputs: &Inputs) -> String {
    let names = [
        "message",
        "record",
        "write units",
        "CPU µs, put",
        "CPU µs, batch",
        "bytes to AWS, put",
        "bytes to AWS, batch",
        "$ per million, units",
        "$ per million, bytes, put",
        "$ per month to store 100 million",
    ];
    let mut rows = vec![header("response", &names)];
    for response in [64.0, 500.0, 934.0, 2_000.0, 10_000.0, 100_000.0] {
        let inputs = Inputs { response, ..inputs.clone() };
        let units = inputs.units_per_record();
        let (put, batch) = (inputs.request(Mode::Put), inputs.request(Mode::Batch) / inputs.statements_per_call());
        // A million messages more, where the last tier is reached anyway.
        let last_tier = inputs.google_tiers[2].1;
        let cells = [
            whole(inputs.message()),
            whole(inputs.record()),
            whole(units),
            short(inputs.write_micros(Mode::Put)),
            short(inputs.write_micros(Mode::Batch)),
            short(put),
            short(batch),
            format!("{:.3}", units * 1e6 * inputs.units_price),
            format!("{:.3}", put * 1e6 / GIB * last_tier),
            short(inputs.storage(100e6)),
        ];
        rows.push(row(&whole(response), &cells));
    }
    rows.concat()
}

/// Renders the messages per second at which each limit is reached, if every message is a new scan and all settings are
/// defaults.
fn first(inputs: &Inputs) -> String {
    let units = inputs.units_per_record();
    let cpu = |mode| 2e6 / (inputs.write_micros(mode) * inputs.headroom);
    let calls = |mode| match mode {
        Mode::Put => 1.0,
        Mode::Batch => inputs.statements_per_call(),
    };
    let consumer = |mode| inputs.default_rate(mode).min(cpu(mode));
    let mut bounds: Vec<(&str, [f64; 2])> = vec![
        ("one key in one partition", [inputs.partition_units / units; 2]),
        ("one node's NAT ports", [Mode::Put, Mode::Batch].map(|m| inputs.nat_ports / inputs.latency * calls(m))),
        ("a new table that was not pre-warmed", [inputs.new_table_units / units; 2]),
        ("one consumer's `--max-outstanding`", [Mode::Put, Mode::Batch].map(|m| inputs.default_rate(m))),
        ("the autoscaler's `threshold`, by one consumer's unsettled messages", [inputs.at_threshold(); 2]),
        ("the autoscaler's CPU target, one consumer", [Mode::Put, Mode::Batch].map(|m| inputs.at_cpu_target(m))),
        ("one consumer's two cores, with headroom", [Mode::Put, Mode::Batch].map(cpu)),
        ("the table's quota", [inputs.table_units / units; 2]),
        ("`maxReplicaCount` consumers", [Mode::Put, Mode::Batch].map(|m| consumer(m) * inputs.replicas)),
        ("one consumer's ten streams", [inputs.streams * inputs.stream_bytes / inputs.delivered(); 2]),
        ("Pub/Sub's quota of a large region", [inputs.region_bytes / inputs.delivered(); 2]),
    ];
    bounds.sort_by(|(_, a), (_, b)| a[0].total_cmp(&b[0]));
    let mut rows = vec![header("limit, messages per second", &["put", "batch"])];
    rows.extend(bounds.iter().map(|(name, reached)| row(name, &reached.map(short))));
    rows.concat()
}

/// Renders the required quotas and settings, in the worse case of the worse mode. Values above the default are bold.
fn quotas(inputs: &Inputs) -> String {
    let worst = |(messages, cores), need: Need| {
        let load = |mode| Load { messages, mode, copies: Copies::Miss, cores };
        need(inputs, &load(Mode::Put)).max(need(inputs, &load(Mode::Batch)))
    };
    let lines: [(&str, f64, Need); 8] = [
        ("AWS: table-level write throughput, write units per second", inputs.table_units, |i, load| {
            i.warm_throughput(load)
        }),
        (
            "Google: Pub/Sub throughput of the region, in and out, MB per second",
            inputs.region_bytes / 1e6,
            |i, load| (i.headroom * load.messages * i.delivered() / 1e6).ceil(),
        ),
        ("Google: CPUs of the region", 0.0, |i, load| i.consumers(load) * load.cores as f64),
        ("Cloud NAT: ports of a node", inputs.nat_ports, |i, load| i.ports(load)),
        ("Cloud NAT: addresses", 1.0, |i, load| i.addresses(load)),
        ("`maxReplicaCount`", inputs.replicas, |i, load| i.consumers(load)),
        ("`threshold` of the autoscaler", inputs.threshold, Inputs::unsettled_backlog),
        ("warm throughput and `max_write_units`, per second", inputs.new_table_units, |i, load| {
            i.warm_throughput(load)
        }),
    ];
    let columns: Vec<_> = SIZES.iter().map(|(messages, _)| format!("{} per second", whole(*messages))).collect();
    let mut rows = vec![header("", &[vec!["default".to_owned()], columns].concat())];
    for (name, default, need) in lines {
        let needs = SIZES.map(|size| worst(size, need));
        let cells = needs.map(|need| if need > default { format!("**{}**", whole(need)) } else { whole(need) });
        let default = if default == 0.0 { "varies".to_owned() } else { whole(default) };
        rows.push(row(name, &[vec![default], cells.to_vec()].concat()));
    }
    rows.concat()
}

pub(super) fn header(first: &str, rest: &[impl AsRef<str>]) -> String {
    format!("{}|---|{}\n", row(first, rest), "--:|".repeat(rest.len()))
}

pub(super) fn row(first: &str, rest: &[impl AsRef<str>]) -> String {
    let rest: Vec<_> = rest.iter().map(AsRef::as_ref).collect();
    format!("| {first} | {} |\n", rest.join(" | "))
}

/// Formats the better and the worse case as a range, or as one value if they are equal.
pub(super) fn range([better, worse]: [String; 2]) -> String {
    if better == worse { better } else { format!("{better}–{worse}") }
}

/// Formats a value with three significant digits.
pub(super) fn short(value: f64) -> String {
    if value < 0.995 {
        return format!("{value:.2}");
    }
    let digits = value.log10().floor() as i32 + 1;
    let step = 10f64.powi(digits - 3);
    let rounded = (value / step).round() * step;
    match digits {
        ..=1 => format!("{rounded:.2}"),
        2 => format!("{rounded:.1}"),
        _ => whole(rounded),
    }
}

/// Formats a whole number with thousands separators.
pub(super) fn whole(value: f64) -> String {
    HumanCount(value.round() as u64).to_string()
}
