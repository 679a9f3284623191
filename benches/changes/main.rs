//! Measures what leases, lineage and contiguous checkpoints cost: records per CPU-second of the reader of streams, beside
//! a bare loop of GetRecords on the same shards in the same run. `make bench-changes` runs it.
//!
//! `make bench-changes DYNAMODB=http://127.0.0.1:8000` reads three tables of that server instead.
//!
//! Each program runs alone in a process of its own with one thread. This process serves the stream and the leases.

mod programs;
mod server;
mod three_tables;
#[path = "../pipeline/usage.rs"]
#[expect(dead_code, reason = "only the other benchmark uses all figures")]
mod usage;

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
/// What the reader must reach of the bare loop.
const GOAL: f64 = 0.8;

/// What both programs read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Load {
    shards: usize,
    /// The pages of each shard, with 1,000 records of 1 kB each.
    pages: usize,
}

impl Load {
    fn records(self) -> usize {
        self.shards * self.pages * server::PAGE_RECORDS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Bare,
    Reader,
}

/// What a program prints at its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sample {
    records: usize,
    cpu_seconds: f64,
    peak_mb: f64,
}

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench` to every benchmark.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bench(ROUNDS, Load { shards: 4, pages: 100 }),
        ["--rounds", rounds] => bench(rounds.parse()?, Load { shards: 4, pages: 100 }),
        ["--dynamodb", endpoint] => programs::run(three_tables::run(endpoint)),
        ["bare", streams, _] => print(programs::run(programs::bare(streams))?),
        ["reader", streams, leases] => print(programs::run(programs::reader(streams, leases))?),
        _ => anyhow::bail!("usage: make bench-changes ROUNDS=7, or make bench-changes DYNAMODB=http://127.0.0.1:8000"),
    }
}

fn print(sample: Sample) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

fn bench(rounds: usize, load: Load) -> anyhow::Result<()> {
    ensure!(rounds > 0, "ROUNDS must be at least 1");
    let server = server::start(load)?;
    let mut random = rand::rng();
    let mut ratios = Vec::new();
    let (mut rates, mut peaks) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let mut order = [Program::Bare, Program::Reader];
        order.shuffle(&mut random);
        let mut measured = [0.0; 2];
        for program in order {
            let sample = measure(program, &server)?;
            ensure!(sample.records == load.records(), "{program:?} read {} records", sample.records);
            measured[program as usize] = sample.records as f64 / sample.cpu_seconds;
            peaks[program as usize].push(sample.peak_mb);
        }
        let [bare, reader] = measured;
        eprintln!("round {round}  bare {bare:.0}  reader {reader:.0}  ratio {:.3}", reader / bare);
        if round > 0 {
            ratios.push(reader / bare);
            rates[0].push(bare);
            rates[1].push(reader);
        }
    }
    report(load, &mut rates, &mut peaks, &mut ratios);
    Ok(())
}

/// Runs a program in a process of its own, because Linux counts CPU time by process.
fn measure(program: Program, server: &server::Server) -> anyhow::Result<Sample> {
    let name = if program == Program::Bare { "bare" } else { "reader" };
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([name, &server.streams, &server.leases]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the program {name} failed: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("the program {name} printed no sample"))
}

fn report(load: Load, rates: &mut [Vec<f64>; 2], peaks: &mut [Vec<f64>; 2], ratios: &mut [f64]) {
    println!("Records per CPU-second, {} records of 1 kB in {} shards, one thread:", load.records(), load.shards);
    for (name, (rates, peaks)) in
        ["a bare loop of GetRecords", "the reader"].into_iter().zip(rates.iter_mut().zip(peaks))
    {
        let ([lowest, median, highest], [_, _, peak]) = (spread(rates), spread(peaks));
        println!("  {name:<26} {median:>9.0} ({lowest:.0}–{highest:.0}), at most {peak:.0} MB of memory");
    }
    let [lowest, median, highest] = spread(ratios);
    let result = if median >= GOAL { "met" } else { "missed" };
    println!(
        "  ratio {median:.3} ({lowest:.3}–{highest:.3}) of {} shuffled rounds; goal ≥ {GOAL}: {result}",
        ratios.len()
    );
}

/// Returns the lowest, the median and the highest value.
fn spread(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}
