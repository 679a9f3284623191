//! How listed letters look: a table for a person, a JSON object a line for a program. Pure.

use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use super::dead_letter::Letter;
use super::text::{ascii_json, harmless};

const HEAD: [&str; 5] = ["REASON", "AGE", "SOURCE", "SIZE", "DETAIL"];
const LONGEST: usize = 64;
const LONGEST_DETAIL: usize = 120;

/// A table whose sources of `project` are named by their ids; nothing when there are no letters.
pub(super) fn table(letters: &[Letter], now: SystemTime, project: &str) -> String {
    if letters.is_empty() {
        return String::new();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| row(letter, now, project)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |[reason, age, source, size, detail]: &[String; 5]| {
        let [reason_width, age_width, source_width, size_width] = widths;
        let line =
            format!("{reason:reason_width$}  {age:>age_width$}  {source:source_width$}  {size:>size_width$}  {detail}");
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(letter: &Letter, now: SystemTime, project: &str) -> [String; 5] {
    let source = letter.source_subscription.as_deref().unwrap_or("-");
    let here = format!("projects/{project}/subscriptions/");
    let source = source.strip_prefix(&here).unwrap_or(source);
    [
        harmless(&letter.reason, LONGEST),
        format!("{:#}", HumanDuration(age(letter, now))),
        harmless(source, LONGEST),
        HumanBytes(letter.bytes as u64).to_string(),
        harmless(letter.detail.as_deref().unwrap_or_default(), LONGEST_DETAIL),
    ]
}

/// All that a letter says, in the order in which it is said.
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

/// One line of JSON for each letter.
pub(super) fn json(letters: &[Letter], now: SystemTime) -> serde_json::Result<String> {
    let line = |letter: &Letter| {
        let line = serde_json::to_string(&Line {
            reason: &letter.reason,
            age_s: age(letter, now).as_secs(),
            source_subscription: letter.source_subscription.as_deref(),
            bytes: letter.bytes,
            detail: letter.detail.as_deref(),
            published: humantime::format_rfc3339_seconds(letter.published).to_string(),
            message_id: &letter.message_id,
            source_message_id: letter.source_message_id.as_deref(),
            source_publish_time: letter.source_publish_time.as_deref(),
            delivery_attempt: letter.delivery_attempt,
            redrive_count: letter.redrive_count,
        })?;
        Ok(ascii_json(&line) + "\n")
    };
    letters.iter().map(line).collect()
}

fn age(letter: &Letter, now: SystemTime) -> Duration {
    now.duration_since(letter.published).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: SystemTime = SystemTime::UNIX_EPOCH;

    fn letter(reason: &str, source: Option<&str>, detail: Option<&str>) -> Letter {
        Letter {
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

    fn letters() -> [Letter; 2] {
        let invalid = letter("invalid_port", Some("projects/p/subscriptions/scan-sub"), Some("port is\u{1b}[2J 70000"));
        [invalid, letter("unknown", Some("projects/other/subscriptions/s"), None)]
    }

    #[test]
    fn the_table_has_a_line_for_each_letter_and_obeys_none() {
        let text = table(&letters(), PUBLISHED + Duration::from_secs(3 * 60 * 60), "p");
        let expected = "\
REASON        AGE  SOURCE                              SIZE  DETAIL
invalid_port   3h  scan-sub                        1.95 KiB  port is\\u{1b}[2J 70000
unknown        3h  projects/other/subscriptions/s  1.95 KiB
";
        assert_eq!(text, expected);
        assert_eq!(table(&[], PUBLISHED, "p"), "");
    }

    #[test]
    fn json_has_an_object_a_line_with_every_field() {
        let text = json(&letters(), PUBLISHED + Duration::from_secs(90)).unwrap();
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
    fn a_letter_from_the_future_has_no_age() {
        let text = table(&letters(), PUBLISHED - Duration::from_secs(1), "p");
        assert!(text.contains("invalid_port   0s"), "{text}");
    }
}
