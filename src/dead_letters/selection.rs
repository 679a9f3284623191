//! Selects dead letters by reason, age and source. Pure: the caller passes the time.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::dead_letter::DeadLetter;
use ops::terminal::sanitize;

const MAX_CHARS: usize = 64;
const MAX_SOURCE_CHARS: usize = 200;

/// The dead letters that a command is about. Empty fields select all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub reasons: Vec<String>,
    /// Selects dead letters that were published at least this long ago.
    pub older_than: Option<Duration>,
    /// Full names of source subscriptions.
    pub sources: Vec<String>,
}

/// Why a dead letter is not selected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NotSelected {
    Reason(String),
    Source(Option<String>),
    Age,
}

impl Selection {
    /// Returns why the dead letter is not selected, or `None` if it is.
    pub(super) fn excludes(&self, dead_letter: &DeadLetter, now: SystemTime) -> Option<NotSelected> {
        let DeadLetter { reason, source_subscription: source, published, .. } = dead_letter;
        if !self.reasons.is_empty() && !self.reasons.contains(reason) {
            return Some(NotSelected::Reason(reason.clone()));
        }
        if !self.sources.is_empty() && !source.as_ref().is_some_and(|source| self.sources.contains(source)) {
            return Some(NotSelected::Source(source.clone()));
        }
        let is_old = |least| now.duration_since(*published).is_ok_and(|age| age >= least);
        self.older_than.is_some_and(|least| !is_old(least)).then_some(NotSelected::Age)
    }
}

impl fmt::Display for NotSelected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotSelected::Reason(reason) => write!(f, "not selected by --reason: {}", sanitize(reason, MAX_CHARS)),
            NotSelected::Source(Some(source)) => {
                write!(f, "not selected by --source: {}", sanitize(source, MAX_SOURCE_CHARS))
            }
            NotSelected::Source(None) => write!(f, "not selected by --source: without a source subscription"),
            NotSelected::Age => write!(f, "not selected by --older-than"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const PUBLISHED: SystemTime = SystemTime::UNIX_EPOCH;

    fn dead_letter(reason: &str, source: Option<&str>) -> DeadLetter {
        DeadLetter {
            reason: reason.to_owned(),
            detail: None,
            published: PUBLISHED,
            source_subscription: source.map(str::to_owned),
            source_message_id: None,
            source_publish_time: None,
            delivery_attempt: None,
            redrive_count: 0,
            bytes: 0,
            message_id: "7".to_owned(),
        }
    }

    #[test]
    fn an_empty_selection_selects_every_dead_letter() {
        assert_eq!(Selection::default().excludes(&dead_letter("unknown", None), PUBLISHED), None);
    }

    #[test]
    fn a_dead_letter_must_match_every_filter() {
        let selection = Selection {
            reasons: vec!["invalid_ip".to_owned(), "invalid_port".to_owned()],
            older_than: Some(HOUR),
            sources: vec!["a".to_owned(), "b".to_owned()],
        };
        let excludes = |reason, source, age| selection.excludes(&dead_letter(reason, source), PUBLISHED + age);
        assert_eq!(excludes("invalid_port", Some("b"), HOUR), None);
        assert_eq!(excludes("unknown", Some("b"), HOUR), Some(NotSelected::Reason("unknown".to_owned())));
        assert_eq!(excludes("invalid_ip", Some("c"), HOUR), Some(NotSelected::Source(Some("c".to_owned()))));
        assert_eq!(excludes("invalid_ip", None, HOUR), Some(NotSelected::Source(None)));
        assert_eq!(excludes("invalid_ip", Some("a"), HOUR - Duration::from_nanos(1)), Some(NotSelected::Age));
    }

    #[test]
    fn a_dead_letter_from_the_future_is_not_old() {
        let selection = Selection { older_than: Some(Duration::from_secs(1)), ..Selection::default() };
        let before = PUBLISHED - HOUR;
        assert_eq!(selection.excludes(&dead_letter("unknown", None), before), Some(NotSelected::Age));
    }
}
