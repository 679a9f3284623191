//! Metrics of the operating system's process, under the names that Prometheus recommends. Outside Linux most are missing.
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fs;
use std::time::SystemTime;

use super::{Exposition, Metric};

const STARTED: Metric = Metric::gauge("process_start_time_seconds", "When the process started, in Unix seconds.");
const CPU: Metric = Metric::counter("process_cpu_seconds_total", &[], "CPU time used, in seconds.");
const RESIDENT: Metric = Metric::gauge("process_resident_memory_bytes", "Resident memory, in bytes.");
const OPEN_FILES: Metric = Metric::gauge("process_open_fds", "Number of open file descriptors.");
const MAX_FILES: Metric = Metric::gauge("process_max_fds", "Limit of open file descriptors.");

pub const ALL: [Metric; 5] = [STARTED, CPU, RESIDENT, OPEN_FILES, MAX_FILES];

/// The unit of CPU time in `/proc`, the same on every machine that we build for. `man 5 proc_pid_stat`
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes all of them; `started` is when the process started.
pub fn write(text: &mut Exposition, started: SystemTime) {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let Usage { cpu_seconds, resident_bytes, open_files, max_files } = Usage::now();
    let values = [Some(started), cpu_seconds, resident_bytes, open_files, max_files];
    for (metric, value) in ALL.iter().zip(values) {
        text.begin(metric);
        if let Some(value) = value {
            text.sample(&[], value);
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Usage {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
impl Usage {
    fn now() -> Usage {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        Usage {
            cpu_seconds: read("stat").and_then(|stat| cpu_seconds(&stat)),
            resident_bytes: read("status").and_then(|status| resident_kb(&status)).map(|kb| kb as f64 * 1024.0),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64),
            max_files: rlimit::Resource::NOFILE.get_soft().ok().map(|limit| limit as f64),
        }
    }
}

/// Returns the time in user and kernel mode. Their fields follow the name of the process, which may contain anything.
#[expect(clippy::cast_precision_loss, reason = "exact for centuries of CPU time")]
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, kernel) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + kernel) as f64 / TICKS_PER_SECOND)
}

fn resident_kb(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_of_proc() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_kb("Name:\tmini-scan\nVmRSS:\t   5120 kB\nVmData:\t 9 kB\n"), Some(5120));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_provides_every_value() {
        let usage = Usage::now();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1e6), "{usage:?}");
        assert!(usage.open_files < usage.max_files && usage.cpu_seconds.is_some(), "{usage:?}");
    }
}
