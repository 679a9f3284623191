//! What is measured: every program on every load, and the floors beside them.

use std::time::Duration;

use crate::load::{Load, USUAL_RESPONSE};
use crate::null_dynamo::{Answers, HELD_TIMESTAMP, Holds};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: Measure,
    /// In so many rounds at most: what takes long is not measured in all.
    pub(crate) rounds: usize,
    /// The row whose rate this one's is set beside, in the same round.
    pub(crate) beside: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// The SDK's bare loop: so many writes, on as many threads as the consumer has.
    Writes { calls: Calls, count: usize, table: Table },
    /// A program that drains a subscription of so many messages.
    Drain { program: Program, load: Load, count: usize, table: Table },
    /// The consumer on messages of keys that it wrote before.
    Known { count: usize },
    /// The consumer that holds as many messages as it may, and after that.
    Hold { outstanding: usize },
    /// From the start of the consumer to its first write.
    Start,
    /// The consumer with nothing to do.
    Idle { lasts: Duration },
    /// The consumer's file.
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

const PLAIN: Answers = Answers { latency: None, holds: Holds::Nothing, held: false };
const NULL: Table = Table::Null(PLAIN);
const KNOWS_ALL: Table = Table::Null(Answers { holds: Holds::EveryKey(HELD_TIMESTAMP), ..PLAIN });
const REMEMBERS: Table = Table::Null(Answers { holds: Holds::Written, ..PLAIN });

const PUT: &[&str] = &[];
const BATCH: &[&str] = &["--write-mode", "batch"];
/// What bounds the bytes of messages.
pub(crate) const BYTES: &[&str] = &["--max-outstanding-bytes", "64MiB"];

const fn slow(milliseconds: u64) -> Table {
    Table::Null(Answers { latency: Some(Duration::from_millis(milliseconds)), ..PLAIN })
}

const fn row(name: &'static str, what: &'static str, measure: Measure) -> Scenario {
    Scenario { name, what, measure, rounds: usize::MAX, beside: None }
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

const fn loops(name: &'static str, what: &'static str, calls: Calls, count: usize, table: Table) -> Scenario {
    row(name, what, Measure::Writes { calls, count, table })
}

/// In the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    loops(BARE, "bare PutItem loop of the SDK", Calls::Put, 40_000, NULL),
    loops("bare-batch", "bare batch loop of the SDK, 25 updates a call", Calls::Batch, 200_000, KNOWS_ALL),
    floor("reader", "Pub/Sub client and decode alone", Program::Reader, Load::New, 100_000),
    floor("worker", "worker on a store that answers at once", Program::Worker, Load::New, 100_000),
    consumer("new", "new scans", PUT, Load::New, 40_000, NULL),
    row("known", "newer scans of known keys", Measure::Known { count: 40_000 }),
    consumer("half-stale", "half of them stale", PUT, Load::HalfStale, 20_000, KNOWS_ALL),
    floor("worker-copies", "worker, ten copies of each scan", Program::Worker, Load::Copies(10), 100_000),
    consumer("copies", "ten copies of each scan, shuffled", PUT, Load::Copies(10), 100_000, NULL)
        .beside("worker-copies"),
    consumer("hot", "ten timestamps of each key, shuffled", PUT, Load::TimestampsShuffled(10), 50_000, NULL),
    consumer(
        "in-order",
        "ten timestamps of each key in order, 20 ms store",
        PUT,
        Load::TimestampsInOrder(10),
        20_000,
        slow(20),
    ),
    floor(
        "worker-backlog",
        "worker, a million scans of 10,000 keys",
        Program::Worker,
        Load::Backlog(10_000),
        1_000_000,
    )
    .rounds(2),
    consumer("backlog", "a million stale scans of 10,000 keys", PUT, Load::Backlog(10_000), 1_000_000, KNOWS_ALL)
        .rounds(2)
        .beside("worker-backlog"),
    consumer("large", "scans of 100 KB", PUT, Load::Large(100_000), 2_000, NULL),
    consumer("poison", "a tenth cannot be stored", PUT, Load::Poison, 20_000, NULL),
    consumer(
        "held",
        "10 writes never answered",
        PUT,
        Load::Held(10),
        40_000,
        Table::Null(Answers { held: true, ..PLAIN }),
    )
    .beside("new"),
    consumer("slow-1000", "50 ms store, 1,000 outstanding", &["-m", "1000"], Load::New, 8_000, slow(50)),
    // 10,000 in 50 ms are 200,000 a second: what bounds it is the CPU, as without latency.
    consumer("slow-10000", "50 ms store, 10,000 outstanding", &["-m", "10000"], Load::New, 40_000, slow(50))
        .beside("new"),
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
        Table::Null(Answers {
            latency: Some(Duration::from_millis(50)),
            holds: Holds::EveryKey(HELD_TIMESTAMP),
            held: false,
        }),
    ),
    loops(BARE_ENGINE, "bare PutItem loop, embedded engine", Calls::Put, 10_000, Table::Engine),
    consumer("engine", "new scans, embedded engine", PUT, Load::New, 10_000, Table::Engine),
    row("hold-1000", "1,000 outstanding", Measure::Hold { outstanding: 1_000 }).rounds(3),
    row("hold-10000", "10,000 outstanding", Measure::Hold { outstanding: 10_000 }).rounds(3),
    row("hold-100000", "100,000 outstanding", Measure::Hold { outstanding: 100_000 }).rounds(3),
    consumer("bytes-100k", "scans of 100 KB, 64 MiB outstanding", BYTES, Load::Large(100_000), 2_000, slow(50))
        .rounds(3),
    consumer("bytes-1m", "scans of 1 MB, 64 MiB outstanding", BYTES, Load::Large(1_000_000), 200, slow(50)).rounds(3),
    row("start", "start to first write", Measure::Start),
    row("idle", "idle, 10 streams", Measure::Idle { lasts: Duration::from_secs(5) }),
    row("size", "the program's file", Measure::Size).rounds(1),
];

/// The scenario of a name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    const fn rounds(self, rounds: usize) -> Scenario {
        Scenario { rounds, ..self }
    }

    const fn beside(self, name: &'static str) -> Scenario {
        Scenario { beside: Some(name), ..self }
    }

    /// The row that this one's ratios are to.
    pub(crate) fn floor(&self) -> &'static str {
        match self.measure {
            Measure::Writes { table: Table::Engine, .. } | Measure::Drain { table: Table::Engine, .. } => BARE_ENGINE,
            _ => BARE,
        }
    }

    /// The bytes of a response, in what it writes.
    pub(crate) fn response_bytes(&self) -> usize {
        match self.measure {
            Measure::Drain { load, .. } => load.response_bytes(),
            _ => USUAL_RESPONSE,
        }
    }
}
