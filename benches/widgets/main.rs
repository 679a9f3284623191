//! Measures widget-registry beside a bare loop of the same transaction in the same run. `make bench-widgets` runs it.
//!
//! - Rate: connects through the API, and a bare loop of TransactWriteItems, each on its own embedded store.
//! - Latency: connects through the API in an open loop at half of its rate.
//! - Capacity, with `--fill SECONDS`: as many widgets as the API creates in this time, some operations, and the audit.

mod bare;
mod capacity;
#[path = "../pipeline/http.rs"]
#[allow(dead_code, reason = "only the other benchmark searches in messages")]
mod http;
#[path = "../api/load.rs"]
mod load;
mod program;
#[path = "../pipeline/spread.rs"]
mod spread;
mod store;
#[path = "../pipeline/usage.rs"]
#[allow(dead_code, reason = "only the other benchmark uses all figures")]
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::seq::SliceRandom;

use load::{Figures, Load, Pace};
use program::Api;
use spread::{Spread, cell};
use store::Store;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
/// Connections to the API, and concurrent bare transactions.
const WORKERS: usize = 32;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// The rate of the open loop, relative to the closed one.
const OPEN_SHARE: f64 = 0.5;
/// What the API must reach of the bare loop.
const GOAL: f64 = 0.8;

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench` to every benchmark.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["store"] => runtime.block_on(store::run()),
        ["bare", store, load] => {
            let figures = runtime.block_on(bare::measure(store, serde_json::from_str(load)?))?;
            println!("{}", serde_json::to_string(&figures)?);
            Ok(())
        }
        ["--program", program] => runtime.block_on(bench(Path::new(program), ROUNDS)),
        ["--program", program, "--rounds", rounds] => runtime.block_on(bench(Path::new(program), rounds.parse()?)),
        ["--program", program, "--fill", seconds] => {
            let lasts = Duration::from_secs(seconds.parse()?);
            runtime.block_on(capacity::report(&PathBuf::from(program), lasts))
        }
        _ => anyhow::bail!("usage: make bench-widgets ROUNDS=3, or make bench-widgets FILL=600"),
    }
}

/// A name, its figure of a round, and the digits after the point.
type Row = (&'static str, fn(&Round) -> f64, usize);

/// What one round measured.
struct Round {
    api: Figures,
    bare: Figures,
    open: Figures,
}

async fn bench(program: &Path, rounds: usize) -> anyhow::Result<()> {
    ensure!(rounds > 0, "ROUNDS must be at least 1");
    let mut measured = Vec::new();
    for number in 1..=rounds {
        let round = round(program).await?;
        eprintln!("round {number}  API {:.2?}  bare {:.2?}  open loop {:.2?}", round.api, round.bare, round.open);
        measured.push(round);
    }
    print(&measured)
}

/// Measures both sides in random order, each on a new store.
async fn round(program: &Path) -> anyhow::Result<Round> {
    let load = Load { pace: Pace::Closed, warm_up: WARM_UP, lasts: MEASURED };
    let mut order = [false, true];
    order.shuffle(&mut rand::rng());
    let (mut api, mut bare) = (None, None);
    for is_bare in order {
        match is_bare {
            true => bare = Some(measure_bare(program, load).await?),
            false => api = Some(measure_api(program, load).await?),
        }
    }
    let (api, bare) = (api.context("the API was not measured")?, bare.context("the bare loop was not measured")?);
    let pace = Pace::Open { per_second: OPEN_SHARE * api.per_second };
    let open = measure_api(program, Load { pace, ..load }).await?;
    Ok(Round { api, bare, open })
}

async fn measure_api(program: &Path, load: Load) -> anyhow::Result<Figures> {
    let store = Store::filled(program).await?;
    let api = Api::start(program, &store.url).await?;
    let pairs = store::Pairs::new();
    let mut readers = Vec::new();
    for _ in 0..WORKERS {
        readers.push(api.connect(pairs.clone()).await?);
    }
    load::measure(load, &api.process(), readers).await
}

/// Measures the bare loop in a process of its own, because Linux counts CPU time by process.
async fn measure_bare(program: &Path, load: Load) -> anyhow::Result<Figures> {
    let store = Store::filled(program).await?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", &store.url, &serde_json::to_string(&load)?]).stderr(Stdio::inherit());
    let output = command.output()?;
    ensure!(output.status.success(), "the bare loop failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the bare loop printed no figures")
}

fn print(rounds: &[Round]) -> anyhow::Result<()> {
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect()).context("there is no round");
    let rows: [Row; 9] = [
        ("connects/s × bare", |round| round.api.per_second / round.bare.per_second, 2),
        ("connects per CPU second × bare", |round| round.bare.cpu_microseconds / round.api.cpu_microseconds, 2),
        ("connects/s", |round| round.api.per_second, 0),
        ("bare connects/s", |round| round.bare.per_second, 0),
        ("CPU µs", |round| round.api.cpu_microseconds, 0),
        ("bare CPU µs", |round| round.bare.cpu_microseconds, 0),
        ("open loop, connects/s", |round| round.open.per_second, 0),
        ("open loop, p50 ms", |round| round.open.p50_ms, 2),
        ("open loop, p99 ms", |round| round.open.p99_ms, 2),
    ];
    println!("| Connects through the API | median (lowest–highest) |\n|---|---|");
    for (name, of, digits) in rows {
        println!("| {name} | {} |", cell(spread(of)?, digits));
    }
    let count = rounds.len();
    println!(
        "\nGoal: {GOAL} × bare. {count} shuffled rounds; the store and the generator of requests share the cores."
    );
    Ok(())
}
