//! Values of flags that every program parses in the same way. Pure.

use std::time::Duration;

/// Parses a duration of a flag, e.g. `30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}: write a duration, e.g. 30s, 15m or 24h"))?;
    // Longer than any use, and short enough that no clock overflows.
    match duration <= Duration::from_secs(100 * 365 * 24 * 60 * 60) {
        true => Ok(duration),
        false => Err("it must be at most 100 years".to_owned()),
    }
}
