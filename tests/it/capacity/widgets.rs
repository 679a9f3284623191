//! Renders what widget-registry needs and costs.

use super::bill::GIB;
use super::inputs::Inputs;
use super::tables::{GB, header, row, short, whole};

/// Write units of an item of at most one unit in a transaction.
const IN_TRANSACTION: f64 = 2.0;

/// `widget-registry load` has four batches in flight, and the API runs 16 operations of each at a time.
const LOAD_IN_FLIGHT: f64 = 64.0;

/// The inputs of widget-registry, under the names that the formulas use.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    pub(super) widgets: f64,
    connections: f64,
    latency: f64,
    micros: f64,
    item: f64,
    request: f64,
    half: f64,
    pub(super) requests_of_an_instance: f64,
    pub(super) min_instances: f64,
    pub(super) max_instances: f64,
    pub(super) cores: f64,
    memory: f64,
    remembered_hours: f64,
}

impl Registry {
    pub(super) fn read(mut take: impl FnMut(&str) -> f64) -> Registry {
        Registry {
            widgets: take("widgets"),
            connections: take("connections of a widget"),
            latency: take("latency of a transaction") / 1e3,
            micros: take("CPU of a connect"),
            item: take("widget with two connections"),
            request: take("remembered request"),
            half: take("entry of an audit"),
            requests_of_an_instance: take("requests per second of an instance, autoscaler"),
            min_instances: take("`minReplicas` of widget-registry"),
            max_instances: take("`maxReplicas` of widget-registry"),
            cores: take("cores of an instance, requested"),
            memory: take("memory of an instance, requested") / 1024.0,
            remembered_hours: take("`--remember-requests`"),
        }
    }
}

/// An operation: how many items its transaction writes, and how many it reads before.
struct Work {
    name: &'static str,
    writes: f64,
    reads: f64,
}

const CONNECT: Work = Work { name: "connect", writes: 2.0, reads: 0.0 };
const DISCONNECT: Work = Work { name: "disconnect", writes: 2.0, reads: 1.0 };

impl Inputs {
    fn units_of(&self, items: f64) -> f64 {
        assert!(self.registry.item <= self.unit && self.registry.request <= self.unit, "an item takes one unit");
        items * IN_TRANSACTION
    }

    /// Returns the units per second of a load that connects and disconnects in equal shares.
    fn registry_units(&self, rate: f64) -> [f64; 2] {
        let half = rate / 2.0;
        [half * self.units_of(CONNECT.writes + DISCONNECT.writes), half * (CONNECT.reads + DISCONNECT.reads)]
    }

    fn registry_cores(&self, rate: f64) -> f64 {
        self.headroom * rate * self.registry.micros / 1e6
    }

    fn registry_instances(&self, rate: f64) -> f64 {
        let by_rate = (rate / self.registry.requests_of_an_instance).ceil();
        by_rate.max((self.registry_cores(rate) / self.registry.cores).ceil()).max(self.registry.min_instances)
    }

    /// Returns how many transactions per second meet another one at one of their two widgets, if all widgets are equally likely.
    fn conflicts(&self, rate: f64) -> f64 {
        rate * rate * self.registry.latency * 4.0 / self.registry.widgets
    }

    fn gigabytes_of(&self, items: f64, bytes: f64) -> f64 {
        items * (bytes + self.record_overhead) / GB
    }
}

/// Renders what one operation writes, reads and costs.
pub(super) fn operations(inputs: &Inputs) -> String {
    let lines = [
        Work { name: "create", writes: 1.0, reads: 0.0 },
        CONNECT,
        Work { name: "connect with `replace`, if both ports were taken", writes: 4.0, reads: 2.0 },
        DISCONNECT,
        Work { name: "delete a widget with two connections", writes: 3.0, reads: 1.0 },
        Work { name: "change a name or ports", writes: 1.0, reads: 1.0 },
        Work { name: "read a widget", writes: 0.0, reads: 1.0 },
    ];
    let names = ["items", "write units", "with a key", "read units", "$ per million", "$ per million, with a key"];
    let mut rows = vec![header("operation", &names)];
    for Work { name, writes, reads } in lines {
        let units = inputs.units_of(writes);
        let keyed = units + if writes > 0.0 { inputs.units_of(1.0) } else { 0.0 };
        let dollars =
            |units: f64| format!("{:.3}", 1e6 * (units * inputs.units_price + reads * inputs.read_units_price));
        let with_key = |text: String| if writes > 0.0 { text } else { "–".to_owned() };
        rows.push(row(
            name,
            &[
                whole(writes),
                whole(units),
                with_key(whole(keyed)),
                whole(reads),
                dollars(units),
                with_key(dollars(keyed)),
            ],
        ));
    }
    rows.concat()
}

/// Dollars per month.
struct Dollars {
    writes: f64,
    reads: f64,
    instances: f64,
    storage: f64,
}

impl Dollars {
    fn of(inputs: &Inputs, rate: f64) -> Dollars {
        let (registry, seconds) = (&inputs.registry, inputs.seconds());
        let [writes, reads] = inputs.registry_units(rate);
        let instance = registry.cores * inputs.core_price + registry.memory * inputs.memory_price;
        Dollars {
            writes: writes * seconds * inputs.units_price,
            reads: reads * seconds * inputs.read_units_price,
            instances: inputs.registry_instances(rate) * instance * inputs.hours,
            storage: inputs.gigabytes_of(registry.widgets, registry.item) * GB / GIB * inputs.keep_price,
        }
    }

    fn total(&self) -> f64 {
        self.writes + self.reads + self.instances + self.storage
    }
}

