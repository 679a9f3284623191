//! Measures the delivery of webhooks: `make bench-webhooks`. The engine delivers beside a bare loop of the same client that
//! signs and posts, over HTTP and TLS. Then a tenth of 1,000 endpoints hangs. At the end, changes of a table arrive at a
//! receiver. Each measured program runs alone in a process of its own with one thread, and so does the receiver.

#[path = "../pipeline/arguments.rs"]
mod arguments;
mod bare;
mod deliveries;
#[path = "../pipeline/document.rs"]
mod document;
mod end_to_end;
mod engine;
mod hanging;
mod load;
mod page;
mod receiver;
mod results;
#[path = "../pipeline/spread.rs"]
mod spread;
#[path = "../pipeline/usage.rs"]
#[allow(dead_code, reason = "only the other benchmarks use all figures")]
mod usage;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rand::seq::SliceRandom;
use serde::Serialize;
use serde::de::DeserializeOwned;

use load::{Figures, Load, Protocol};
use receiver::Receiver;
use results::{Hanging, Results, Round};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
/// Each endpoint has a connection per concurrent delivery.
const OPEN_FILES: u64 = 16_384;

fn main() -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(OPEN_FILES)?;
    let mut arguments = arguments::arguments();
    let program = arguments::executable(&mut arguments, "--program")?;
    let rounds = arguments::rounds(&mut arguments, ROUNDS)?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bench(program.as_deref(), rounds),
        ["end-to-end"] => print_latency(&program.context("--program is missing")?),
        ["receiver", protocol] => run(receiver::run(serde_json::from_str(protocol)?)),
        ["bare", load] => print(run(bare::run(serde_json::from_str(load)?))?),
        ["engine", load] => print(run(engine::run(serde_json::from_str(load)?))?),
        ["hanging", load] => print(run(hanging::run(serde_json::from_str(load)?))?),
        _ => anyhow::bail!("usage: make bench-webhooks ROUNDS=5"),
    }
}

fn print_latency(program: &Path) -> anyhow::Result<()> {
    println!("{:.1?}", run(end_to_end::measure(program))?);
    Ok(())
}

/// Runs a program on one thread.
fn run<T>(program: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}

fn print(figures: impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// Runs a program in a process of its own, because Linux counts CPU time by process.
fn measure<T: DeserializeOwned>(program: &str, load: &impl Serialize) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([program, &serde_json::to_string(load)?]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the program {program} failed: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("the program {program} printed no figures"))
}

fn bench(program: Option<&Path>, rounds: usize) -> anyhow::Result<()> {
    let is_complete = rounds >= ROUNDS && program.is_some() && !cfg!(debug_assertions);
    if is_complete {
        page::check_marks()?;
    }
    let mut results = Results::default();
    compare(&mut results, rounds)?;
    for round in 1..=rounds {
        let measured: Hanging = hanging::measure(round)?;
        eprintln!("round {round}  {measured:.3?}");
        results.hanging.push(measured);
    }
    if let Some(program) = program {
        for round in 1..=rounds {
            let measured = run(end_to_end::measure(program))?;
            eprintln!("round {round}  {measured:.1?}");
            results.end_to_end.push(measured);
        }
    }
    page::print(&results);
    if is_complete {
        return page::write(&results);
    }
    println!("The document was not changed: that needs a program and {ROUNDS} rounds with profile release.");
    Ok(())
}

/// Measures the engine beside the bare loop.
fn compare(results: &mut Results, rounds: usize) -> anyhow::Result<()> {
    let mut random = rand::rng();
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let mut protocols = [Protocol::Http, Protocol::Tls];
        protocols.shuffle(&mut random);
        for protocol in protocols {
            let receiver = Receiver::start(protocol)?;
            let load = Load::of(&receiver);
            let mut programs = ["bare", "engine"];
            programs.shuffle(&mut random);
            let mut figures = [None; 2];
            for program in programs {
                figures[usize::from(program == "engine")] = Some(measure::<Figures>(program, &load)?);
            }
            let [Some(bare), Some(engine)] = figures else { unreachable!("both programs ran") };
            eprintln!("round {round}  {protocol:?}  bare {bare:.1?}  engine {engine:.1?}");
            if round > 0 {
                results.rounds.entry(protocol).or_default().push(Round { bare, engine });
            }
        }
    }
    Ok(())
}
