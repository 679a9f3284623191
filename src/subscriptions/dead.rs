//! Dead deliveries: which ones an operator or owner selects, and what is done with them.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use webhooks::{Changed, DeadReason, EndpointId, StoredDelivery, WebhookId};

use super::operations::{OperationError, repeat};
use super::ports::DeadDeliveries;

/// Calls of the table in flight at a time.
const CONCURRENCY: usize = 32;

/// A delivery that failed for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadDelivery {
    /// Its due time has no meaning any more.
    pub item: StoredDelivery,
    pub reason: DeadReason,
    pub died: SystemTime,
}

/// Some dead deliveries of an endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadPage {
    pub deliveries: Vec<DeadDelivery>,
    /// How many items this version cannot read.
    pub unreadable: usize,
    /// Where the list continues. It may end there.
    pub next: Option<DeadPosition>,
}

/// A position in the list of dead deliveries. Its text form is for page tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadPosition {
    pub bucket: usize,
    /// The last one that was read of this bucket.
    pub after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in a list of dead deliveries")]
pub struct InvalidPosition;

impl fmt::Display for DeadPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.bucket, self.after.as_deref().unwrap_or_default())
    }
}

impl FromStr for DeadPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<DeadPosition, InvalidPosition> {
        let (bucket, after) = text.split_once('.').ok_or(InvalidPosition)?;
        let bucket = bucket.parse().map_err(|_| InvalidPosition)?;
        let after = Some(after).filter(|after| !after.is_empty());
        let is_id = |after: &str| WebhookId::from_stored(after).is_some();
        if after.is_some_and(|after| !is_id(after)) {
            return Err(InvalidPosition);
        }
        Ok(DeadPosition { bucket, after: after.map(str::to_owned) })
    }
}

/// Which dead deliveries to take. An empty list selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub reasons: Vec<DeadReason>,
    pub deliveries: Vec<WebhookId>,
}

impl Selection {
    pub fn selects(&self, dead: &DeadDelivery) -> bool {
        (self.reasons.is_empty() || self.reasons.contains(&dead.reason))
            && (self.deliveries.is_empty() || self.deliveries.contains(&dead.item.delivery.id))
    }
}

/// What to do with a dead delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It waits again, due now and with all its attempts.
    Redrive,
    /// It is deleted.
    Purge,
}

/// What became of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    pub settled: usize,
    /// Others took or replaced them meanwhile.
    pub skipped: usize,
    pub unreadable: usize,
    /// Where the list continues.
    pub next: Option<DeadPosition>,
}

/// Returns some of the selected dead deliveries, and where the list continues.
pub async fn list(
    table: &impl DeadDeliveries,
    endpoint: &EndpointId,
    select: &Selection,
    from: Option<&DeadPosition>,
    limit: usize,
) -> Result<DeadPage, OperationError> {
    let page = repeat(|| table.dead(endpoint, from, limit)).await;
    let mut page = page.map_err(OperationError::Deliveries)?;
    page.deliveries.retain(|dead| select.selects(dead));
    Ok(page)
}

/// Redrives or purges the selected ones of up to `limit` dead deliveries.
pub async fn settle(
    table: &impl DeadDeliveries,
    endpoint: &EndpointId,
    verb: Verb,
    select: &Selection,
    from: Option<&DeadPosition>,
    limit: usize,
) -> Result<Settled, OperationError> {
    let page = list(table, endpoint, select, from, limit).await?;
    let settle = |dead: DeadDelivery| async move {
        match verb {
            Verb::Redrive => repeat(|| table.redrive(&dead)).await,
            Verb::Purge => repeat(|| table.purge(&dead)).await,
        }
    };
    let settles = page.deliveries.into_iter().map(settle).collect::<Vec<_>>();
    let mut settles = stream::iter(settles).buffer_unordered(CONCURRENCY);
    let mut settled = Settled { unreadable: page.unreadable, next: page.next, ..Settled::default() };
    while let Some(result) = settles.next().await {
        match result.map_err(OperationError::Deliveries)? {
            Changed::Applied => settled.settled += 1,
            Changed::Refused => settled.skipped += 1,
        }
    }
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_from_its_text() {
        let endpoint = EndpointId::parse("wh_a").unwrap();
        let after = Some(WebhookId::of(&[b"1"], &endpoint).as_str().to_owned());
        for position in [DeadPosition::default(), DeadPosition { bucket: 7, after }] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "1", "x.", "-1.", "7.a"] {
            assert_eq!(text.parse::<DeadPosition>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
