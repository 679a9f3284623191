//! Markers of the endpoints with a backlog.
//!
//! A marker is written before the first delivery of an endpoint, and again when the last write of this instance is old. An
//! old marker is deleted when consistent reads find no delivery. Clocks of instances may differ by 5 minutes: between the
//! last insert that relies on a marker and its deletion are at least 5 minutes more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::types::Select;
use dynamodb::values::{number, string, whole};
use dynamodb::{StoreError, answered, applied, failed, read_units, within_timeout};
use futures_util::future::{join_all, try_join_all};
use rand::seq::SliceRandom;
use tokio::time::Instant;
use tracing::warn;
use webhooks::EndpointId;

use crate::items::{BUCKETS, ID, MARKER_BUCKETS, Queue, SEEN, TOKEN, marker_key, marker_queue};
use crate::{WaitingDeliveries, unix_seconds};

/// How long an instance relies on a marker that it wrote.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// The age of a marker that may be deleted.
const OLD: Duration = Duration::from_secs(15 * 60);
/// How many old markers one look verifies. More of them only live longer.
const VERIFIED_PER_LOOK: usize = 8;

/// The markers that this instance wrote.
#[derive(Debug, Default)]
pub(super) struct Markers(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    endpoints: HashMap<EndpointId, Arc<Slot>>,
    /// Above this number, those that are not fresh are forgotten.
    limit: usize,
}

/// When the marker of an endpoint was written. Who writes it holds the lock, so that a burst of deliveries writes it once.
type Slot = tokio::sync::Mutex<Option<WrittenAt>>;

#[derive(Debug, Clone, Copy)]
struct WrittenAt {
    /// Stops while the machine is suspended.
    monotonic: Instant,
    /// May be set back.
    wall: SystemTime,
}

impl WrittenAt {
    fn is_fresh(self, wall: SystemTime) -> bool {
        self.monotonic.elapsed() < FRESH && wall.duration_since(self.wall).is_ok_and(|age| age < FRESH)
    }
}

impl Markers {
    fn slot(&self, endpoint: &EndpointId, wall: SystemTime) -> Arc<Slot> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = written.endpoints.get(endpoint) {
            return Arc::clone(slot);
        }
        if written.endpoints.len() >= written.limit {
            let is_fresh = |slot: &Arc<Slot>| match slot.try_lock() {
                Ok(at) => at.is_some_and(|at| at.is_fresh(wall)),
                Err(_) => true,
            };
            written.endpoints.retain(|_, slot| is_fresh(slot));
            written.limit = (written.endpoints.len() * 2).max(1024);
        }
        Arc::clone(written.endpoints.entry(endpoint.clone()).or_default())
    }

    /// The next delivery of the endpoint writes its marker.
    pub(super) fn forget(&self, endpoint: &EndpointId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).endpoints.remove(endpoint);
    }
}

/// A marker as it was read.
struct Marker {
    endpoint: EndpointId,
    seen: u64,
    token: u64,
}

impl WaitingDeliveries {
    /// Writes the marker of an endpoint, unless this instance wrote it lately. Call it before and after each write of a
    /// delivery that waits: the machine may be suspended between them for longer than the marker lives.
    pub(super) async fn mark(&self, endpoint: &EndpointId) -> Result<(), StoreError> {
        let slot = self.shared.markers.slot(endpoint, self.now());
        let mut written = slot.lock().await;
        if written.is_some_and(|at| at.is_fresh(self.now())) {
            return Ok(());
        }
        // The time before the request: a late answer must not make the marker younger.
        let at = WrittenAt { monotonic: Instant::now(), wall: self.now() };
        self.write_marker(endpoint, at.wall).await?;
        *written = Some(at);
        Ok(())
    }

    async fn write_marker(&self, endpoint: &EndpointId, seen: SystemTime) -> Result<(), StoreError> {
        let request = self
            .client()
            .put_item()
            .table_name(self.table())
            .set_item(Some(marker_key(endpoint)))
            .item(SEEN, number(unix_seconds(seen)))
            .item(TOKEN, number(rand::random()));
        let _permit = self.permit().await;
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        answered(&answer)
    }

