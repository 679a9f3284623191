//! Measures the whole consumer and its baselines in one run: `make bench`. It prints medians with their spread, as
//! ratios, because absolute times drift between machines and from hour to hour.
//!
//! `make bench SCENARIOS="new copies"` measures some scenarios, `make bench ROUNDS=1` one round, and `make bench
//! PROGRAM=… BASELINES=…` other builds. `make bench-compare` compares the last two runs. `make profile` counts
//! instructions and allocations. With the argument `documents`, the program writes the last complete run into the documents
//! again, e.g. after the picture's design has changed.

mod arguments;
mod bare_loop;
mod callgrind;
mod child;
mod costs;
mod document;
mod goals;
mod http;
mod load;
mod measure;
mod null_dynamo;
mod page;
mod picture;
mod profile;
mod record;
mod results;
mod scenario;
mod spread;
mod stage;
mod stored;
mod summary;
mod table;
mod usage;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use arguments::{executable, rounds};
use measure::{Sample, measure};
use profile::Consumer;
use results::Results;
use scenario::{ALL, BARE, Scenario, named};
use stage::Executables;

const ROUNDS: usize = 5;
/// The number of the round that is not counted.
const WARM_UP: usize = 0;
/// The Cargo profile of the shipped program and the baselines, and the name of their folder.
const SHIPPED: &str = "dist";

fn main() -> anyhow::Result<()> {
    let mut arguments = arguments::arguments();
    let program = executable(&mut arguments, "--program")?;
    let baselines = executable(&mut arguments, "--baselines")?;
    // By default, the program that Cargo built together with this one.
    let consumer = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_mini-scan").into());
    let rounds = rounds(&mut arguments, ROUNDS)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("compare") => compare(&arguments[1..]),
        Some("documents") => page::write(&stored::read(&directory().join("latest.json"))?),
        Some("profile") => runtime.block_on(profile::run(Consumer { file: &consumer, flags: &arguments[1..] })),
        Some("check") => runtime.block_on(profile::check(&consumer, arguments.get(1).map_or("", String::as_str))),
        _ => {
            let baselines = baselines.context("--baselines is missing; `make bench` builds and names them")?;
            runtime.block_on(bench(&Executables { consumer, baselines }, &arguments, rounds))
        }
    }
}

async fn bench(executables: &Executables, names: &[String], rounds: usize) -> anyhow::Result<()> {
    let (chosen, start) = (chosen(names)?, Instant::now());
    let is_shipped = |file: &Path| file.parent().is_some_and(|folder| folder.ends_with(SHIPPED));
    let is_complete = names.is_empty()
        && rounds >= ROUNDS
        && [&executables.consumer, &executables.baselines].iter().all(|file| is_shipped(file));
    if is_complete {
        page::check_marks()?;
    }
    // Slow scenarios open thousands of connections.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut random = SmallRng::from_os_rng();
    let mut samples = Vec::new();
    for number in WARM_UP..=rounds {
        let mut rows = chosen.clone();
        rows.retain(|scenario| scenario.is_in_round(number));
        rows.shuffle(&mut random);
        let mut round = BTreeMap::new();
        for scenario in rows {
            let sample =
                measure(scenario, executables).await.with_context(|| format!("cannot measure `{}`", scenario.name))?;
            print_sample(number, scenario, &sample);
            round.insert(scenario.name, sample);
        }
        if number > WARM_UP {
            samples.push(round);
        }
    }
    let mut results = Results::of_rounds(&samples, is_complete);
    if let Some(decoding) = decoding()? {
        results.add(goals::DECODE, decoding);
    }
    page::print(&results);
    println!("\nMedians of {rounds} shuffled rounds (lowest–highest), in {:.0} s.", start.elapsed().as_secs_f64());
    keep(&results)?;
    if is_complete {
        return page::write(&results);
    }
    println!("The documents were not changed: that needs a complete run with programs of profile {SHIPPED}.");
    Ok(())
}

/// Returns the figures that `cargo bench --bench decode -- keep` counted, if it ran.
fn decoding() -> anyhow::Result<Option<Sample>> {
    match std::fs::read(directory().join("decode.json")) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).context("cannot parse target/bench/decode.json")?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the named scenarios with the rows that their ratios need, or all scenarios.
fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if let Some(unknown) = names.iter().find(|name| named(name).is_none()) {
        let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        bail!("no scenario is named `{unknown}`; choose from: {}", known.join(", "));
    }
    let scenarios: Vec<&Scenario> = names.iter().filter_map(|name| named(name)).collect();
    let is_chosen = |row: &&Scenario| {
        let is_needed =
            |by: &&Scenario| [Some(by.name), Some(by.baseline()), by.floor, by.compared_to].contains(&Some(row.name));
        names.is_empty() || row.name == BARE || scenarios.iter().any(is_needed)
    };
    Ok(ALL.iter().filter(is_chosen).collect())
}

fn print_sample(round: usize, scenario: &Scenario, sample: &Sample) {
    let figures: Vec<String> = sample.iter().map(|(figure, value)| format!("{figure:?} {value:.2}")).collect();
    eprintln!("round {round}  {:<16} {}", scenario.name, figures.join("  "));
    let _ = io::stderr().flush();
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// Stores the results as the latest ones, and the latest ones as the previous ones.
fn keep(results: &Results) -> anyhow::Result<()> {
    let directory = directory();
    std::fs::create_dir_all(&directory)?;
    let latest = directory.join("latest.json");
    if latest.exists() {
        std::fs::rename(&latest, directory.join("previous.json"))?;
    }
    stored::write(&latest, &results)
}

fn compare(files: &[String]) -> anyhow::Result<()> {
    ensure!(files.len() <= 2, "compare takes at most two files: before and after");
    let file =
        |number: usize, default: &str| files.get(number).map_or_else(|| directory().join(default), PathBuf::from);
    let before: Results = stored::read(&file(0, "previous.json"))?;
    let after: Results = stored::read(&file(1, "latest.json"))?;
    print!("{}", table::comparison(&before, &after));
    Ok(())
}
