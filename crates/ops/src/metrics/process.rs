//! Metrics of the operating system's process, under the names that Prometheus recommends. Outside Linux, only the start time
//! exists.
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::time::SystemTime;

use super::{Exposition, Metric};

const STARTED: Metric = Metric::gauge("process_start_time_seconds", "When the process started, in Unix seconds.");
const CPU: Metric = Metric::counter("process_cpu_seconds_total", &[], "CPU time used, in seconds.");
const RESIDENT: Metric = Metric::gauge("process_resident_memory_bytes", "Resident memory, in bytes.");
const OPEN_FILES: Metric = Metric::gauge("process_open_fds", "Number of open file descriptors.");
const MAX_FILES: Metric = Metric::gauge("process_max_fds", "Limit of open file descriptors.");

pub const ALL: [Metric; 5] = [STARTED, CPU, RESIDENT, OPEN_FILES, MAX_FILES];

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

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

impl Usage {
    #[cfg(target_os = "linux")]
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn now() -> Usage {
        use procfs::WithCurrentSystemInfo;
        use procfs::process::Process;

        let Ok(process) = Process::myself() else { return Usage::default() };
        let stat = process.stat().ok();
        Usage {
            cpu_seconds: stat.as_ref().map(|stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64),
            resident_bytes: stat.as_ref().map(|stat| stat.rss_bytes().get() as f64),
            open_files: process.fd_count().ok().map(|files| files as f64),
            max_files: rlimit::Resource::NOFILE.get_soft().ok().map(|limit| limit as f64),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn now() -> Usage {
        Usage::default()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_provides_every_value() {
        let usage = Usage::now();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1e6), "{usage:?}");
        assert!(usage.open_files < usage.max_files && usage.cpu_seconds.is_some(), "{usage:?}");
    }
}
