//! What is measured: every program on every load, and the floors beside them.

use std::time::Duration;

use crate::load::{HELD_TIMESTAMP, Load};
use crate::null_dynamo::Answers;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: Measure,
    /// Only when it is named, because it takes long.
    pub(crate) on_demand: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// The SDK's bare loop: so many writes, on as many threads as the consumer has.
    Writes { count: usize, table: Table },
    /// A program that drains a subscription of so many messages.
    Drain { program: Program, load: Load, count: usize, table: Table },
    /// The consumer on messages of keys that it wrote before.
    Known { count: usize },
    /// From the start of the consumer to its first write.
    Start,
    /// The consumer with nothing to do.
    Idle { lasts: Duration },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// The shipped program, with these flags beside the usual ones.
    Consumer(&'static [&'static str]),
    /// The library's worker over a store that answers Stored at once.
    Worker,
    /// The Pub/Sub client and decoding alone.
    Reader,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    Null(Answers),
    /// The embedded engine.
    Engine,
}

/// The row that the others are ratios to, where they have the null table.
pub(crate) const BARE: &str = "bare";
/// The row that those on the embedded engine are ratios to.
pub(crate) const BARE_ENGINE: &str = "bare-engine";

const PLAIN: Answers = Answers { latency: None, holds: None, held: false };
const NULL: Table = Table::Null(PLAIN);
const HOLDS: Table = Table::Null(Answers { holds: Some(HELD_TIMESTAMP), ..PLAIN });

const fn slow(milliseconds: u64) -> Table {
    Table::Null(Answers { latency: Some(Duration::from_millis(milliseconds)), ..PLAIN })
}

const fn row(name: &'static str, what: &'static str, measure: Measure) -> Scenario {
    Scenario { name, what, measure, on_demand: false }
}

const fn consumer(
    name: &'static str,
    what: &'static str,
    flags: &'static [&'static str],
    load: Load,
    count: usize,
    table: Table,
) -> Scenario {
    row(name, what, Measure::Drain { program: Program::Consumer(flags), load, count, table })
}

const fn floor(name: &'static str, what: &'static str, program: Program, load: Load, count: usize) -> Scenario {
    row(name, what, Measure::Drain { program, load, count, table: NULL })
}

/// In the order of the table. The floors come first; the SDK's bare batch loop belongs beside its bare PutItem loop.
pub(crate) const ALL: &[Scenario] = &[
    row(BARE, "bare PutItem loop of the SDK", Measure::Writes { count: 20_000, table: NULL }),
    floor("reader", "Pub/Sub client and decode alone", Program::Reader, Load::New, 100_000),
    floor("worker", "worker on a store that answers at once", Program::Worker, Load::New, 100_000),
    consumer("new", "new scans", &[], Load::New, 20_000, NULL),
    row("known", "newer scans of known keys", Measure::Known { count: 20_000 }),
    consumer("half-stale", "half of them stale", &[], Load::HalfStale, 20_000, HOLDS),
    floor("worker-copies", "worker, ten copies of each scan", Program::Worker, Load::Copies(10), 100_000),
    consumer("copies", "ten copies of each scan, shuffled", &[], Load::Copies(10), 100_000, NULL),
    consumer("hot", "ten timestamps of each key, shuffled", &[], Load::TimestampsShuffled(10), 50_000, NULL),
    consumer(
        "in-order",
        "ten timestamps of each key in order, 20 ms store",
        &[],
        Load::TimestampsInOrder(10),
        20_000,
        slow(20),
    ),
    consumer("large", "scans of 100 KB", &[], Load::Large(100_000), 2_000, NULL),
    consumer("poison", "a tenth cannot be stored", &[], Load::Poison, 20_000, NULL),
    consumer(
        "held",
        "10 writes never answered",
        &[],
        Load::Held(10),
        20_000,
        Table::Null(Answers { held: true, ..PLAIN }),
    ),
    consumer("slow-1000", "50 ms store, 1,000 outstanding", &["-m", "1000"], Load::New, 8_000, slow(50)),
    consumer("slow-10000", "50 ms store, 10,000 outstanding", &["-m", "10000"], Load::New, 40_000, slow(50)),
    consumer("streams-1", "1 stream", &["-c", "1"], Load::New, 20_000, NULL),
    consumer("streams-50", "50 streams", &["-c", "50"], Load::New, 20_000, NULL),
    row(BARE_ENGINE, "bare PutItem loop, embedded engine", Measure::Writes { count: 10_000, table: Table::Engine }),
    consumer("engine", "new scans, embedded engine", &[], Load::New, 10_000, Table::Engine),
    row("start", "start to first write", Measure::Start),
    row("idle", "idle, 10 streams", Measure::Idle { lasts: Duration::from_secs(5) }),
    Scenario {
        on_demand: true,
        ..consumer("backlog", "a million stale scans of 10,000 keys", &[], Load::Backlog(10_000), 1_000_000, HOLDS)
    },
    Scenario {
        on_demand: true,
        ..floor("worker-backlog", "worker, the same backlog", Program::Worker, Load::Backlog(10_000), 1_000_000)
    },
];

impl Scenario {
    /// The row that this one's ratios are to.
    pub(crate) fn floor(&self) -> &'static str {
        match self.measure {
            Measure::Writes { table: Table::Engine, .. } | Measure::Drain { table: Table::Engine, .. } => BARE_ENGINE,
            _ => BARE,
        }
    }
}
