//! The scenarios: each program with each load, and the baselines.

use std::time::Duration;

use crate::load::{Load, USUAL_RESPONSE};
use crate::null_dynamo::{Behaviour, Contents, STORED_TIMESTAMP};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: Measure,
    /// The maximum number of rounds, lower for a slow scenario.
    pub(crate) rounds: usize,
    /// The row of the same round that throughput is compared with.
    pub(crate) compared_to: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// The SDK's bare loop: this many writes, on as many threads as the consumer has.
    Writes { calls: Calls, count: usize, table: Table },
    /// A program that drains a subscription of this many messages.
    Drain { program: Program, load: Load, count: usize, table: Table },
    /// The consumer, with messages of keys that it wrote before.
    Known { count: usize },
    /// The consumer with as many messages as it may have, and afterwards.
    Full { outstanding: usize },
    /// From the start of the consumer to its first write.
    Start,
    /// The consumer without messages.
    Idle { lasts: Duration },
    /// The size of the consumer's executable.
    Size,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Calls {
    Put,
    /// 25 updates in each.
    Batch,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// The shipped program, with these additional flags.
    Consumer(&'static [&'static str]),
    /// The library's worker, with a store that returns `Stored` immediately.
    Worker,
    /// Only the Pub/Sub client and decoding.
    Reader,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    Null(Behaviour),
    /// The embedded engine.
    Engine,
}

/// The baseline of the rows with the null table.
pub(crate) const BARE: &str = "bare";
/// The baseline of the rows with the embedded engine.
pub(crate) const BARE_ENGINE: &str = "bare-engine";

const PLAIN: Behaviour = Behaviour { latency: None, contents: Contents::Nothing, has_unanswered: false };
const NULL: Table = Table::Null(PLAIN);
const KNOWS_ALL: Table = Table::Null(Behaviour { contents: Contents::EveryKey(STORED_TIMESTAMP), ..PLAIN });
const REMEMBERS: Table = Table::Null(Behaviour { contents: Contents::Written, ..PLAIN });

const PUT: &[&str] = &[];
const BATCH: &[&str] = &["--write-mode", "batch"];
/// The flags of the scenarios that measure the byte limit.
pub(crate) const BYTES: &[&str] = &["--max-outstanding-bytes", "64MiB"];

const fn slow(milliseconds: u64) -> Table {
    Table::Null(Behaviour { latency: Some(Duration::from_millis(milliseconds)), ..PLAIN })
}

const fn row(name: &'static str, title: &'static str, measure: Measure) -> Scenario {
    Scenario { name, title, measure, rounds: usize::MAX, compared_to: None }
}

const fn consumer(
    name: &'static str,
    title: &'static str,
    flags: &'static [&'static str],
    load: Load,
    count: usize,
    table: Table,
) -> Scenario {
    row(name, title, Measure::Drain { program: Program::Consumer(flags), load, count, table })
}

const fn baseline(name: &'static str, title: &'static str, program: Program, load: Load, count: usize) -> Scenario {
    row(name, title, Measure::Drain { program, load, count, table: NULL })
}

const fn bare_loop(name: &'static str, title: &'static str, calls: Calls, count: usize, table: Table) -> Scenario {
    row(name, title, Measure::Writes { calls, count, table })
}

