//! What decoding a large payload adds to the memory of a process, as the operating system says it.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

/// What `argument` and `name` make this program print, in a process of its own: its memory is its own.
pub(crate) fn of_child(argument: &str, name: &str) -> anyhow::Result<u64> {
    let output = Command::new(std::env::current_exe()?).args([argument, name]).output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    printed.trim().parse().with_context(|| format!("{name} printed {printed:?}"))
}

/// Bytes that are resident now, and at most so far.
pub(crate) fn resident() -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").context("this is measured on Linux only")?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        line.trim_end_matches("kB").trim().parse::<u64>().context("the kernel prints a number")
    };
    Ok((kilobytes("VmRSS:")? << 10, kilobytes("VmHWM:")? << 10))
}
