//! The whole consumer beside its floors, in one run: `make bench`. Prints medians with their spread as ratios, because
//! absolute times drift from machine to machine and from hour to hour.
//!
//! `make bench SCENARIOS="new copies"` measures some, `make bench PROGRAM=…` another build of the consumer, `make
//! bench-compare` compares the last run with the one before, `make profile` counts instructions.

mod callgrind;
mod child;
mod floor;
mod load;
mod measure;
mod null_dynamo;
mod picture;
mod profile;
mod results;
mod scenario;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use measure::{Sample, measure};
use results::Results;
use scenario::{ALL, BARE, Scenario};

const ROUNDS: usize = 5;
/// What stands between these in docs/performance.md is the table of the last whole run.
const MARKS: [&str; 2] = ["<!-- make bench -->\n", "<!-- end -->\n"];

fn main() -> anyhow::Result<()> {
    // Cargo says `--bench` to whatever it benches.
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "floor") {
        return floor::run(&arguments[1..]);
    }
    let consumer = program(&mut arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("compare") => compare(&arguments[1..]),
        Some("profile") => runtime.block_on(profile::run(&consumer)),
        _ => runtime.block_on(bench(&consumer, &arguments)),
    }
}

/// The consumer that was built beside this, or another build of it.
fn program(arguments: &mut Vec<String>) -> anyhow::Result<PathBuf> {
    let Some(flag) = arguments.iter().position(|argument| argument == "--program") else {
        return Ok(env!("CARGO_BIN_EXE_mini-scan").into());
    };
    ensure!(arguments.len() > flag + 1, "--program needs the file of a consumer");
    let named = arguments.drain(flag..flag + 2).nth(1).unwrap_or_default();
    std::fs::canonicalize(&named).with_context(|| format!("no program {named}"))
}

async fn bench(consumer: &Path, names: &[String]) -> anyhow::Result<()> {
    let chosen = chosen(names)?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let mut round = BTreeMap::new();
        for scenario in &chosen {
            let sample =
                measure(scenario, consumer).await.with_context(|| format!("cannot measure `{}`", scenario.name))?;
            say(number, scenario, &sample);
            round.insert(scenario.name, sample);
        }
        rounds.push(round);
    }
    let results = Results::of(&rounds);
    let table = table::table(&results);
    println!("\n{table}\nMedians of {ROUNDS} interleaved rounds (lowest–highest).");
    keep(&results)?;
    if names.is_empty() { show(&results, &table) } else { Ok(()) }
}

/// The scenarios of these names with their floor, or all that are not on demand.
fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|scenario| scenario.name == **name)) {
        let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        bail!("no scenario is named `{unknown}`; there are: {}", known.join(", "));
    }
    let is_named = |name: &str| names.iter().any(|named| named == name);
    let is_floor_of_named = |name: &str| ALL.iter().any(|other| is_named(other.name) && other.floor() == name);
    let is_chosen = |scenario: &&Scenario| match names.is_empty() {
        true => !scenario.on_demand,
        false => is_named(scenario.name) || is_floor_of_named(scenario.name) || scenario.name == BARE,
    };
    Ok(ALL.iter().filter(is_chosen).collect())
}

fn say(round: usize, scenario: &Scenario, sample: &Sample) {
    let figures: Vec<String> = sample.iter().map(|(figure, value)| format!("{figure:?} {value:.2}")).collect();
    eprintln!("round {round}  {:<16} {}", scenario.name, figures.join("  "));
    let _ = io::stderr().flush();
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// The results become the latest, and the latest the previous.
fn keep(results: &Results) -> anyhow::Result<()> {
    let directory = directory();
    std::fs::create_dir_all(&directory)?;
    let latest = directory.join("latest.json");
    if latest.exists() {
        std::fs::rename(&latest, directory.join("previous.json"))?;
    }
    results.write(&latest)
}

/// Puts the table and the picture of a whole run into the documents.
fn show(results: &Results, table: &str) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    std::fs::write(docs.join("performance.svg"), picture::picture(results))?;
    let page = docs.join("performance.md");
    let text = std::fs::read_to_string(&page)?;
    let [start, end] = MARKS;
    let (before, rest) = text.split_once(start).context("docs/performance.md has no place for the table")?;
    let (_, after) = rest.split_once(end).context("docs/performance.md has no end of the table")?;
    Ok(std::fs::write(page, format!("{before}{start}\n{table}\n{end}{after}"))?)
}

fn compare(files: &[String]) -> anyhow::Result<()> {
    ensure!(files.len() <= 2, "compare takes two files at most: what was before, and after");
    let file = |number: usize, usual: &str| files.get(number).map_or_else(|| directory().join(usual), PathBuf::from);
    let before = Results::read(&file(0, "previous.json"))?;
    let after = Results::read(&file(1, "latest.json"))?;
    print!("{}", table::comparison(&before, &after));
    Ok(())
}
