//! A measured program in a process of its own, so that its CPU and memory are its own, as Linux counts them.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Killed when it is dropped.
pub(crate) struct Measured(Child);

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// Of these, in the kernel.
    pub(crate) system_seconds: f64,
    /// Largest resident set, MB.
    pub(crate) peak_mb: f64,
    /// Resident set now, MB.
    pub(crate) resident_mb: f64,
}

impl Measured {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Measured> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Measured(child.context("cannot start what is to be measured")?))
    }

    /// CPU and memory so far; an error if it ended.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.0.try_wait()? {
            bail!("what is measured ended: {status}");
        }
        usage(&self.0.id().to_string())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of a process by its id, or of `self`.
pub(crate) fn usage(process: &str) -> anyhow::Result<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let stat = read("stat")?;
    // proc(5): after the name in brackets, utime and stime are the 12th and 13th field, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields[11].parse()?, fields[12].parse()?);
    let status = read("status")?;
    let megabytes = |name: &str| -> anyhow::Result<f64> {
        let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)).context("a field is not in status")?;
        Ok(kilobytes.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok(Usage {
        cpu_seconds: (user + system) / 100.0,
        system_seconds: system / 100.0,
        peak_mb: megabytes("VmHWM:")?,
        resident_mb: megabytes("VmRSS:")?,
    })
}
