//! The scenarios: each program with each load, and the baselines.

use std::time::Duration;

use crate::bare_loop::{BareLoop, Calls, IN_FLIGHT, InFlight, Timestamps};
use crate::load::{Load, USUAL_RESPONSE};
use crate::null_dynamo::{Behaviour, Contents};
use crate::record::STORED_TIMESTAMP;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: Measure,
    /// The maximum number of rounds, lower for a slow scenario.
    pub(crate) rounds: usize,
    /// The row of a baseline that makes the same writes, with which CPU and throughput are compared.
    pub(crate) floor: Option<&'static str>,
    /// Another row that throughput is compared with.
    pub(crate) compared_to: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// The SDK's bare loop.
    Writes { bare_loop: BareLoop, table: Table },
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
pub(crate) enum Program {
    /// The shipped program, with these additional flags.
    Consumer(&'static [&'static str]),
    /// Both clients and a map of timestamps, without this library.
    BareConsumer,
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
/// A bare loop with the consumer's limit of writes in flight.
const PUTS: BareLoop = BareLoop {
    calls: Calls::Put,
    count: 0,
    in_flight: InFlight::PerThread(IN_FLIGHT),
    timestamps: Timestamps::Newer,
    response_bytes: USUAL_RESPONSE,
};
/// A bare loop with the calls that 1,000 outstanding messages, the consumer's default, allow.
const UPDATES: BareLoop = BareLoop { calls: Calls::Update, in_flight: InFlight::Total(40), ..PUTS };
const INSERTS: BareLoop = BareLoop { calls: Calls::Insert, ..UPDATES };
/// The flags of the scenarios that measure the byte limit.
pub(crate) const BYTES: &[&str] = &["--max-outstanding-bytes", "64MiB"];

const fn slow(milliseconds: u64) -> Table {
    Table::Null(Behaviour { latency: Some(Duration::from_millis(milliseconds)), ..PLAIN })
}

