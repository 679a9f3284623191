//! The names, addresses and timestamps that the benchmark and its baselines share.

use std::net::Ipv4Addr;

pub(crate) const SUBSCRIPTION: &str = "projects/bench/subscriptions/scan-sub";
pub(crate) const TABLE: &str = "scan-results";
/// The timestamp of a table's initial records.
pub(crate) const STORED_TIMESTAMP: u64 = 1_740_000_000;
/// Newer, and older, than the initial records of a table.
pub(crate) const NEWER: u64 = STORED_TIMESTAMP + 1_000;
pub(crate) const OLDER: u64 = STORED_TIMESTAMP - 1_000;

/// Returns the address of a key. The odd factor makes every address unique, and consecutive ones distant.
pub(crate) fn address(key: usize) -> Ipv4Addr {
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer keys than addresses")]
    Ipv4Addr::from((key as u32).wrapping_mul(0x9E37_79B1))
}
