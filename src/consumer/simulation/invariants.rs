//! What must always hold: which messages may be acked, which dead letters may be published, and which rows the table
//! must have at the end. Knows the published messages, the faults and the answers, but not the consumer's state.

use std::time::Duration;

use tokio::time::Instant;

use super::dead_letters::BARE;
use super::instance::SUBSCRIPTION;
use super::messages::{Truth, publish_time};
use super::pubsub::{Delivered, Published};
use super::world::State;
use crate::consumer::ports::DeadLetter;
use crate::scan::Reason;

impl State {
    /// Returns whether the work of a delivery is durable, so that it may be acked. `trust` is how long its instance may
    /// trust its cache.
    pub(super) fn may_be_acked(&self, delivery: &Delivered, trust: Duration) -> bool {
        let published = &self.subscription.messages[delivery.message];
        let is_done = match published.template.truth {
            Truth::Scan { port, timestamp } => {
                let is_stored = self.table.rows.get(&port).is_some_and(|row| row.timestamp >= timestamp);
                is_stored || self.was_stored(port, timestamp, delivery, trust)
            }
            Truth::Expired => true,
            Truth::Broken => false,
        };
        is_done || self.topic.has(&published.payload)
    }

    /// Returns whether an ack may rely on a row that vanished: after the delivery, so that the store may have answered
    /// before; or so lately that the instance trusts its cache, and not before it noticed that the table is missing.
    fn was_stored(&self, port: u16, timestamp: u64, delivery: &Delivered, trust: Duration) -> bool {
        let now = Instant::now();
        let noticed = self.table.noticed.get(&delivery.instance).filter(|noticed| **noticed < now);
        let is_trusted =
            |vanished: Instant| vanished + trust > now && noticed.is_none_or(|noticed| vanished > *noticed);
        let mut rows = self.table.vanished.iter().filter(|row| row.port == port && row.timestamp >= timestamp);
        rows.any(|row| row.at >= delivery.at || is_trusted(row.at))
    }

    /// Panics unless an instance may publish this dead letter now.
    pub(super) fn check_dead_letter(&self, instance: usize, dead_letter: &DeadLetter) {
        let DeadLetter { payload, attributes } = dead_letter;
        let messages = &self.subscription.messages;
        let id = messages.iter().position(|message| message.payload == *payload);
        let id = id.unwrap_or_else(|| panic!("the payload of a dead letter was never published: {dead_letter:?}"));
        let is_held = |delivery: &&Delivered| delivery.instance == instance && delivery.settled.is_none();
        let delivery = self.subscription.deliveries_of(id).find(is_held);
        let delivery = delivery.unwrap_or_else(|| panic!("instance {instance} does not have message {id}"));

        let Published { template, attempts, .. } = &messages[id];
        let reason = attributes.get("rejection_reason").map(String::as_str);
        let is_refused =
            || template.record(id).is_some_and(|record| self.table.rejects(instance, &record, delivery.at));
        let expected = template.rejection().or_else(|| is_refused().then_some(Reason::RefusedByStore));
        assert_eq!(reason, expected.map(Reason::as_str), "the reason of the dead letter of message {id}");

        if attributes.len() == BARE {
            return assert!(self.topic.has_refused(payload), "message {id} has a bare dead letter without need");
        }
        let attribute = |name: &str| attributes.get(name).map(String::as_str);
        assert_eq!(attribute("source_message_id"), Some(id.to_string().as_str()));
        assert_eq!(attribute("source_subscription"), Some(SUBSCRIPTION));
        assert_eq!(
            attribute("source_publish_time"),
            Some(humantime::format_rfc3339(publish_time()).to_string().as_str())
        );
        assert!(attribute("rejection_detail").is_some_and(|detail| !detail.is_empty()));
        let attempt = attribute("delivery_attempt").map(|attempt| attempt.parse::<u32>().expect("a number"));
        match self.subscription.counts_attempts {
            true => assert!((1..=*attempts).contains(&attempt.expect("a delivery attempt"))),
            false => assert_eq!(attempt, None),
        }
    }

    /// Panics unless each row is exactly the newest scan of its key. Of scans with equal timestamps, the table may have
    /// received any first.
    ///
    /// A newer scan may be missing if it was dead-lettered, or if a row of its key vanished: then its ack was checked.
    pub(super) fn check_rows(&self) {
        let records = || {
            let messages = self.subscription.messages.iter().enumerate();
            messages.filter_map(|(id, message)| Some((message, message.template.record(id)?)))
        };
        for (message, record) in records() {
            let Truth::Scan { port, timestamp } = message.template.truth else { continue };
            if self.topic.has(&message.payload) || self.table.vanished.iter().any(|row| row.port == port) {
                continue;
            }
            let row = self.table.rows.get(&port);
            assert!(row.is_some_and(|row| row.timestamp >= timestamp), "{record:?} is newer than its row {row:?}");
        }
        for row in self.table.rows.values() {
            assert!(records().any(|(_, record)| record == *row), "no message contains this row: {row:?}");
        }
    }
}
