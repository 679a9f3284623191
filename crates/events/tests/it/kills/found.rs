//! What was found at the end, and its comparison with what was sent.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};

use super::World;
use super::endpoints::Notes;
use super::messages::{Event, Kind, Messages};
use crate::support::servers::{Dynamo, Sqs};

type Item = HashMap<String, AttributeValue>;

/// The tables and queues of the pipeline.
const TABLES: [&str; 4] = ["Events", "deliveries", "event-leases", "routes"];
const QUEUES: [&str; 3] = ["deliver-dlq", "events", "events-dlq"];
/// How many differences a failed test shows.
const SHOWN: usize = 10;

/// The reason of a dead letter, and how often it was found with each reason, by its body.
type ByReason = BTreeMap<String, BTreeMap<String, usize>>;

/// The dead letters that were taken out of their queues.
#[derive(Default)]
pub(super) struct DeadLetters {
    pub(super) of_events: ByReason,
    pub(super) of_deliveries: ByReason,
}

impl DeadLetters {
    /// Takes all dead letters out of their queues.
    pub(super) async fn collect(&mut self, sqs: &Sqs) {
        for (queue, letters) in [("events-dlq", &mut self.of_events), ("deliver-dlq", &mut self.of_deliveries)] {
            let url = sqs.url(queue).await;
            loop {
                let receive = sqs.client.receive_message().queue_url(&url).max_number_of_messages(10);
                let received = receive.message_attribute_names("All").send().await.expect("the queue exists");
                let messages = received.messages.unwrap_or_default();
                if messages.is_empty() {
                    break;
                }
                delete(sqs, &url, &messages).await;
                for message in messages {
                    let reason = message.message_attributes.as_ref().and_then(|attributes| attributes.get("reason"));
                    let reason = reason.and_then(|reason| reason.string_value()).unwrap_or("no reason").to_owned();
                    let reasons = letters.entry(message.body.unwrap_or_default()).or_default();
                    *reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
}

async fn delete(sqs: &Sqs, url: &str, messages: &[Message]) {
    let entries = messages.iter().enumerate().map(|(index, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
        entry.set_receipt_handle(message.receipt_handle.clone()).build().expect("a complete entry")
    });
    let delete = sqs.client.delete_message_batch().queue_url(url).set_entries(Some(entries.collect()));
    let deleted = delete.send().await.expect("the queue exists");
    assert!(deleted.failed.is_empty(), "{:?}", deleted.failed);
}

/// Returns how many deliveries wait. The table also has markers.
pub(super) async fn waiting(dynamo: &Dynamo) -> usize {
    scan(dynamo, "deliveries").await.iter().filter(|item| !text(item, "queue").starts_with("backlogs#")).count()
}

async fn scan(dynamo: &Dynamo, table: &str) -> Vec<Item> {
    let pages = dynamo.client.scan().table_name(table).consistent_read(true).into_paginator();
    pages.items().send().collect::<Result<Vec<_>, _>>().await.expect("the table exists")
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// What was found at the end.
pub(super) struct Found {
    events: Vec<Item>,
    dead: DeadLetters,
    /// What is where nothing must be.
    left: Vec<String>,
}

impl Found {
    pub(super) async fn read(world: &World, mut dead: DeadLetters) -> Found {
        let (sqs, dynamo) = (&world.servers.sqs, &world.servers.dynamo);
        dead.collect(sqs).await;
        let mut left = Vec::new();
        let messages = sqs.receive_all("events").await;
        left.extend(messages.iter().map(|message| format!("in the queue: {message:?}")));
        let others = waiting(dynamo).await;
        left.extend((others > 0).then(|| format!("{others} deliveries wait")));
        let tables =
            dynamo.client.list_tables().send().await.expect("the server answers").table_names.unwrap_or_default();
        let queues = sqs.client.list_queues().send().await.expect("the server answers").queue_urls.unwrap_or_default();
        let mut queues: Vec<_> = queues.iter().filter_map(|url| url.rsplit('/').next()).collect();
        queues.sort_unstable();
        left.extend((tables != TABLES || queues != QUEUES).then(|| format!("tables {tables:?}, queues {queues:?}")));
        Found { events: scan(dynamo, "Events").await, dead, left }
    }

    pub(super) fn stored(&self) -> usize {
        self.events.len()
    }

    /// Returns how many events were stored for direct dispatch.
    pub(super) fn direct(&self) -> usize {
        self.events.iter().filter(|item| text(item, "dispatch") == "direct").count()
    }

    pub(super) fn dead(&self) -> usize {
        self.dead.of_events.len() + self.dead.of_deliveries.len()
    }

    /// Returns how many dead letters were sent more than once.
    pub(super) fn repeated(&self) -> usize {
        let letters = self.dead.of_events.values().chain(self.dead.of_deliveries.values());
        letters.map(|reasons| reasons.values().sum::<usize>() - 1).sum()
    }

    /// Compares all with what was sent. `ids` are the ids of the messages.
    pub(super) fn check(&self, messages: &Messages, ids: &HashMap<usize, String>, notes: &Notes) {
        let mut differences = self.left.clone();
        let stored = self.check_stored(messages, ids, &mut differences);
        check_received(messages, &stored, notes, &mut differences);
        let (mut of_events, mut of_deliveries) = (BTreeMap::new(), BTreeMap::new());
        for (number, message) in messages.all.iter().enumerate() {
            match &message.kind {
                Kind::Invalid(reason) => _ = of_events.insert(message.body.clone(), *reason),
                Kind::Valid(_) if !stored.contains_key(&number) => {
                    _ = of_events.insert(message.body.clone(), "conflict")
                }
                Kind::Valid(event) if !event.has_route() => _ = of_deliveries.insert(event.webhook(), "no_route"),
                Kind::Valid(_) => {}
            }
        }
        compare("events-dlq", &of_events, &self.dead.of_events, &mut differences);
        compare("deliver-dlq", &of_deliveries, &self.dead.of_deliveries, &mut differences);
        let (count, shown) = (differences.len(), differences.iter().take(SHOWN).collect::<Vec<_>>());
        assert_eq!(count, 0, "{shown:#?}");
    }

    /// Returns the events that are stored, by their numbers.
    fn check_stored<'a>(
        &self,
        messages: &'a Messages,
        ids: &HashMap<usize, String>,
        differences: &mut Vec<String>,
    ) -> HashMap<usize, &'a Event> {
        let mut stored = HashMap::new();
        for item in &self.events {
            let data: serde_json::Value = serde_json::from_str(text(item, "data")).unwrap_or_default();
            let number = data["number"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
            let event = messages.event(number);
            let key = text(item, "event_key");
            let is_expected = event.is_some_and(|event| {
                let has_its_key = match &event.key {
                    Some(own) => key == own,
                    None => ids.get(&number).is_some_and(|id| key.ends_with(&format!("Z#{id}"))),
                };
                has_its_key && text(item, "client_id") == event.client && text(item, "data") == event.data
            });
            match event {
                Some(event) if is_expected && stored.insert(number, event).is_none() => {}
                _ => differences.push(format!("stored: {item:?}, sent: {event:?}")),
            }
        }
        let rivals: HashMap<usize, usize> =
            messages.events().filter_map(|(number, event)| Some((event.rival?, number))).collect();
        for (number, event) in messages.events().filter(|(number, _)| !stored.contains_key(number)) {
            let other = event.rival.or_else(|| rivals.get(&number).copied());
            if !other.is_some_and(|other| stored.contains_key(&other)) {
                differences.push(format!("not stored: {event:?}"));
            }
        }
        stored
    }
}

/// Each stored event with a route was received, on the path of its client and with its body, and nothing else was.
fn check_received(messages: &Messages, stored: &HashMap<usize, &Event>, notes: &Notes, differences: &mut Vec<String>) {
    differences.extend(notes.strange.iter().map(|strange| format!("received: {strange}")));
    for (number, receipt) in &notes.accepted {
        let is_expected = stored.get(number).is_some_and(|event| {
            event.has_route()
                && receipt.path == format!("/{}", event.client)
                && receipt.body == event.webhook()
                && !receipt.webhook_id.is_empty()
        });
        if !is_expected {
            differences.push(format!("received: {receipt:?}, sent: {:?}", messages.event(*number)));
        }
    }
    let missing = stored.iter().filter(|(number, event)| event.has_route() && !notes.accepted.contains_key(number));
    differences.extend(missing.map(|(_, event)| format!("not received: {event:?}")));
}

/// Each expected dead letter was found at least once with its reason, and no other one.
fn compare(queue: &str, expected: &BTreeMap<String, &str>, found: &ByReason, differences: &mut Vec<String>) {
    for (body, reason) in expected {
        let reasons = found.get(body);
        if !reasons.is_some_and(|reasons| reasons.keys().eq([reason])) {
            differences.push(format!("{queue}: {body} with {reasons:?}, expected: {reason}"));
        }
    }
    let others = found.iter().filter(|(body, _)| !expected.contains_key(*body));
    differences.extend(others.map(|(body, reasons)| format!("{queue}: {body} with {reasons:?}, expected: none")));
}
