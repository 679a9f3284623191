//! Renders what webhooks cost.

use super::bill::{GIB, tiered, wire};
use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode};
use super::tables::{GB, SIZES, header, row, short, whole};

/// A body that would be longer has neither the response nor the difference.
const FULL_BODY: f64 = 4096.0;
const MIB: f64 = 1024.0 * 1024.0;
const SUBSCRIPTIONS: f64 = 100_000.0;

/// The writes of a stored webhook.
struct Writes {
    name: &'static str,
    /// The writes of the item.
    item: f64,
    /// The entries of the index that they create or delete.
    index: f64,
}

/// An insert takes one entry of the index, a claim and a new due time take two, a deletion takes one.
const WRITES: [Writes; 5] = [
    Writes { name: "delivered by the first attempt", item: 0.0, index: 0.0 },
    Writes { name: "stored after 5 s, and delivered by the same attempt", item: 2.0, index: 2.0 },
    Writes { name: "stored, and delivered by the next attempt", item: 3.0, index: 4.0 },
    Writes { name: "each further attempt that fails", item: 2.0, index: 4.0 },
    Writes { name: "dead after ten attempts", item: 20.0, index: 36.0 },
];
const NEXT_ATTEMPT: &Writes = &WRITES[2];

impl Inputs {
    fn webhook_body(&self) -> f64 {
        let full = self.webhook_frame + self.response + self.difference;
        if full <= FULL_BODY { full } else { self.webhook_frame }
    }

    fn stored_units(&self, writes: &Writes) -> f64 {
        writes.item * self.units(self.stored_frame + self.webhook_body() + self.kept_answer) + writes.index
    }

    fn webhooks(&self, load: &Load) -> f64 {
        self.events_of(load).iter().sum::<f64>() * self.matches
    }

    fn stored_webhooks(&self, load: &Load) -> f64 {
        self.webhooks(load) * self.stored
    }

    fn attempts_in_flight(&self, load: &Load) -> f64 {
        self.webhooks(load) * self.endpoint_latency
    }

    fn webhook_instances(&self, load: &Load) -> f64 {
        (self.attempts_in_flight(load) * self.headroom / self.attempts).ceil().max(2.0)
    }

    /// Returns the bytes per second to endpoints. Connections are kept.
    fn to_endpoints(&self, load: &Load) -> f64 {
        self.webhooks(load) * wire(self.webhook_request + self.webhook_body())
    }

    fn bytes_from_endpoints(&self, load: &Load) -> f64 {
        self.webhooks(load) * wire(self.kept_answer)
    }
}

/// Renders what one webhook costs.
pub(super) fn writes(inputs: &Inputs) -> String {
    let mut rows = vec![header("webhook", &["units, item", "units, `by-due`", "$ per million"])];
    let dollars = |units: f64| format!("{:.3}", units * 1e6 * inputs.units_price);
    for writes in &WRITES {
        let units = inputs.stored_units(writes);
        rows.push(row(writes.name, &[whole(units - writes.index), whole(writes.index), dollars(units)]));
    }
    rows.push(row("one more with `--log-deliveries`", &["1".to_owned(), "0".to_owned(), dollars(1.0)]));
    rows.concat()
}

/// Dollars per month.
struct Dollars {
    units: f64,
    traffic: f64,
    nat: f64,
}

impl Dollars {
    fn of(inputs: &Inputs, load: &Load) -> Dollars {
        let gib = |bytes: f64| bytes * inputs.seconds() / GIB;
        let (sent, received) = (gib(inputs.to_endpoints(load)), gib(inputs.bytes_from_endpoints(load)));
        Dollars {
            units: stored_units(inputs, load) * inputs.seconds() * inputs.units_price,
            traffic: tiered(sent, &inputs.google_tiers),
            nat: (sent + received) * inputs.nat_price,
        }
    }

    fn total(&self) -> f64 {
        self.units + self.traffic + self.nat
    }
}

/// Returns the write units per second of the webhooks that are stored.
fn stored_units(inputs: &Inputs, load: &Load) -> f64 {
    inputs.stored_webhooks(load) * inputs.stored_units(NEXT_ATTEMPT)
}

