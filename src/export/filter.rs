//! Which records an export contains. Pure.

use crate::dynamo::{PageFilter, Row};
use crate::hosts::Network;
use crate::scan::to_unix_seconds;

/// Which records to export. Without a condition: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only records with a timestamp from here on, in Unix seconds.
    pub since: Option<u64>,
    /// Only records of these ports.
    pub ports: Vec<u16>,
    /// Only records of addresses in one of these networks.
    pub networks: Vec<Network>,
}

impl Filter {
    /// Returns the part that DynamoDB applies. It cannot compare addresses with a network.
    pub(super) fn of_pages(&self) -> PageFilter {
        PageFilter { since: self.since, ports: self.ports.clone() }
    }

    /// Decides the part that DynamoDB does not apply.
    pub(super) fn accepts(&self, row: &Row) -> bool {
        let ip = row.record.key.ip();
        self.networks.is_empty() || ip.parse().is_ok_and(|ip| self.networks.iter().any(|network| network.contains(ip)))
    }
}

/// Parses a time: a date, a time as in RFC 3339, or Unix seconds.
pub fn unix_seconds(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00")));
    let time = time.map_err(|_| "write it as 2026-11-21, 2026-11-21T10:00:00Z or Unix seconds".to_owned())?;
    Ok(to_unix_seconds(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_time_or_unix_seconds() {
        for text in
            ["1740268800", "2025-02-23", "2025-02-23T00:00:00Z", "2025-02-23 00:00:00", "2025-02-23T00:00:00.5Z"]
        {
            assert_eq!(unix_seconds(text), Ok(1_740_268_800), "{text}");
        }
        for text in ["", "yesterday", "2025-02-30", "-1"] {
            assert!(unix_seconds(text).is_err(), "{text}");
        }
    }
}
