//! Runs this program under callgrind and parses the counts.

use std::collections::HashSet;
use std::hint::black_box;
use std::process::Command;

use anyhow::{Context, ensure};

/// Runs work that callgrind counts. Callgrind zeroes its counter before each call of this function and dumps it after.
#[inline(never)]
pub(crate) fn measured(work: &mut dyn FnMut()) {
    work();
    // A call in tail position would be a jump, and callgrind would not see this function return.
    black_box(0_u8);
}

const MEASURED: &str = "decode::callgrind::measured";

/// The counts of one call of [`measured`].
#[derive(Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

/// Returns the counts of each call of [`measured`], in order, when this program runs with `argument`.
pub(crate) fn count(argument: &str) -> anyhow::Result<Vec<Count>> {
    let directory = tempfile::tempdir()?;
    let counts = directory.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--combine-dumps=yes", "--dump-line=no"])
        .args([format!("--zero-before={MEASURED}"), format!("--dump-after={MEASURED}")])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .arg(argument)
        .output()
        .context("cannot run valgrind")?;
    ensure!(output.status.success(), "valgrind failed: {}", String::from_utf8_lossy(&output.stderr));
    parse(&std::fs::read_to_string(&counts)?)
}

// <https://valgrind.org/docs/manual/cl-format.html>: `fn=` names a function and `cfn=` a callee. After its first use in
// either, a name is only a number. The `calls=` after a `cfn=` is the number of calls.
fn parse(dumps: &str) -> anyhow::Result<Vec<Count>> {
    let mut counts = Vec::new();
    let mut count = Count::default();
    let mut wanted = false;
    let mut allocators = HashSet::new();
    let mut called = "";
    for line in dumps.lines() {
        let (name, value) = line.split_once(['=', ':']).unwrap_or_default();
        match name {
            "desc" if value.contains("--dump-after") => wanted = true,
            "fn" | "cfn" => {
                let (number, function) = value.split_once(' ').unwrap_or((value, ""));
                if ["malloc", "calloc", "realloc"].contains(&function) {
                    allocators.insert(number);
                }
                if name == "cfn" {
                    called = number;
                }
            }
            "calls" if allocators.contains(called) => {
                count.allocations += value.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
            "totals" => {
                count.instructions = value.trim().parse()?;
                counts.extend(wanted.then_some(count));
                (count, wanted) = (Count::default(), false);
            }
            _ => {}
        }
    }
    Ok(counts)
}