/// Returns the dollars per month.
pub(super) fn month(inputs: &Inputs, rate: f64) -> f64 {
    Dollars::of(inputs, rate).total()
}

/// Renders what a rate of updates needs and costs.
pub(super) fn sizes(inputs: &Inputs) -> String {
    let rates = [1e3, 1e4, 2e4];
    let (registry, hours, seconds) = (&inputs.registry, inputs.hours, inputs.seconds());
    let writes = |rate: f64| inputs.registry_units(rate)[0];
    let remembered = |rate: f64| inputs.gigabytes_of(rate * registry.remembered_hours * 3_600.0, registry.request);
    let keyed = |rate: f64| {
        inputs.units_of(1.0) * rate * seconds * inputs.units_price + remembered(rate) * GB / GIB * inputs.table_price
    };
    let mut rows = vec![header("", &rates.map(|rate| format!("{} per second", whole(rate))))];
    let mut add = |name: &str, value: &dyn Fn(f64) -> String| rows.push(row(name, &rates.map(value)));
    add("write units per second", &|rate| short(writes(rate)));
    add("read units per second", &|rate| short(inputs.registry_units(rate)[1]));
    add("partitions, minimum", &|rate| whole((writes(rate) / inputs.partition_units).ceil()));
    add("warm throughput to set, write units per second", &|rate| whole(inputs.warm(writes(rate))));
    add("transactions in flight", &|rate| short(rate * registry.latency));
    add("conflicts per second", &|rate| short(inputs.conflicts(rate)));
    add("cores, with headroom", &|rate| short(inputs.registry_cores(rate)));
    add("instances", &|rate| whole(inputs.registry_instances(rate)));
    add("$ write units, on demand", &|rate| short(Dollars::of(inputs, rate).writes));
    add("$ read units", &|rate| short(Dollars::of(inputs, rate).reads));
    add("$ instances", &|rate| short(Dollars::of(inputs, rate).instances));
    add("$ storage and backup of the widgets", &|rate| short(Dollars::of(inputs, rate).storage));
    add("**$ per month**", &|rate| short(Dollars::of(inputs, rate).total()));
    add("$ write units, if provisioned", &|rate| {
        short(writes(rate) / inputs.provisioned_use * hours * inputs.provisioned_price)
    });
    add("GB of remembered requests, if each has a key", &|rate| short(remembered(rate)));
    add("$ more per month, if each has a key", &|rate| short(keyed(rate)));
    rows.concat()
}

/// Renders what an audit reads and keeps in memory.
pub(super) fn audits(inputs: &Inputs) -> String {
    let registry = &inputs.registry;
    let sizes = [registry.widgets / 10.0, registry.widgets, registry.widgets * 10.0];
    let units = |widgets: f64| widgets * registry.item / inputs.read_unit;
    // A half waits for the other one. Halfway through the scan, that is true of a quarter of them.
    let halves = |widgets: f64| widgets * registry.connections / 4.0;
    let mut rows = vec![header("", &sizes.map(|widgets| format!("{} widgets", whole(widgets))))];
    let mut add = |name: &str, value: &dyn Fn(f64) -> String| rows.push(row(name, &sizes.map(value)));
    add("GB of the table", &|widgets| short(inputs.gigabytes_of(widgets, registry.item)));
    add("read units of an audit", &|widgets| short(units(widgets)));
    add("$ of an audit", &|widgets| short(units(widgets) * inputs.read_units_price));
    add("minutes at 3,000 read units per second", &|widgets| short(units(widgets) / 3_000.0 / 60.0));
    add("memory of an audit, MiB", &|widgets| short(halves(widgets) * registry.half / 1024.0 / 1024.0));
    rows.concat()
}

/// Renders what it costs to create widgets in an empty table, and how long the table takes at least.
pub(super) fn loads(inputs: &Inputs) -> String {
    let sizes = [inputs.registry.widgets / 10.0, inputs.registry.widgets, inputs.registry.widgets * 10.0];
    let units = |widgets: f64| inputs.units_of(widgets);
    let minutes = |widgets: f64, per_second: f64| short(units(widgets) / per_second / 60.0);
    let mut rows = vec![header("", &sizes.map(|widgets| format!("{} widgets", whole(widgets))))];
    let mut add = |name: &str, value: &dyn Fn(f64) -> String| rows.push(row(name, &sizes.map(value)));
    add("write units of the load", &|widgets| whole(units(widgets)));
    add("$ of the load", &|widgets| short(units(widgets) * inputs.units_price));
    add("minutes by one `load`", &|widgets| short(widgets * inputs.registry.latency / LOAD_IN_FLIGHT / 60.0));
    add("minutes on a new table", &|widgets| minutes(widgets, inputs.new_table_units));
    add("minutes at the quota of a table", &|widgets| minutes(widgets, inputs.table_units));
    rows.concat()
}

/// Renders the updates per second at which each limit is reached, with the default settings.
pub(super) fn first(inputs: &Inputs) -> String {
    let registry = &inputs.registry;
    let units = inputs.units_of(CONNECT.writes);
    let mut bounds = [
        ("one widget, one update after another", 1.0 / registry.latency),
        ("a new table that was not warmed", inputs.new_table_units / units),
        ("one instance, as the autoscaler counts", registry.requests_of_an_instance),
        ("one core, with headroom", 1e6 / registry.micros / inputs.headroom),
        ("the quota of the table", inputs.table_units / units),
        (
            "`maxReplicas` instances, as the autoscaler counts",
            registry.requests_of_an_instance * registry.max_instances,
        ),
    ];
    bounds.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut rows = vec![header("limit", &["updates per second"])];
    rows.extend(bounds.iter().map(|(name, reached)| row(name, &[short(*reached)])));
    rows.concat()
}
