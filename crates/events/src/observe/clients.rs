//! The clients whose messages waited the longest, without a label for each client. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How many clients a page shows.
const SHOWN: usize = 10;
/// How many clients are compared.
const MAX_CLIENTS: usize = 100;
/// A client with less is not behind.
const MIN_LAG: Duration = Duration::from_secs(1);

/// The longest time of a message from its sending until it was durable, by client.
#[derive(Debug, Default)]
pub(super) struct Lags(HashMap<String, Duration>);

impl Lags {
    pub(super) fn add(&mut self, client: &str, lag: Duration) {
        if lag < MIN_LAG {
            return;
        }
        if let Some(longest) = self.0.get_mut(client) {
            *longest = lag.max(*longest);
            return;
        }
        if self.0.len() == MAX_CLIENTS {
            let least = self.0.iter().min_by_key(|(_, lag)| **lag).map(|(client, lag)| (client.clone(), *lag));
            match least {
                Some((least, least_lag)) if least_lag < lag => _ = self.0.remove(&least),
                _ => return,
            }
        }
        self.0.insert(client.to_owned(), lag);
    }

    /// Returns the clients with the longest times, the longest first.
    pub(super) fn worst(all: [&Lags; 2]) -> Vec<(&str, Duration)> {
        let mut longest: BTreeMap<&str, Duration> = BTreeMap::new();
        for (client, lag) in all.into_iter().flat_map(|lags| &lags.0) {
            let known = longest.entry(client).or_default();
            *known = lag.max(known).to_owned();
        }
        let mut worst: Vec<_> = longest.into_iter().collect();
        worst.sort_by_key(|(_, lag)| std::cmp::Reverse(*lag));
        worst.truncate(SHOWN);
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ten_worst_clients_are_shown() {
        let (mut now, mut before) = (Lags::default(), Lags::default());
        for number in 0..1000 {
            now.add(&format!("client-{number}"), Duration::from_millis(number * 10));
        }
        before.add("client-999", Duration::from_secs(60));
        before.add("quick", Duration::from_millis(999));
        assert_eq!(now.0.len(), MAX_CLIENTS);
        let worst = Lags::worst([&now, &before]);
        assert_eq!((worst.len(), worst[0], worst[1].0), (SHOWN, ("client-999", Duration::from_secs(60)), "client-998"));
    }
}
