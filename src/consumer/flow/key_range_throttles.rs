//! Tells a throttled partition from a hot key. DynamoDB reports both as a key range at its limit. Pure: the time is an
//! argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::scan::Key;

/// A partition is throttled if this many keys are throttled within [`WINDOW`]. Two may be hot at once by chance.
const KEYS: usize = 3;

const WINDOW: Duration = Duration::from_secs(1);

/// The keys that were throttled last, each with its latest time, the newest at the end.
#[derive(Debug, Default)]
pub(crate) struct KeyRangeThrottles {
    recent: VecDeque<(Key, Instant)>,
}

impl KeyRangeThrottles {
    /// Records that the range of this key was throttled. Returns true if several keys were throttled within a second, so that
    /// their partition is at its limit.
    pub(crate) fn record(&mut self, key: &Key, now: Instant) -> bool {
        self.recent.retain(|(other, at)| other != key && now.saturating_duration_since(*at) < WINDOW);
        if self.recent.len() == KEYS {
            self.recent.pop_front();
        }
        self.recent.push_back((key.clone(), now));
        self.recent.len() == KEYS
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    /// Returns the decisions on throttles of these ports, each after a pause in milliseconds.
    fn record(throttles: &mut KeyRangeThrottles, pauses_and_ports: &[(u64, u16)]) -> Vec<bool> {
        let mut now = Instant::now();
        let record = |(pause, port): &(u64, u16)| {
            now += Duration::from_millis(*pause);
            throttles.record(&Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port, "HTTP"), now)
        };
        pauses_and_ports.iter().map(record).collect()
    }

    #[test]
    fn three_keys_within_a_second_are_a_throttled_partition() {
        let throttles = &mut KeyRangeThrottles::default();
        assert_eq!(record(throttles, &[(0, 1), (500, 2), (499, 3), (1, 4)]), [false, false, true, true]);
    }

    #[test]
    fn one_or_two_keys_are_hot_however_often_they_are_throttled() {
        let throttles = &mut KeyRangeThrottles::default();
        let decisions = record(throttles, &[(0, 1), (1, 1), (1, 2), (1, 1), (1, 2), (1, 2), (1, 1)]);
        assert_eq!(decisions, [false; 7]);
    }

    #[test]
    fn keys_that_were_throttled_a_second_ago_do_not_count() {
        let throttles = &mut KeyRangeThrottles::default();
        assert_eq!(record(throttles, &[(0, 1), (500, 2), (500, 3), (400, 4)]), [false, false, false, true]);
    }

    #[test]
    fn the_latest_throttle_of_a_key_counts() {
        let throttles = &mut KeyRangeThrottles::default();
        assert_eq!(record(throttles, &[(0, 1), (900, 2), (50, 1), (900, 3)]), [false, false, false, true]);
    }

    #[test]
    fn the_number_of_remembered_keys_is_limited() {
        let throttles = &mut KeyRangeThrottles::default();
        let ports: Vec<_> = (1..=1000).map(|port| (0, port)).collect();
        record(throttles, &ports);
        assert_eq!(throttles.recent.len(), KEYS);
    }
}
