//! Due deliveries of an endpoint: queries the index, and remembers when nothing is due.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dynamodb::{StoreError, failed, read_units, within_timeout};
use futures_util::future::try_join_all;
use tokio::time::Instant;
use webhooks::{DueDelivery, EndpointId};

use crate::items::{BUCKETS, Queue, due};
use crate::{BY_DUE, WaitingDeliveries};

/// Another instance may store a delivery that is due earlier than the first one that is known here.
const MAX_REST: Duration = Duration::from_secs(15);

/// When the index is asked again. An endpoint with a backlog is asked for its due deliveries every second, and most of the
/// time nothing is due.
#[derive(Debug, Default)]
pub(super) struct Rests(Mutex<HashMap<EndpointId, Rest>>);

#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    /// The due time of the first delivery, as far as it is known.
    first: Option<SystemTime>,
    /// Counts what this instance stored.
    stored: u64,
}

impl Rests {
    /// Returns how many deliveries of the endpoint this instance stored, or `None` if nothing is due.
    fn begin(&self, endpoint: &EndpointId) -> Option<u64> {
        let mut rests = self.lock();
        let rest = rests.entry(endpoint.clone()).or_default();
        if rest.until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        rest.until = None;
        Some(rest.stored)
    }

    /// Remembers the first due time that a query has found.
    fn found(&self, endpoint: &EndpointId, stored: u64, first: Option<SystemTime>, now: SystemTime) {
        let mut rests = self.lock();
        let rest = rests.entry(endpoint.clone()).or_default();
        rest.first = first;
        // The query may have missed a delivery that was stored since.
        if rest.stored == stored {
            rest.until = Some(Instant::now() + remaining(first, now));
        }
    }

    /// A delivery was stored, which is due at this time.
    pub(super) fn stored(&self, endpoint: &EndpointId, due: SystemTime, now: SystemTime) {
        let mut rests = self.lock();
        let rest = rests.entry(endpoint.clone()).or_default();
        rest.stored += 1;
        rest.first = Some(rest.first.map_or(due, |first| first.min(due)));
        rest.until = rest.until.map(|until| until.min(Instant::now() + remaining(Some(due), now)));
    }

    /// Forgets the endpoints without a backlog.
    pub(super) fn retain(&self, endpoints: &[EndpointId]) {
        let mut rests = self.lock();
        if rests.len() > endpoints.len() {
            let endpoints: HashSet<_> = endpoints.iter().collect();
            rests.retain(|endpoint, _| endpoints.contains(endpoint));
        }
    }

    fn oldest(&self, counts: impl Fn(&EndpointId) -> bool) -> Option<SystemTime> {
        let rests = self.lock();
        rests.iter().filter(|(endpoint, _)| counts(endpoint)).filter_map(|(_, rest)| rest.first).min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remaining(due: Option<SystemTime>, now: SystemTime) -> Duration {
    due.map_or(MAX_REST, |due| due.duration_since(now).unwrap_or_default().min(MAX_REST))
}

impl WaitingDeliveries {
    /// Returns the due time of the longest due delivery that this instance knows of, among the endpoints that count.
    pub fn oldest_due(&self, counts: impl Fn(&EndpointId) -> bool) -> Option<SystemTime> {
        self.shared.rests.oldest(counts)
    }

    /// Returns deliveries of an endpoint that are due, the longest due ones first.
    pub async fn due(
        &self,
        endpoint: &EndpointId,
        now: SystemTime,
        limit: usize,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let rests = &self.shared.rests;
        let Some(stored) = rests.begin(endpoint) else { return Ok(Vec::new()) };
        let buckets = (0..BUCKETS).map(|bucket| Box::pin(self.first_due(endpoint, bucket, limit)));
        let mut found: Vec<_> = try_join_all(buckets).await?.into_iter().flatten().collect();
        found.sort_by_key(|(due, _)| *due);
        rests.found(endpoint, stored, found.first().map(|(due, _)| *due), now);
        Ok(found.into_iter().take_while(|(due, _)| *due <= now).take(limit).map(|(_, delivery)| delivery).collect())
    }

    /// Returns the first deliveries of a bucket, also those that are not due yet.
    async fn first_due(
        &self,
        endpoint: &EndpointId,
        bucket: usize,
        limit: usize,
    ) -> Result<Vec<(SystemTime, DueDelivery)>, StoreError> {
        let request = self
            .query(Queue::WAITING.of(endpoint, bucket))
            .index_name(BY_DUE.name)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        Ok(answer.items().iter().filter_map(due).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint() -> EndpointId {
        EndpointId::parse("wh_1").unwrap()
    }

    /// Returns whether the index is asked.
    fn asks(rests: &Rests) -> bool {
        rests.begin(&endpoint()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_index_rests_until_the_first_delivery_is_due_but_not_for_long() {
        let (rests, now) = (Rests::default(), UNIX_EPOCH + SECOND * 1000);
        for (first, seconds) in [(None, 15), (Some(now + SECOND * 7), 7), (Some(now + SECOND * 100), 15)] {
            let stored = rests.begin(&endpoint()).unwrap();
            rests.found(&endpoint(), stored, first, now);
            advance(SECOND * seconds - Duration::from_millis(1)).await;
            assert!(!asks(&rests), "{first:?}");
            advance(Duration::from_millis(1)).await;
            assert!(asks(&rests), "{first:?}");
        }
        let stored = rests.begin(&endpoint()).unwrap();
        rests.found(&endpoint(), stored, Some(now - SECOND), now);
        assert!(asks(&rests));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stored_delivery_ends_the_rest_when_it_is_due() {
        let (rests, now) = (Rests::default(), UNIX_EPOCH + SECOND * 1000);
        let stored = rests.begin(&endpoint()).unwrap();
        rests.found(&endpoint(), stored, None, now);
        rests.stored(&endpoint(), now + SECOND * 5, now);
        assert!(!asks(&rests));
        advance(SECOND * 5).await;
        assert!(asks(&rests));

        // It was stored while the index was asked, which may have missed it.
        let stored = rests.begin(&endpoint()).unwrap();
        rests.stored(&endpoint(), now, now);
        rests.found(&endpoint(), stored, None, now);
        assert!(asks(&rests));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_due_time_is_that_of_an_endpoint_that_counts() {
        let (rests, now) = (Rests::default(), UNIX_EPOCH + SECOND * 1000);
        assert_eq!(rests.oldest(|_| true), None);
        rests.stored(&endpoint(), now, now);
        rests.stored(&endpoint(), now - SECOND, now);
        assert_eq!(rests.oldest(|_| true), Some(now - SECOND));
        assert_eq!(rests.oldest(|_| false), None);
        rests.retain(&[]);
        assert_eq!(rests.oldest(|_| true), None);
    }
}
