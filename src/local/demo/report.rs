//! The report of the demo: aligned plain text, the same on a terminal and in a file.

use std::fmt;
use std::time::{Duration, SystemTime};

use indicatif::HumanCount;
use serde_json::Value;

use super::MAX_IDLE;
use super::program::Outcomes;
use crate::local::scanner::Counts;

/// The number of records to show.
const SAMPLE: usize = 5;
/// In Unix seconds. Later timestamps cannot be formatted as dates.
const YEAR_10000: u64 = 253_402_300_800;

/// The messages that were published.
pub(super) struct Published {
    pub(super) counts: Counts,
    pub(super) seed: u64,
    pub(super) took: Duration,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { new, duplicates, late, broken } = self.counts;
        writeln!(
            f,
            "Published {} messages in {} (seed {})\n",
            HumanCount(self.counts.total()),
            seconds(self.took),
            self.seed
        )?;
        line(f, "new", new, "scans of the last hour, oldest first")?;
        line(f, "duplicates", duplicates, "copies of earlier messages")?;
        line(f, "late", late, "scans up to 24 hours older than an earlier scan of their key")?;
        line(f, "broken", broken, "messages with one fault each, of every kind")
    }
}

/// The messages that the consumer processed.
#[derive(Debug)]
pub(super) struct Consumed {
    pub(super) outcomes: Outcomes,
    /// Messages that are still on the subscription after [`MAX_IDLE`] without progress.
    pub(super) unsettled: usize,
    pub(super) took: Duration,
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Consumed { outcomes, unsettled, took } = self;
        let total = outcomes.total();
        let rate = HumanCount((total as f64 / took.as_secs_f64().max(0.001)) as u64);
        writeln!(f, "Consumed {} messages in {}, {rate} per second\n", HumanCount(total), seconds(*took))?;
        line(f, "stored", outcomes.stored, "written as the newest scan of their key so far")?;
        line(f, "stale", outcomes.stale, "not newer than the record of their key")?;
        line(f, "rejected", outcomes.rejected(), "sent to the dead-letter topic, by reason:")?;
        for (reason, count) in outcomes.rejections.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "    {:<22}{:>8}", reason.as_str(), HumanCount(*count).to_string())?;
        }
        if outcomes.failed > 0 {
            line(f, "failed", outcomes.failed, "nacked, to be redelivered")?;
        }
        if *unsettled > 0 {
            let meaning = format!("still on the subscription after {} s without progress", MAX_IDLE.as_secs());
            line(f, "unsettled", *unsettled as u64, &meaning)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, count: u64, meaning: &str) -> fmt::Result {
    writeln!(f, "  {name:<16}{:>8}   {meaning}", HumanCount(count).to_string())
}

/// A sample of records, evenly spaced over the table.
pub(super) struct Sample<'a>(pub(super) &'a [Value]);

impl fmt::Display for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample(items) = self;
        let shown = items.iter().step_by(items.len().div_ceil(SAMPLE).max(1));
        writeln!(f, "{} of {} records\n", HumanCount(shown.len() as u64), HumanCount(items.len() as u64))?;
        writeln!(f, "  {:<26}{:<22}{:<14}response", "pk", "timestamp", "data_version")?;
        for item in shown {
            let [key, response] = ["pk", "response"].map(|name| item[name]["S"].as_str().unwrap_or_default());
            let [timestamp, version] =
                ["timestamp", "data_version"].map(|name| item[name]["N"].as_str().unwrap_or_default());
            writeln!(f, "  {key:<26}{:<22}{version:<14}{response}", date(timestamp))?;
        }
        Ok(())
    }
}

/// Formats Unix seconds as a date, or returns the text unchanged if it is not a date.
pub(super) fn date(timestamp: &str) -> String {
    match timestamp.parse() {
        Ok(seconds) if seconds < YEAR_10000 => {
            humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        }
        _ => timestamp.to_owned(),
    }
}

fn seconds(took: Duration) -> String {
    match took.as_millis() {
        millis @ ..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scan::Reason;

    #[test]
    fn counts_are_aligned_in_one_column() {
        let rejections = vec![(Reason::MalformedJson, 66), (Reason::ItemTooLarge, 4)];
        let outcomes = Outcomes { stored: 7_012, stale: 2_388, rejections, failed: 0 };
        let consumed = Consumed { outcomes, unsettled: 0, took: Duration::from_millis(2_500) };
        let expected = "\
Consumed 9,470 messages in 2.5 s, 3,788 per second

  stored             7,012   written as the newest scan of their key so far
  stale              2,388   not newer than the record of their key
  rejected              70   sent to the dead-letter topic, by reason:
    malformed_json              66
    item_too_large               4
";
        assert_eq!(consumed.to_string(), expected);
    }

    #[test]
    fn a_sample_shows_timestamps_as_dates() {
        let item = |timestamp: &str| {
            json!({
                "pk": { "S": "1.1.1.1#80#HTTP" },
                "timestamp": { "N": timestamp },
                "data_version": { "N": "2" },
                "response": { "S": "service response: 7" },
            })
        };
        let items = [item("1740298125"), item("999999999999999")];
        let expected = "\
2 of 2 records

  pk                        timestamp             data_version  response
  1.1.1.1#80#HTTP           2025-02-23T08:08:45Z  2             service response: 7
  1.1.1.1#80#HTTP           999999999999999       2             service response: 7
";
        assert_eq!(Sample(&items).to_string(), expected);
    }
}
