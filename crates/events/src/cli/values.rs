//! Values of flags that name clients, targets and times. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::moment::Moment;
use crate::table::reading::Range;

const MAX_CLIENT_BYTES: usize = 256;

pub(super) fn client_id(text: &str) -> Result<String, String> {
    match (1..=MAX_CLIENT_BYTES).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!("a client has 1 to {MAX_CLIENT_BYTES} bytes without control characters")),
    }
}

pub(super) fn target(text: &str) -> Result<String, String> {
    match crate::key::is_target_name(text) {
        true => Ok(text.to_owned()),
        false => Err("the name of a target has 1 to 64 letters, digits, hyphens and underscores".to_owned()),
    }
}

/// A time of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(Moment),
    Ago(Duration),
}

impl When {
    pub(super) fn parse(text: &str) -> Result<When, String> {
        if let Some(moment) = Moment::parse(text) {
            return Ok(When::At(moment));
        }
        let ago = humantime::parse_duration(text).map(When::Ago);
        ago.map_err(|_| "write a time, e.g. 2026-11-22T10:00:00Z, or how long ago, e.g. 90m or 2days".to_owned())
    }

    /// Returns the time. One before 1970 is 1970.
    fn moment(self, now: SystemTime) -> Option<Moment> {
        match self {
            When::At(moment) => Some(moment),
            When::Ago(ago) => {
                let time = now.checked_sub(ago).unwrap_or(UNIX_EPOCH);
                let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                Moment::from_unix_millis(u64::try_from(millis).ok()?)
            }
        }
    }
}

pub(super) fn range(since: Option<When>, until: Option<When>, now: SystemTime) -> Range {
    Range { since: since.and_then(|when| when.moment(now)), until: until.and_then(|when| when.moment(now)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_a_while_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let text = |when: &str| When::parse(when).unwrap().moment(now).unwrap().to_string();
        assert_eq!(text("2026-11-22T11:00:00+01:00"), "2026-11-22T10:00:00.000Z");
        assert_eq!(text("20s"), "2023-11-14T22:13:00.000Z");
        assert!(When::parse("yesterday").is_err());
    }

    #[test]
    fn names_that_no_event_can_have_are_refused() {
        assert!(client_id("acme/eu").is_ok() && target("main").is_ok());
        for text in ["", "a\u{1f}1", &"x".repeat(257)] {
            assert!(client_id(text).is_err(), "{text:?}");
        }
        for text in ["", "a.b", &"x".repeat(65)] {
            assert!(target(text).is_err(), "{text:?}");
        }
    }
}