const fn row(name: &'static str, title: &'static str, measure: Measure) -> Scenario {
    Scenario { name, title, measure, rounds: usize::MAX, floor: None, compared_to: None }
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

const fn baseline(
    name: &'static str,
    title: &'static str,
    program: Program,
    load: Load,
    count: usize,
    table: Table,
) -> Scenario {
    row(name, title, Measure::Drain { program, load, count, table })
}

const fn bare_loop(
    name: &'static str,
    title: &'static str,
    bare_loop: BareLoop,
    count: usize,
    table: Table,
) -> Scenario {
    row(name, title, Measure::Writes { bare_loop: BareLoop { count, ..bare_loop }, table })
}

/// All scenarios, in the order of the table. A floor comes before the rows that are compared with it.
pub(crate) const ALL: &[Scenario] = &[
    baseline("reader", "Pub/Sub client and decode alone", Program::Reader, Load::New, 100_000, NULL),
    baseline("worker", "worker with a store that responds at once", Program::Worker, Load::New, 100_000, NULL),
    bare_loop(BARE, "bare PutItem loop of the SDK", PUTS, 40_000, NULL),
    baseline("plain", "bare consumer, new scans", Program::BareConsumer, Load::New, 40_000, NULL).floor(BARE),
    consumer("new", "new scans", PUT, Load::New, 40_000, NULL).floor(BARE),
    row("known", "newer scans of known keys", Measure::Known { count: 40_000 }).floor(BARE),
    consumer("poison", "a tenth of the messages invalid", PUT, Load::Poison, 20_000, NULL).floor(BARE),
    consumer(
        "unanswered",
        "10 writes without a response",
        PUT,
        Load::Unanswered(10),
        40_000,
        Table::Null(Behaviour { has_unanswered: true, ..PLAIN }),
    )
    .floor(BARE)
    .compared_to("new"),
    consumer("streams-1", "1 stream", &["-c", "1"], Load::New, 20_000, NULL).floor(BARE),
    consumer("streams-50", "50 streams", &["-c", "50"], Load::New, 20_000, NULL).floor(BARE),
    bare_loop(
        "bare-half-stale",
        "bare PutItem loop, half of the writes stale",
        BareLoop { timestamps: Timestamps::Alternating, ..PUTS },
        20_000,
        KNOWS_ALL,
    ),
    consumer("half-stale", "half of the scans stale", PUT, Load::HalfStale, 20_000, KNOWS_ALL).floor("bare-half-stale"),
    bare_loop(
        "bare-stale",
        "bare PutItem loop, every write stale",
        BareLoop { timestamps: Timestamps::Older, ..PUTS },
        20_000,
        KNOWS_ALL,
    ),
    consumer("stale", "stale scans, each of its own key", PUT, Load::Stale, 20_000, KNOWS_ALL).floor("bare-stale"),
    baseline(
        "plain-backlog",
        "bare consumer, a million stale scans of 10,000 keys",
        Program::BareConsumer,
        Load::Backlog(10_000),
        1_000_000,
        KNOWS_ALL,
    )
    .rounds(2),
    consumer("backlog", "a million stale scans of 10,000 keys", PUT, Load::Backlog(10_000), 1_000_000, KNOWS_ALL)
        .rounds(2)
        .floor("plain-backlog"),
    baseline("worker-copies", "worker, ten copies of each scan", Program::Worker, Load::Copies(10), 100_000, NULL),
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
    bare_loop("bare-large", "bare PutItem loop, 100 KB", BareLoop { response_bytes: 100_000, ..PUTS }, 2_000, NULL),
    consumer("large", "scans of 100 KB", PUT, Load::Large(100_000), 2_000, NULL).floor("bare-large"),
    bare_loop(
        "bare-slow-1000",
        "bare PutItem loop, 50 ms store, 1,000 in flight",
        BareLoop { in_flight: InFlight::Total(1_000), ..PUTS },
        20_000,
        slow(50),
    ),
    consumer("slow-1000", "50 ms store, 1,000 outstanding", &["-m", "1000"], Load::New, 20_000, slow(50))
        .floor("bare-slow-1000"),
    bare_loop(
        "bare-slow-10000",
        "bare PutItem loop, 50 ms store, 1,024 in flight per thread",
        BareLoop { in_flight: InFlight::PerThread(1_024), ..PUTS },
        40_000,
        slow(50),
    ),
    // 10,000 per 50 ms are 200,000 per second, so the CPU is the limit, as without latency.
    consumer("slow-10000", "50 ms store, 10,000 outstanding", &["-m", "10000"], Load::New, 40_000, slow(50))
        .floor("bare-slow-10000")
        .compared_to("new"),
    bare_loop("bare-inserts", "bare batch loop of the SDK, 25 inserts per call", INSERTS, 200_000, REMEMBERS),
    consumer("batch-new", "batches: new scans", BATCH, Load::New, 200_000, REMEMBERS).floor("bare-inserts"),
    bare_loop("bare-updates", "bare batch loop of the SDK, 25 updates per call", UPDATES, 200_000, KNOWS_ALL),
    consumer("batch-known", "batches: newer scans of known keys", BATCH, Load::New, 200_000, KNOWS_ALL)
        .floor("bare-updates"),
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
    bare_loop(BARE_ENGINE, "bare PutItem loop, embedded engine", PUTS, 10_000, Table::Engine),
    consumer("engine", "new scans, embedded engine", PUT, Load::New, 10_000, Table::Engine).floor(BARE_ENGINE),
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

    const fn floor(self, name: &'static str) -> Scenario {
        Scenario { floor: Some(name), ..self }
    }

    const fn compared_to(self, name: &'static str) -> Scenario {
        Scenario { compared_to: Some(name), ..self }
    }

    /// Returns the row of the bare PutItem loop with the same table.
    pub(crate) fn baseline(&self) -> &'static str {
        match self.measure {
            Measure::Writes { table: Table::Engine, .. } | Measure::Drain { table: Table::Engine, .. } => BARE_ENGINE,
            _ => BARE,
        }
    }

    /// Returns whether this round measures it. Round 0, the warm-up, omits slow scenarios.
    pub(crate) fn is_in_round(&self, round: usize) -> bool {
        if round == 0 { self.rounds == usize::MAX } else { round <= self.rounds }
    }

    pub(crate) fn is_baseline(&self) -> bool {
        match self.measure {
            Measure::Drain { program, .. } => !matches!(program, Program::Consumer(_)),
            Measure::Writes { .. } => true,
            Measure::Known { .. } | Measure::Full { .. } | Measure::Start | Measure::Idle { .. } | Measure::Size => {
                false
            }
        }
    }

    /// Returns the size of the responses that it writes, in bytes.
    pub(crate) fn response_bytes(&self) -> usize {
        match self.measure {
            Measure::Drain { load, .. } => load.response_bytes(),
            Measure::Writes { bare_loop, .. } => bare_loop.response_bytes,
            _ => USUAL_RESPONSE,
        }
    }
}
