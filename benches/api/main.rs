//! Measures `GET /v1/hosts/{ip}` of the shipped program beside the SDK's bare Query and BatchGetItem of the same host, in
//! one run: `make bench-api`. It prints medians with their spread, as ratios, because absolute times drift between machines
//! and from hour to hour.
//!
//! With the argument `documents`, the program writes the last complete run into the document again.

#[path = "../pipeline/arguments.rs"]
mod arguments;
mod bare_read;
#[path = "../pipeline/document.rs"]
mod document;
#[path = "../pipeline/http.rs"]
#[allow(dead_code, reason = "only the other benchmark searches in messages")]
mod http;
mod load;
mod page;
mod program;
#[path = "../pipeline/record.rs"]
#[allow(dead_code, reason = "only the other benchmark writes")]
mod record;
mod results;
#[path = "../pipeline/spread.rs"]
mod spread;
#[path = "../pipeline/stored.rs"]
mod stored;
mod table;
#[path = "../pipeline/usage.rs"]
#[allow(dead_code, reason = "only the other benchmark measures memory")]
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::process::Command;
use tokio::time::Instant;

use arguments::{executable, rounds};
use bare_read::BareRead;
use load::{Figures, Load, Pace, measure};
use program::Api;
use results::{Loop, Results, Round, Side};
use table::{HOSTS, Table, address};

const ROUNDS: usize = 5;
/// The Cargo profile of the shipped program and the baselines, and the name of their folder.
const SHIPPED: &str = "dist";
/// Connections to the API, and concurrent bare reads.
const WORKERS: usize = 32;
/// The rate of the open loop, relative to the API's rate in the closed loop of the warm-up.
const OPEN_SHARE: f64 = 0.5;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let mut arguments = arguments::arguments();
    let program = executable(&mut arguments, "--program")?;
    let baselines = executable(&mut arguments, "--baselines")?;
    let rounds = rounds(&mut arguments, ROUNDS)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["table"] => runtime.block_on(table::run()),
        ["documents"] => page::write(&stored::read(&file("api.json"))?),
        [] => {
            let program = program.context("--program is missing; `make bench-api` builds and names it")?;
            let baselines = baselines.context("--baselines is missing; `make bench-api` builds and names them")?;
            runtime.block_on(bench(program, baselines, rounds))
        }
        _ => Err(anyhow::anyhow!("unexpected arguments {arguments:?}")),
    }
}

async fn bench(program: PathBuf, baselines: PathBuf, rounds: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    let is_shipped = |file: &Path| file.parent().is_some_and(|folder| folder.ends_with(SHIPPED));
    let is_complete = rounds >= ROUNDS && is_shipped(&program) && is_shipped(&baselines);
    if is_complete {
        page::check_marks()?;
    }
    let stage = Stage { table: Table::start()?, program, baselines };
    let results = Results::of(&stage.rounds(rounds).await?, is_complete);
    page::print(&results);
    println!("Medians of {rounds} shuffled rounds (lowest–highest), in {:.0} s.", start.elapsed().as_secs_f64());
    keep(&results)?;
    if is_complete {
        return page::write(&results);
    }
    println!("The document was not changed: that needs {ROUNDS} rounds with programs of profile {SHIPPED}.");
    Ok(())
}

/// Stores the results as the latest ones, and the latest ones as the previous ones.
fn keep(results: &Results) -> anyhow::Result<()> {
    let latest = file("api.json");
    std::fs::create_dir_all(file(""))?;
    if latest.exists() {
        std::fs::rename(&latest, file("api-previous.json"))?;
    }
    stored::write(&latest, &results)
}

fn file(name: &str) -> PathBuf {
    document::root().join("target/bench").join(name)
}

/// The environment of every measurement.
struct Stage {
    table: Table,
    program: PathBuf,
    baselines: PathBuf,
}

impl Stage {
    /// Measures every host in every round, in random order. The warm-up finds the rates of the open loops.
    async fn rounds(&self, rounds: usize) -> anyhow::Result<BTreeMap<u8, Vec<Round>>> {
        let mut random = SmallRng::from_os_rng();
        let mut paces: BTreeMap<(u8, Loop), Pace> = BTreeMap::new();
        for services in HOSTS {
            self.measure(Side::Bare, services, Pace::Closed).await?;
            let Figures { per_second, .. } = self.measure(Side::Api, services, Pace::Closed).await?;
            paces.insert((services, Loop::Closed), Pace::Closed);
            paces.insert((services, Loop::Open), Pace::Open { per_second: OPEN_SHARE * per_second });
        }
        let mut all: BTreeMap<u8, Vec<Round>> = BTreeMap::new();
        for number in 1..=rounds {
            let mut rows: Vec<_> = paces.iter().flat_map(|row| [(Side::Api, row), (Side::Bare, row)]).collect();
            rows.shuffle(&mut random);
            HOSTS.iter().for_each(|services| all.entry(*services).or_default().push(Round::new()));
            for (side, ((services, pace), rate)) in rows {
                let figures = self.measure(side, *services, *rate).await;
                let figures =
                    figures.with_context(|| format!("cannot measure {side:?}, {services} services, {rate:?}"))?;
                eprintln!("round {number}  {side:?} {services:>2} services  {pace:?}  {figures:.1?}");
                all.entry(*services).or_default()[number - 1].insert((side, *pace), figures);
            }
        }
        Ok(all)
    }

    /// Measures reads of the host with this many services once, in a new process.
    async fn measure(&self, side: Side, services: u8, pace: Pace) -> anyhow::Result<Figures> {
        let load = Load { pace, warm_up: WARM_UP, lasts: MEASURED };
        match side {
            Side::Api => {
                let api = Api::start(&self.program, &self.table.endpoint)?;
                let mut clients = Vec::with_capacity(WORKERS);
                for _ in 0..WORKERS {
                    clients.push(api.connect(address(services), services.into()).await?);
                }
                measure(load, &api.process(), clients).await
            }
            Side::Bare => {
                let ip = address(services).to_string();
                let bare_read = BareRead { ip, services: services.into(), workers: WORKERS, load };
                let mut command = Command::new(&self.baselines);
                command.args(["reads", &self.table.endpoint, &serde_json::to_string(&bare_read)?]).kill_on_drop(true);
                let output = command.output().await.context("cannot start the bare reads")?;
                let errors = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "the bare reads failed: {errors}");
                Ok(serde_json::from_slice(&output.stdout)?)
            }
        }
    }
}
