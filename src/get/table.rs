//! Formats tables for people. Pure.

use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanDuration};

use crate::hosts::Record;
use ops::terminal::{layout, sanitize};

/// The columns of records.
const HEAD: [&str; 7] = ["ADDRESS", "PORT", "SERVICE", "LAST SEEN", "AGE", "SIZE", "RESPONSE"];
const MAX_SERVICE_CHARS: usize = 32;
const MAX_RESPONSE_CHARS: usize = 60;
/// The columns that are aligned to the right.
const NUMBERS: [usize; 3] = [1, 4, 5];

/// One line of the table. Nothing in it can control a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row([String; HEAD.len()]);

impl Row {
    pub(super) fn of(record: &Record, now: SystemTime) -> Row {
        let seen = shown_time(record.timestamp);
        let size = record.response_bytes.as_ref().map_or(record.response.len(), Vec::len);
        Row([
            record.key.ip().to_owned(),
            record.key.port().to_owned(),
            service(record.key.service()),
            time(record.timestamp),
            format!("{:#}", HumanDuration(now.duration_since(seen).unwrap_or_default())),
            HumanBytes(size as u64).to_string(),
            last_column(&record.response),
        ])
    }
}

/// Returns the time in UTC.
pub(super) fn time(timestamp: u64) -> String {
    humantime::format_rfc3339_seconds(shown_time(timestamp)).to_string()
}

/// A year beyond 9999 has no notation.
fn shown_time(timestamp: u64) -> SystemTime {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(timestamp.min(253_402_300_799)));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the name of a service as it is shown.
pub(super) fn service(name: &str) -> String {
    cell(name, MAX_SERVICE_CHARS)
}

/// Returns the text of the last column as it is shown.
pub(super) fn last_column(text: &str) -> String {
    cell(text, MAX_RESPONSE_CHARS)
}

/// Returns the text as it is shown, cut to this length. A control character takes several.
fn cell(text: &str, max_chars: usize) -> String {
    let shown = sanitize(text, max_chars);
    match shown.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", shown[..end].trim_end_matches('…')),
        None => shown,
    }
}

/// Formats records as a table with a head. Returns an empty string for no rows.
pub(super) fn format(rows: &[Row]) -> String {
    layout(HEAD, &NUMBERS, &rows.iter().map(|Row(cells)| cells.clone()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Key;

    fn record(ip: &str, port: u16, response: &str, response_bytes: Option<Vec<u8>>) -> Record {
        let key = Key::new(ip.parse().unwrap(), port, "HTTP");
        Record { key, timestamp: 1_740_298_125, data_version: 2, response: response.into(), response_bytes }
    }

    #[test]
    fn the_table_has_one_sanitized_line_per_record() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_298_125 + 3 * 24 * 60 * 60);
        let records = [
            record("1.1.1.7", 443, "\u{1b}[2J<script>\r\n", None),
            record("2001:db8::1", 8080, "\u{fffd}", Some(vec![0xff; 2_000])),
        ];
        let rows: Vec<_> = records.iter().map(|record| Row::of(record, now)).collect();
        let expected = "\
ADDRESS      PORT  SERVICE  LAST SEEN             AGE      SIZE  RESPONSE
1.1.1.7       443  HTTP     2025-02-23T08:08:45Z   3d      14 B  \\u{1b}[2J<script>\\r\\n
2001:db8::1  8080  HTTP     2025-02-23T08:08:45Z   3d  1.95 KiB  \u{fffd}
";
        assert_eq!(format(&rows), expected);
        assert_eq!(format(&[]), "");
    }

    #[test]
    fn a_cell_is_cut_to_what_is_shown() {
        assert_eq!(cell("12345", 5), "12345");
        assert_eq!(cell("123456", 5), "12345…");
        assert_eq!(cell("\u{1b}[2J", 5), "\\u{1b…");
        assert_eq!(cell("\0\0\0\0\0\0\0", 6), "\\0\\0\\0…");
    }

    #[test]
    fn a_timestamp_beyond_the_calendar_is_shown_as_its_end() {
        let record = Record { timestamp: u64::MAX, ..record("1.1.1.7", 443, "", None) };
        assert_eq!(Row::of(&record, SystemTime::UNIX_EPOCH).0[3], "9999-12-31T23:59:59Z");
    }
}
