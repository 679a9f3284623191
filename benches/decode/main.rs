//! Measures the cost of decoding in instructions that callgrind counts. It decodes ordinary scans and compares them with
//! the baseline. It also decodes payloads that are made to cost more than their size, at n, 2 n and 4 n bytes, and
//! measures the memory of the largest payload of each kind. Exits with 1 if a cost exceeds its limit.
//!
//! The decoder is compiled into this program, so that `make check-decode` optimizes it without building the library's
//! clients. It builds the dependencies as for the tests, and the limits of ordinary scans apply to that build. `cargo
//! bench --bench decode` builds everything as for production, and prints these costs without checking them.

mod baseline;
mod callgrind;
mod memory;
mod shapes;

#[path = "../../src"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "only one function of the library's sources is measured")]
mod source {
    pub(crate) mod scan;
}

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use callgrind::Count;
use shapes::{SCANS, Scan, Shape, shapes};

const REPEATS: u64 = 100;
/// One part in this many above the recorded cost is allowed.
const TOLERANCE: u64 = 20;
/// The compiler that the costs in [`SCANS`] were recorded with: another one changes them by as much as the tolerance.
/// After an upgrade or an optimization, record the values that `make check-decode` prints.
const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// The sizes of each kind of payload, in bytes.
const SIZES: [usize; 3] = [32 << 10, 64 << 10, 128 << 10];
/// The maximum growth of the cost when the size doubles.
const MAX_GROWTH: f64 = 2.2;

/// The largest message that Pub/Sub accepts.
const LARGEST: usize = 10_000_000;
/// The maximum memory of decoding it, relative to the payload.
const MAX_MEMORY: f64 = 4.0;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => report(None),
        ["check", compiler] => report(Some(compiler)),
        ["keep"] => keep(),
        ["counted"] => Ok(counted()),
        ["memory", name] => print_memory(name),
        _ => bail!(
            "unexpected arguments {arguments:?}: use `check <compiler>` to also check ordinary scans, or `keep` for `make bench`"
        ),
    }
}

/// Prints all costs. Checks ordinary scans only if `compiler` is the recorded one.
fn report(compiler: Option<&str>) -> anyhow::Result<ExitCode> {
    let counts = callgrind::count("counted")?;
    let (scans, larges) = counts.split_at_checked(2 * SCANS.len()).context("callgrind reported too few counts")?;
    let checked = compiler == Some(COMPILER);
    println!("{:45} {:>12} {:>8} {:>10} {:>12}", "scan", "instructions", "recorded", "x baseline", "allocations");
    let mut within = true;
    for (scan, counted) in SCANS.iter().zip(scans.chunks_exact(2)) {
        within &= report_scan(scan, counted[0], counted[1]) || !checked;
    }
    if let Some(other) = compiler.filter(|_| !checked) {
        println!("NOT CHECKED: the costs were recorded with {COMPILER}, and this is {other}");
    }
    let sizes = SIZES.map(|size| format!("at {} KB", size >> 10));
    println!(
        "\n{:45} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "instructions per byte", sizes[0], sizes[1], sizes[2], "growth", "memory"
    );
    for (shape, counted) in shapes().iter().zip(larges.chunks_exact(SIZES.len())) {
        within &= report_shape(shape, counted)?;
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Stores the highest cost of any ordinary scan for `make bench`.
fn keep() -> anyhow::Result<ExitCode> {
    let counts = callgrind::count("counted")?;
    let scans = || SCANS.iter().zip(counts.chunks_exact(2));
    let ratio = |version: &str| {
        let pairs = scans().filter(|(scan, _)| scan.name.starts_with(version));
        pairs.map(|(_, pair)| pair[0].instructions as f64 / pair[1].instructions as f64).fold(0.0, f64::max)
    };
    let allocations = scans().map(|(_, pair)| pair[0].allocations / REPEATS).max().unwrap_or_default();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");
    std::fs::create_dir_all(directory)?;
    let (base64, text) = (ratio("version 1"), ratio("version 2"));
    let figures =
        format!(r#"{{"decode_text_ratio":{text},"decode_base64_ratio":{base64},"decode_allocations":{allocations}}}"#);
    std::fs::write(format!("{directory}/decode.json"), figures)?;
    Ok(ExitCode::SUCCESS)
}

fn report_scan(scan: &Scan, decoded: Count, baseline: Count) -> bool {
    let instructions = decoded.instructions / REPEATS;
    let allocations = decoded.allocations / REPEATS;
    let ratio = decoded.instructions as f64 / baseline.instructions as f64;
    let within = instructions <= scan.instructions + scan.instructions / TOLERANCE && allocations <= scan.allocations;
    let result = if within { "" } else { "  TOO MUCH" };
    println!("{:45} {instructions:>12} {:>8} {ratio:>10.2} {allocations:>12}{result}", scan.name, scan.instructions);
    within
}

fn report_shape(shape: &Shape, counted: &[Count]) -> anyhow::Result<bool> {
    print!("{:45}", shape.name);
    for (count, size) in counted.iter().zip(SIZES) {
        print!(" {:>8.2}", count.instructions as f64 / size as f64);
    }
    let growths = counted.windows(2).map(|pair| pair[1].instructions as f64 / pair[0].instructions as f64);
    let growth = growths.fold(0.0, f64::max);
    if growth > MAX_GROWTH {
        println!(" {growth:>7.2}          TOO MUCH");
        return Ok(false);
    }
    let memory = memory::of_child("memory", shape.name)? as f64 / LARGEST as f64;
    let within = memory <= MAX_MEMORY;
    println!(" {growth:>7.2} {memory:>7.2}{}", if within { "" } else { "  TOO MUCH" });
    Ok(within)
}

/// Does the work that callgrind counts.
fn counted() -> ExitCode {
    for Scan { payload, .. } in SCANS {
        // The first call includes the allocator's start.
        decode(payload.as_bytes());
        callgrind::measured(&mut || (0..REPEATS).for_each(|_| decode(payload.as_bytes())));
        callgrind::measured(&mut || (0..REPEATS).for_each(|_| baseline::parse(payload)));
    }
    for shape in shapes() {
        for size in SIZES {
            let payload = shape.payload(size);
            callgrind::measured(&mut || decode(&payload));
        }
    }
    ExitCode::SUCCESS
}

/// Prints the memory that one payload of the largest size adds to this process.
fn print_memory(name: &str) -> anyhow::Result<ExitCode> {
    let shape = shapes().into_iter().find(|shape| shape.name == name).context("unknown shape")?;
    let payload = shape.payload(LARGEST);
    let (before, _) = memory::resident()?;
    decode(&payload);
    let (_, most) = memory::resident()?;
    println!("{}", most.saturating_sub(before));
    Ok(ExitCode::SUCCESS)
}

fn decode(payload: &[u8]) {
    let publish_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_298_125);
    let decoded = source::scan::decode(black_box(payload), publish_time, Duration::from_secs(24 * 60 * 60));
    let _ = black_box(decoded);
}
