//! CPU time and memory of a process, as Linux counts them.

use anyhow::Context;

/// Resources that a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// The part of the CPU time spent in the kernel.
    pub(crate) system_seconds: f64,
    /// Peak resident set, in MB.
    pub(crate) peak_mb: f64,
    /// Current resident set, in MB.
    pub(crate) resident_mb: f64,
}

/// Returns the usage of a process, by its ID or `self`.
pub(crate) fn usage(process: &str) -> anyhow::Result<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let stat = read("stat")?;
    // proc(5): after the name in parentheses, utime and stime are the 12th and 13th field, in ticks of 10 ms.
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("/proc/…/stat has no process name")?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields[11].parse()?, fields[12].parse()?);
    let status = read("status")?;
    let megabytes = |name: &str| -> anyhow::Result<f64> {
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix(name)).context("/proc/…/status lacks a field")?;
        Ok(kilobytes.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok(Usage {
        cpu_seconds: (user + system) / 100.0,
        system_seconds: system / 100.0,
        peak_mb: megabytes("VmHWM:")?,
        resident_mb: megabytes("VmRSS:")?,
    })
}