    /// Returns the endpoints that have a marker, and verifies some of the old markers.
    pub async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, StoreError> {
        let queues = (0..MARKER_BUCKETS).map(|bucket| Box::pin(self.markers_of(bucket)));
        let markers: Vec<_> = try_join_all(queues).await?.into_iter().flatten().collect();
        let endpoints: Vec<_> = markers.iter().map(|marker| marker.endpoint.clone()).collect();
        self.shared.rests.retain(&endpoints);
        let now = unix_seconds(self.now());
        let mut old: Vec<_> =
            markers.into_iter().filter(|marker| now.saturating_sub(marker.seen) > OLD.as_secs()).collect();
        // Other instances see the same old markers.
        old.shuffle(&mut rand::rng());
        old.truncate(VERIFIED_PER_LOOK);
        for result in join_all(old.iter().map(|marker| Box::pin(self.verify(marker)))).await {
            if let Err(error) = result {
                warn!(table = self.table(), %error, "cannot verify an old marker of a backlog");
            }
        }
        Ok(endpoints)
    }

    async fn markers_of(&self, bucket: usize) -> Result<Vec<Marker>, StoreError> {
        let mut markers = Vec::new();
        let mut after = None;
        loop {
            let request = self.query(marker_queue(bucket)).set_exclusive_start_key(after);
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            read_units(&answer, answer.consumed_capacity())?;
            markers.extend(answer.items().iter().filter_map(|item| {
                let endpoint = EndpointId::parse(string(item, ID)?).ok()?;
                // A marker without its other attributes is never deleted.
                let (seen, token) = (whole(item, SEEN).unwrap_or(u64::MAX), whole(item, TOKEN).unwrap_or_default());
                Some(Marker { endpoint, seen, token })
            }));
            match answer.last_evaluated_key {
                Some(key) => after = Some(key),
                None => return Ok(markers),
            }
        }
    }

    /// Deletes a marker if no delivery waits, and otherwise makes it young. Both only if nobody wrote it since it was read:
    /// a delivery that the reads have missed follows a later write. Returns whether it did.
    async fn verify(&self, marker: &Marker) -> Result<bool, StoreError> {
        let waiting = (0..BUCKETS).map(|bucket| Box::pin(self.is_waiting(&marker.endpoint, bucket)));
        let is_waiting = try_join_all(waiting).await?.contains(&true);
        let _permit = self.permit().await;
        if is_waiting {
            let request = self
                .client()
                .update_item()
                .table_name(self.table())
                .set_key(Some(marker_key(&marker.endpoint)))
                .condition_expression("#token = :token")
                .update_expression("SET #seen = :seen, #token = :next")
                .expression_attribute_names("#token", TOKEN)
                .expression_attribute_names("#seen", SEEN)
                .expression_attribute_values(":token", number(marker.token))
                .expression_attribute_values(":next", number(rand::random()))
                .expression_attribute_values(":seen", number(unix_seconds(self.now())));
            return applied(within_timeout(Box::pin(request.send())).await);
        }
        let request = self
            .client()
            .delete_item()
            .table_name(self.table())
            .set_key(Some(marker_key(&marker.endpoint)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_values(":token", number(marker.token));
        applied(within_timeout(Box::pin(request.send())).await)
    }

    async fn is_waiting(&self, endpoint: &EndpointId, bucket: usize) -> Result<bool, StoreError> {
        let request =
            self.query(Queue::WAITING.of(endpoint, bucket)).consistent_read(true).select(Select::Count).limit(1);
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        Ok(answer.count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_marker_is_fresh_for_five_minutes_by_both_clocks() {
        let wall = UNIX_EPOCH + Duration::from_secs(1000);
        let written = WrittenAt { monotonic: Instant::now(), wall };
        assert!(written.is_fresh(wall + FRESH - Duration::from_secs(1)));
        assert!(!written.is_fresh(wall + FRESH), "the machine was suspended");
        assert!(!written.is_fresh(wall - Duration::from_secs(1)), "the clock was set back");
        tokio::time::advance(FRESH).await;
        assert!(!written.is_fresh(wall), "the clock was set back by as much");
    }

    #[tokio::test(start_paused = true)]
    async fn markers_that_are_not_fresh_are_forgotten_when_there_are_many() {
        let (markers, wall) = (Markers::default(), UNIX_EPOCH);
        let slot = |number: usize| markers.slot(&EndpointId::parse(format!("wh_{number}")).unwrap(), wall);
        let count = || markers.0.lock().unwrap().endpoints.len();
        let fresh = slot(0);
        *fresh.lock().await = Some(WrittenAt { monotonic: Instant::now(), wall });
        let held = slot(1);
        let _writing = held.lock().await;
        (2..1024).for_each(|number| drop(slot(number)));
        assert_eq!(count(), 1024);
        slot(1024);
        assert_eq!(count(), 3);
    }
}
