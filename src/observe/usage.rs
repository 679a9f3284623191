//! What the operating system says of this process. What it does not say, outside Linux, is missing.

use std::fs;

/// The unit of CPU time in `/proc`, the same on every machine that we build for. `man 5 proc_pid_stat`
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) open_files: Option<f64>,
    pub(super) max_files: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
impl Usage {
    pub(super) fn now() -> Usage {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        Usage {
            cpu_seconds: read("stat").and_then(|stat| cpu_seconds(&stat)),
            resident_bytes: read("status").and_then(|status| resident_kb(&status)).map(|kb| kb as f64 * 1024.0),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64),
            max_files: rlimit::Resource::NOFILE.get_soft().ok().map(|limit| limit as f64),
        }
    }
}

/// The times in user and kernel mode, after the name, which may hold anything.
#[expect(clippy::cast_precision_loss, reason = "ticks of centuries")]
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, kernel) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + kernel) as f64 / TICKS_A_SECOND)
}

fn resident_kb(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read_right() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_kb("Name:\tmini-scan\nVmRSS:\t   5120 kB\nVmData:\t 9 kB\n"), Some(5120));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_says_all_of_it() {
        let usage = Usage::now();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1e6), "{usage:?}");
        assert!(usage.open_files < usage.max_files && usage.cpu_seconds.is_some(), "{usage:?}");
    }
}
