//! Times of events in one form: UTC with milliseconds, so that the texts sort like the times. Pure.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A time in whole milliseconds, e.g. `2026-11-22T10:00:00.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(OffsetDateTime);

/// The length of each text.
pub const MOMENT_BYTES: usize = "2026-11-22T10:00:00.123Z".len();

impl Moment {
    /// Reads RFC 3339 with any offset. Cuts off what is shorter than a millisecond. Returns `None` for other text, and for
    /// times before the year 0 or after 9999 in UTC.
    pub fn parse(text: &str) -> Option<Moment> {
        Moment::of(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    /// Returns `None` for times after the year 9999.
    pub fn from_unix_millis(millis: u64) -> Option<Moment> {
        let nanos = i128::from(millis) * 1_000_000;
        Moment::of(OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?)
    }

    /// Returns the time in Unix milliseconds. Times before 1970 are 0.
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
    }

    fn of(time: OffsetDateTime) -> Option<Moment> {
        let utc = time.checked_to_offset(UtcOffset::UTC)?;
        if !(0..=9999).contains(&utc.year()) {
            return None;
        }
        let millis = u32::from(utc.millisecond()) * 1_000_000;
        Some(Moment(utc.replace_nanosecond(millis).ok()?))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(f, "{:04}-{:02}-{:02}T", time.year(), u8::from(time.month()), time.day())?;
        write!(f, "{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalized(text: &str) -> Option<String> {
        Moment::parse(text).map(|moment| moment.to_string())
    }

    #[test]
    fn a_time_is_in_utc_with_milliseconds() {
        for (text, expected) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000Z"),
            ("2026-11-22T10:00:00.1Z", "2026-11-22T10:00:00.100Z"),
            ("2026-11-22T10:00:00.1239999Z", "2026-11-22T10:00:00.123Z"),
            ("2026-11-22T01:30:00+02:00", "2026-11-21T23:30:00.000Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_and_years_are_no_times() {
        for text in
            ["", "2026-11-22", "2026-11-22T10:00:00", "1700000000", "2026-02-30T10:00:00Z", "9999-12-31T23:59:59-01:00"]
        {
            assert_eq!(normalized(text), None, "{text}");
        }
        assert_eq!(Moment::from_unix_millis(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn texts_sort_like_times(one in 0..253_402_300_799_999_u64, other in 0..253_402_300_799_999_u64) {
            let [a, b] = [one, other].map(|millis| Moment::from_unix_millis(millis).unwrap());
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), one.cmp(&other));
            prop_assert_eq!(a.to_string().len(), MOMENT_BYTES);
            prop_assert_eq!(Moment::parse(&a.to_string()), Some(a));
            prop_assert_eq!(a.unix_millis(), one);
        }
    }
}