/// All scenarios, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    bare_loop(BARE, "bare PutItem loop of the SDK", Calls::Put, 40_000, NULL),
    bare_loop("bare-batch", "bare batch loop of the SDK, 25 updates per call", Calls::Batch, 200_000, KNOWS_ALL),
    baseline("reader", "Pub/Sub client and decode alone", Program::Reader, Load::New, 100_000),
    baseline("worker", "worker with a store that responds at once", Program::Worker, Load::New, 100_000),
    consumer("new", "new scans", PUT, Load::New, 40_000, NULL),
    row("known", "newer scans of known keys", Measure::Known { count: 40_000 }),
    consumer("half-stale", "half of the scans stale", PUT, Load::HalfStale, 20_000, KNOWS_ALL),
    baseline("worker-copies", "worker, ten copies of each scan", Program::Worker, Load::Copies(10), 100_000),
    consumer("copies", "ten copies of each scan, shuffled", PUT, Load::Copies(10), 100_000, NULL)
        .compared_to("worker-copies"),
    consumer("hot", "ten timestamps per key, shuffled", PUT, Load::TimestampsShuffled(10), 50_000, NULL),
    consumer(
        "in-order",
        "ten timestamps per key in order, 20 ms store",
        PUT,
        Load::TimestampsInOrder(10),
        20_000,
        slow(20),
    ),
    baseline(
        "worker-backlog",
        "worker, a million scans of 10,000 keys",
        Program::Worker,
        Load::Backlog(10_000),
        1_000_000,
    )
    .rounds(2),
    consumer("backlog", "a million stale scans of 10,000 keys", PUT, Load::Backlog(10_000), 1_000_000, KNOWS_ALL)
        .rounds(2)
        .compared_to("worker-backlog"),
    consumer("large", "scans of 100 KB", PUT, Load::Large(100_000), 2_000, NULL),
    consumer("poison", "a tenth of the messages invalid", PUT, Load::Poison, 20_000, NULL),
    consumer(
        "unanswered",
        "10 writes without a response",
        PUT,
        Load::Unanswered(10),
        40_000,
        Table::Null(Behaviour { has_unanswered: true, ..PLAIN }),
    )
    .compared_to("new"),
    consumer("slow-1000", "50 ms store, 1,000 outstanding", &["-m", "1000"], Load::New, 8_000, slow(50)),
    // 10,000 per 50 ms are 200,000 per second, so the CPU is the limit, as without latency.
    consumer("slow-10000", "50 ms store, 10,000 outstanding", &["-m", "10000"], Load::New, 40_000, slow(50))
        .compared_to("new"),
    consumer("streams-1", "1 stream", &["-c", "1"], Load::New, 20_000, NULL),
    consumer("streams-50", "50 streams", &["-c", "50"], Load::New, 20_000, NULL),
    consumer("batch-new", "batches: new scans", BATCH, Load::New, 200_000, REMEMBERS),
    consumer("batch-known", "batches: newer scans of known keys", BATCH, Load::New, 200_000, KNOWS_ALL),
    consumer("batch-tenth", "batches: a tenth of the keys missing", BATCH, Load::Mixed(10), 50_000, REMEMBERS),
    consumer("batch-half", "batches: half of the keys missing", BATCH, Load::Mixed(50), 50_000, REMEMBERS),
    consumer("batch-copies", "batches: ten copies of each scan, shuffled", BATCH, Load::Copies(10), 100_000, REMEMBERS),
    consumer(
        "batch-slow",
        "batches: known keys, 50 ms store, 1,000 outstanding",
        BATCH,
        Load::New,
        50_000,
        Table::Null(Behaviour {
            latency: Some(Duration::from_millis(50)),
            contents: Contents::EveryKey(STORED_TIMESTAMP),
            has_unanswered: false,
        }),
    ),
    bare_loop(BARE_ENGINE, "bare PutItem loop, embedded engine", Calls::Put, 10_000, Table::Engine),
    consumer("engine", "new scans, embedded engine", PUT, Load::New, 10_000, Table::Engine),
    row("full-1000", "1,000 outstanding", Measure::Full { outstanding: 1_000 }).rounds(3),
    row("full-10000", "10,000 outstanding", Measure::Full { outstanding: 10_000 }).rounds(3),
    row("full-100000", "100,000 outstanding", Measure::Full { outstanding: 100_000 }).rounds(3),
    consumer("bytes-100k", "scans of 100 KB, 64 MiB outstanding", BYTES, Load::Large(100_000), 2_000, slow(50))
        .rounds(3),
    consumer("bytes-1m", "scans of 1 MB, 64 MiB outstanding", BYTES, Load::Large(1_000_000), 200, slow(50)).rounds(3),
    row("start", "start to first write", Measure::Start),
    row("idle", "idle, 10 streams", Measure::Idle { lasts: Duration::from_secs(5) }),
    row("size", "size of the executable", Measure::Size).rounds(1),
];

/// Returns the scenario with this name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    const fn rounds(self, rounds: usize) -> Scenario {
        Scenario { rounds, ..self }
    }

    const fn compared_to(self, name: &'static str) -> Scenario {
        Scenario { compared_to: Some(name), ..self }
    }

    /// Returns the row that this row's ratios refer to.
    pub(crate) fn baseline(&self) -> &'static str {
        match self.measure {
            Measure::Writes { table: Table::Engine, .. } | Measure::Drain { table: Table::Engine, .. } => BARE_ENGINE,
            _ => BARE,
        }
    }

    /// Returns the size of the responses that it writes, in bytes.
    pub(crate) fn response_bytes(&self) -> usize {
        match self.measure {
            Measure::Drain { load, .. } => load.response_bytes(),
            _ => USUAL_RESPONSE,
        }
    }
}
