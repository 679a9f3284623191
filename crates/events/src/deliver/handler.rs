//! Handles the records of the stream of events.

use std::sync::Arc;

use dynamodb_streams::{BoxError, DeadRecord, Outcome, Record};

use super::stream::Change;
use super::{Deliverer, Handled};
use crate::ports::Failure;

/// The handler of records. It is done with a record when each target has its event, or when the delivery is durable.
pub struct Handler {
    deliverer: Deliverer,
}

impl Handler {
    pub fn new(deliverer: Deliverer) -> Handler {
        Handler { deliverer }
    }

    fn note(&self, handled: Handled) -> Outcome {
        self.deliverer.note(handled);
        Outcome::Done
    }
}

impl dynamodb_streams::Handler<Arc<Change>> for Handler {
    async fn handle(&self, record: &Record<Arc<Change>>, _: u32) -> Outcome {
        match &*record.data {
            Change::Other => self.note(Handled::Other),
            Change::Direct => self.note(Handled::Direct),
            Change::Unreadable { why, .. } => Outcome::Dead { reason: why.clone() },
            Change::Event(event) => match self.deliverer.deliver(event, record.read_at).await {
                Ok(_) => Outcome::Done,
                Err(Failure::Unavailable(reason)) => Outcome::Unavailable { after: None, reason },
                Err(Failure::Refused(reason)) => Outcome::Dead { reason },
            },
        }
    }

    async fn store_dead(&self, dead: DeadRecord<'_, Arc<Change>>) -> Result<(), BoxError> {
        let key = match &*dead.record.data {
            Change::Unreadable { key, .. } => key.clone(),
            Change::Event(event) => {
                super::dead::json_of_key(&[("client_id", event.client_id.clone()), ("event_key", event.key.clone())])
            }
            Change::Direct | Change::Other => "{}".to_owned(),
        };
        self.deliverer.bury_record(&key, dead.reason).await.map_err(Into::into)
    }
}
