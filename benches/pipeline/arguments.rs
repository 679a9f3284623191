//! The options of a benchmark.

use std::path::PathBuf;

use anyhow::{Context, ensure};

/// Returns the arguments. Cargo passes `--bench` to every benchmark.
pub(crate) fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| argument != "--bench").collect()
}

/// Removes the option of an executable from the arguments, and returns its path.
pub(crate) fn executable(arguments: &mut Vec<String>, name: &str) -> anyhow::Result<Option<PathBuf>> {
    let named = option(arguments, name)?;
    named.map(|file| std::fs::canonicalize(&file).with_context(|| format!("cannot find {file}"))).transpose()
}

/// Removes the number of rounds from the arguments, and returns it.
pub(crate) fn rounds(arguments: &mut Vec<String>, default: usize) -> anyhow::Result<usize> {
    let rounds = option(arguments, "--rounds")?.map_or(Ok(default), |rounds| rounds.parse())?;
    ensure!(rounds > 0, "--rounds must be at least 1");
    Ok(rounds)
}

/// Removes an option and its value from the arguments, and returns the value.
fn option(arguments: &mut Vec<String>, name: &str) -> anyhow::Result<Option<String>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    ensure!(arguments.len() > at + 1, "{name} needs a value");
    Ok(arguments.drain(at..at + 2).nth(1))
}
