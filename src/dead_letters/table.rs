//! Formats dead letters: as a table for people, or as one JSON object per line for programs. Pure.

use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use super::dead_letter::DeadLetter;
use ops::terminal::{ascii_json, layout, sanitize};

const HEAD: [&str; 5] = ["REASON", "AGE", "SOURCE", "SIZE", "DETAIL"];
/// The columns that are aligned to the right.
const NUMBERS: [usize; 2] = [1, 3];
const MAX_CHARS: usize = 64;
const MAX_DETAIL_CHARS: usize = 120;

/// Formats a table. Subscriptions of `project` appear by their id only. Returns an empty string for no dead letters.
pub(super) fn table(dead_letters: &[DeadLetter], now: SystemTime, project: &str) -> String {
    layout(HEAD, &NUMBERS, &dead_letters.iter().map(|it| row(it, now, project)).collect::<Vec<_>>())
}

fn row(dead_letter: &DeadLetter, now: SystemTime, project: &str) -> [String; 5] {
    let source = dead_letter.source_subscription.as_deref().unwrap_or("-");
    let prefix = format!("projects/{project}/subscriptions/");
    let source = source.strip_prefix(&prefix).unwrap_or(source);
    [
        sanitize(&dead_letter.reason, MAX_CHARS),
        format!("{:#}", HumanDuration(age(dead_letter, now))),
        sanitize(source, MAX_CHARS),
        HumanBytes(dead_letter.bytes as u64).to_string(),
        sanitize(dead_letter.detail.as_deref().unwrap_or_default(), MAX_DETAIL_CHARS),
    ]
}

/// A dead letter as a JSON object. The order of the fields is the order of the output.
#[derive(Serialize)]
struct Line<'a> {
    reason: &'a str,
    age_s: u64,
    source_subscription: Option<&'a str>,
    bytes: usize,
    detail: Option<&'a str>,
    published: String,
    message_id: &'a str,
    source_message_id: Option<&'a str>,
    source_publish_time: Option<&'a str>,
    delivery_attempt: Option<u32>,
    redrive_count: u32,
}

/// Formats one JSON object per line.
pub(super) fn json(dead_letters: &[DeadLetter], now: SystemTime) -> serde_json::Result<String> {
    let line = |dead_letter: &DeadLetter| {
        let line = serde_json::to_string(&Line {
            reason: &dead_letter.reason,
            age_s: age(dead_letter, now).as_secs(),
            source_subscription: dead_letter.source_subscription.as_deref(),
            bytes: dead_letter.bytes,
            detail: dead_letter.detail.as_deref(),
            published: humantime::format_rfc3339_seconds(dead_letter.published).to_string(),
            message_id: &dead_letter.message_id,
            source_message_id: dead_letter.source_message_id.as_deref(),
            source_publish_time: dead_letter.source_publish_time.as_deref(),
            delivery_attempt: dead_letter.delivery_attempt,
            redrive_count: dead_letter.redrive_count,
        })?;
        Ok(ascii_json(&line) + "\n")
    };
    dead_letters.iter().map(line).collect()
}

fn age(dead_letter: &DeadLetter, now: SystemTime) -> Duration {
    now.duration_since(dead_letter.published).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: SystemTime = SystemTime::UNIX_EPOCH;

    fn dead_letter(reason: &str, source: Option<&str>, detail: Option<&str>) -> DeadLetter {
        DeadLetter {
            reason: reason.to_owned(),
            detail: detail.map(str::to_owned),
            published: PUBLISHED,
            source_subscription: source.map(str::to_owned),
            source_message_id: None,
            source_publish_time: None,
            delivery_attempt: None,
            redrive_count: 1,
            bytes: 2_000,
            message_id: "7".to_owned(),
        }
    }

    fn dead_letters() -> [DeadLetter; 2] {
        let invalid =
            dead_letter("invalid_port", Some("projects/p/subscriptions/scan-sub"), Some("port is\u{1b}[2J 70000"));
        [invalid, dead_letter("unknown", Some("projects/other/subscriptions/s"), None)]
    }

    #[test]
    fn the_table_has_one_sanitized_line_per_dead_letter() {
        let text = table(&dead_letters(), PUBLISHED + Duration::from_secs(3 * 60 * 60), "p");
        let expected = "\
REASON        AGE  SOURCE                              SIZE  DETAIL
invalid_port   3h  scan-sub                        1.95 KiB  port is\\u{1b}[2J 70000
unknown        3h  projects/other/subscriptions/s  1.95 KiB
";
        assert_eq!(text, expected);
        assert_eq!(table(&[], PUBLISHED, "p"), "");
    }

    #[test]
    fn json_has_one_object_per_line_with_every_field() {
        let text = json(&dead_letters(), PUBLISHED + Duration::from_secs(90)).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"reason":"invalid_port","age_s":90,"source_subscription":"projects/p/subscriptions/scan-sub","#
                .to_owned()
                + r#""bytes":2000,"detail":"port is\u001b[2J 70000","published":"1970-01-01T00:00:00Z","#
                + r#""message_id":"7","source_message_id":null,"source_publish_time":null,"#
                + r#""delivery_attempt":null,"redrive_count":1}"#
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_dead_letter_from_the_future_has_age_zero() {
        let text = table(&dead_letters(), PUBLISHED - Duration::from_secs(1), "p");
        assert!(text.contains("invalid_port   0s"), "{text}");
    }
}
