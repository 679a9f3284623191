//! Renders what the history costs.

use super::bill::GIB;
use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode};
use super::tables::{SIZES, header, row, short, whole};

impl Inputs {
    pub(super) fn units(&self, bytes: f64) -> f64 {
        (bytes / self.unit).ceil()
    }

    /// Returns the bytes of the entry of a service that opened, and of one that changed.
    fn entries(&self) -> [f64; 2] {
        [self.opened_entry + self.response, self.changed_entry + self.difference + self.response]
    }

    /// Returns how many services open and change per second.
    pub(super) fn events_of(&self, load: &Load) -> [f64; 2] {
        let scans = load.messages * (1.0 - self.copies);
        [scans * self.missing, scans * (1.0 - self.missing) * self.changed]
    }

    /// Returns the write units of the events: one for the summary, and those of the entry.
    fn history_units(&self, load: &Load) -> f64 {
        self.events_of(load)
            .into_iter()
            .zip(self.entries())
            .map(|(events, bytes)| events * (1.0 + self.units(bytes)))
            .sum()
    }

    /// Returns the gigabytes of all entries that are kept at the same time.
    fn kept(&self, load: &Load) -> f64 {
        let bytes = self.entries().map(|bytes| bytes + self.record_overhead);
        let per_second: f64 = self.events_of(load).into_iter().zip(bytes).map(|(events, bytes)| events * bytes).sum();
        per_second * self.entry_days * 86_400.0 / GIB
    }
}

/// Renders what one event costs.
pub(super) fn events(inputs: &Inputs) -> String {
    let [opened, changed] = inputs.entries();
    let lines = [
        ("a rescan that is equal behind the masks", 0.0, 0.0),
        ("opened", 1.0, opened),
        ("changed", 1.0, changed),
        ("opened or changed, `--responses hash`", 1.0, inputs.opened_entry.max(inputs.changed_entry)),
        ("closed", 1.0, inputs.opened_entry),
    ];
    let mut rows = vec![header("event", &["units, summary", "units, entry", "$ per million"])];
    for (name, summary, bytes) in lines {
        let units = inputs.units(bytes);
        let dollars = (summary + units) * 1e6 * inputs.units_price;
        rows.push(row(name, &[whole(summary), whole(units), format!("{dollars:.3}")]));
    }
    rows.concat()
}

/// Dollars per month.
struct Dollars {
    units: f64,
    reads: f64,
    checkpoints: f64,
    storage: f64,
}

impl Dollars {
    fn of(inputs: &Inputs, load: &Load) -> Dollars {
        let (shards, seconds) = (inputs.partitions(load), inputs.seconds());
        Dollars {
            units: inputs.history_units(load) * seconds * inputs.units_price,
            reads: shards * inputs.shard_reads * seconds * inputs.stream_reads_price,
            checkpoints: shards * inputs.checkpoints * seconds * inputs.units_price,
            storage: inputs.kept(load) * inputs.keep_price,
        }
    }

    fn total(&self) -> f64 {
        self.units + self.reads + self.checkpoints + self.storage
    }
}

/// Returns the dollars per month.
pub(super) fn month(inputs: &Inputs, load: &Load) -> f64 {
    Dollars::of(inputs, load).total()
}

/// Renders what the history of each load needs and costs.
pub(super) fn sizes(inputs: &Inputs) -> String {
    let loads = SIZES.map(|(messages, cores)| Load { messages, mode: Mode::Put, copies: Copies::Miss, cores });
    let mut rows = vec![header("", &SIZES.map(|(messages, _)| format!("{} per second", whole(messages))))];
    let mut add = |name: &str, value: &dyn Fn(&Load) -> String| rows.push(row(name, &loads.each_ref().map(value)));
    add("events per second", &|load| short(inputs.events_of(load).iter().sum()));
    add("write units per second, history", &|load| short(inputs.history_units(load)));
    add("shards, minimum", &|load| whole(inputs.partitions(load)));
    add("GiB of entries, once the first ones expire", &|load| short(inputs.kept(load)));
    add("$ write units, history", &|load| short(Dollars::of(inputs, load).units));
    add("$ reads of the stream", &|load| short(Dollars::of(inputs, load).reads));
    add("$ checkpoints", &|load| short(Dollars::of(inputs, load).checkpoints));
    add("$ storage and backup of entries", &|load| short(Dollars::of(inputs, load).storage));
    add("**$ per month**", &|load| short(Dollars::of(inputs, load).total()));
    let summaries = 100e6 * (inputs.summary + inputs.record_overhead) / GIB;
    add("GiB of summaries, per 100 million services", &|_| short(summaries));
    rows.concat()
}
