//! Measures event-pipeline beside bare loops of the same clients in the same run. `make bench-events` runs it.
//!
//! - Rate: the processor, and a bare loop of ReceiveMessage, PutItem and DeleteMessageBatch, empty a queue of the same events.
//! - Validation: the default schema beside parsing with `serde_json`.
//! - Latency: from sending to the receipt at an endpoint in an open loop, through the stream and with direct dispatch.

mod bare;
mod latency;
mod programs;
mod receiver;
#[path = "../pipeline/usage.rs"]
#[expect(dead_code, reason = "only the other benchmark uses all figures")]
mod usage;
mod validation;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use programs::Servers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
/// The events of a round.
const EVENTS: u32 = 20_000;
/// What the processor must reach of the bare loop.
const RATE_GOAL: f64 = 0.8;

/// What a program used to empty the queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sample {
    seconds: f64,
    cpu_seconds: f64,
}

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench` to every benchmark.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--program", program] => bench(&PathBuf::from(program), ROUNDS),
        ["--program", program, "--rounds", rounds] => bench(&PathBuf::from(program), rounds.parse()?),
        ["bare", sqs, dynamo] => {
            println!("{}", serde_json::to_string(&runtime()?.block_on(bare::run(sqs, dynamo))?)?);
            Ok(())
        }
        _ => anyhow::bail!("usage: make bench-events ROUNDS=3"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")
}

fn bench(program: &Path, rounds: usize) -> anyhow::Result<()> {
    ensure!(rounds > 0, "ROUNDS must be at least 1");
    rate(program, rounds)?;
    validation::report(rounds)?;
    for direct in [false, true] {
        runtime()?.block_on(latency::report(program, direct))?;
    }
    Ok(())
}

fn rate(program: &Path, rounds: usize) -> anyhow::Result<()> {
    let mut random = rand::rng();
    let (mut by_time, mut by_cpu, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let mut order = [false, true];
        order.shuffle(&mut random);
        let mut samples = [None; 2];
        for is_bare in order {
            let servers = Servers::start(program)?;
            servers.run(&["setup"])?;
            servers.run(&["send", "--generate", &EVENTS.to_string(), "--clients", "50", "--seed", "7"])?;
            let sample = if is_bare { servers.bare()? } else { servers.processor(EVENTS)? };
            samples[usize::from(is_bare)] = Some(sample);
        }
        let [Some(ours), Some(bare)] = samples else { anyhow::bail!("a program was not measured") };
        by_time.push(bare.seconds / ours.seconds);
        by_cpu.push(bare.cpu_seconds / ours.cpu_seconds);
        rates.push(f64::from(EVENTS) / ours.seconds);
        eprintln!("round {round}: processor {ours:?}, bare {bare:?}");
    }
    println!("Events per second, {EVENTS} of them on embedded servers:");
    println!("  the processor stored {}", spread(&mut rates, 0));
    println!("  beside the bare loop: {} (goal {RATE_GOAL})", spread(&mut by_time, 2));
    println!("  by CPU time: {}", spread(&mut by_cpu, 2));
    Ok(())
}

/// Shows the median, the lowest and the highest.
fn spread(values: &mut [f64], digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (median, last) = (values[values.len() / 2], values[values.len() - 1]);
    format!("{median:.digits$} ({:.digits$}–{last:.digits$})", values[0])
}
