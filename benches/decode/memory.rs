//! Measures the memory that decoding a large payload adds to a process, as the operating system reports it.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

/// Runs this program with `argument` and `name` in a separate process, so that its memory is separate, and returns the
/// number that it prints.
pub(crate) fn of_child(argument: &str, name: &str) -> anyhow::Result<u64> {
    let output = Command::new(std::env::current_exe()?).args([argument, name]).output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    printed.trim().parse().with_context(|| format!("{name} printed {printed:?}"))
}

/// Returns the current and the peak resident memory, in bytes.
pub(crate) fn resident() -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").context("memory can be measured on Linux only")?;
    let kilobytes = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| format!("/proc/self/status has no {name}"))?;
        line.trim_end_matches("kB").trim().parse::<u64>().context("cannot parse a number in /proc/self/status")
    };
    Ok((kilobytes("VmRSS:")? << 10, kilobytes("VmHWM:")? << 10))
}