/// Returns the dollars per month.
pub(super) fn month(inputs: &Inputs, load: &Load) -> f64 {
    Dollars::of(inputs, load).total()
}

/// Renders what the webhooks of each load need and cost.
pub(super) fn sizes(inputs: &Inputs) -> String {
    let loads = SIZES.map(|(messages, cores)| Load { messages, mode: Mode::Put, copies: Copies::Miss, cores });
    let mut rows = vec![header("", &SIZES.map(|(messages, _)| format!("{} per second", whole(messages))))];
    let mut add = |name: &str, value: &dyn Fn(&Load) -> String| rows.push(row(name, &loads.each_ref().map(value)));
    add("webhooks per second", &|load| short(inputs.webhooks(load)));
    add("stored webhooks per second", &|load| short(inputs.stored_webhooks(load)));
    add("write units per second, deliveries", &|load| short(stored_units(inputs, load)));
    add("attempts in flight", &|load| short(inputs.attempts_in_flight(load)));
    add("instances, with headroom", &|load| whole(inputs.webhook_instances(load)));
    add("GB per day, to endpoints", &|load| short(inputs.to_endpoints(load) * 86_400.0 / GB));
    add("$ write units, deliveries", &|load| short(Dollars::of(inputs, load).units));
    add("$ traffic out of Google", &|load| short(Dollars::of(inputs, load).traffic));
    add("$ Cloud NAT", &|load| short(Dollars::of(inputs, load).nat));
    add("**$ per month**", &|load| short(Dollars::of(inputs, load).total()));
    rows.concat()
}

/// Renders what each instance reads although nothing happens.
pub(super) fn polls(inputs: &Inputs) -> String {
    let bucket = (SUBSCRIPTIONS / inputs.subscription_buckets * inputs.subscription / inputs.read_unit).ceil();
    let lines = [
        ("the markers of all backlogs", inputs.marker_queries * 0.5, inputs.looks, "per second"),
        ("the versions of the subscriptions", 1.0, 0.5, "every 2 s"),
        ("a backlog that is not due, per endpoint", inputs.backlog_queries * 0.5, 1.0 / inputs.rest, "every 15 s"),
        ("a change of one of 100,000 subscriptions", bucket, 1.0 / 60.0, "every minute, assumed"),
    ];
    let mut rows = vec![header("what an instance reads", &["read units", "how often", "$ per month"])];
    for (name, units, per_second, often) in lines {
        let dollars = units * per_second * inputs.seconds() * inputs.read_units_price;
        rows.push(row(name, &[format!("{units:.1}"), often.to_owned(), short(dollars)]));
    }
    rows.concat()
}

/// Returns the most memory that each part takes, in MiB.
fn parts(inputs: &Inputs) -> [(&'static str, f64); 6] {
    let under_way = inputs.backlogs * inputs.backlog_attempts * FULL_BODY;
    [
        ("bodies in queues and first attempts", inputs.webhook_bytes / MIB),
        ("heads and bodies of answers", inputs.attempts * inputs.answer_bytes / MIB),
        ("connections", inputs.attempts * inputs.connection_bytes / MIB),
        ("bodies of stored webhooks under way", under_way / MIB),
        ("100,000 subscriptions", SUBSCRIPTIONS * inputs.subscription_memory / MIB),
        ("records of the stream, entries and the program", inputs.reader_memory / MIB),
    ]
}

pub(super) fn memory_of_an_instance(inputs: &Inputs) -> f64 {
    parts(inputs).iter().map(|(_, mib)| mib).sum()
}

/// Renders the most memory that an instance takes.
pub(super) fn memory(inputs: &Inputs) -> String {
    let mut rows = vec![header("memory of an instance", &["MiB, at most"])];
    rows.extend(parts(inputs).iter().map(|(name, mib)| row(name, &[whole(*mib)])));
    rows.push(row("**all**", &[whole(memory_of_an_instance(inputs))]));
    rows.concat()
}
