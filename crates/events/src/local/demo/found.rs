//! What is in the tables, the queues and the logs of the sinks, and its comparison with what was sent. Must not know the
//! programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process;
use std::time::SystemTime;

use aws_sdk_dynamodb::Client as Dynamo;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::types::QueueAttributeName;
use demo::Check;
use indicatif::HumanCount;
use serde_json::Value;
use serde_json::value::RawValue;

use super::events::{Event, Events, NOBODY};

const USER_AGENT: &str = "event-pipeline-demo";

/// The names of the queues and tables. They are new in each run, because given servers may have those of an earlier one.
pub(super) struct Names {
    pub(super) queue: String,
    pub(super) dead: String,
    pub(super) deliver_dead: String,
    pub(super) events: String,
    pub(super) routes: String,
    pub(super) deliveries: String,
    pub(super) leases: String,
}

impl Names {
    pub(super) fn new() -> Names {
        #[expect(clippy::disallowed_methods, reason = "a name that no earlier run has")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let name = |what: &str| format!("demo-{now}-{}-{what}", process::id());
        Names {
            queue: name("events"),
            dead: name("events-dlq"),
            deliver_dead: name("deliver-dlq"),
            events: name("table-of-events"),
            routes: name("routes"),
            deliveries: name("deliveries"),
            leases: name("leases"),
        }
    }
}

/// A message of a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct DeadLetter {
    reason: String,
    body: String,
}

/// A request that a sink received.
#[derive(Debug, Clone)]
struct Receipt {
    path: String,
    number: Option<u32>,
    data: String,
    is_accepted: bool,
    is_verified: bool,
    is_duplicate: bool,
}

/// Reads the results with clients of its own.
pub(super) struct Reader {
    sqs: Sqs,
    dynamo: Dynamo,
    names: Names,
}

/// The results at one time.
pub(super) struct Found {
    /// By client and sort key: the text of `data`.
    stored: BTreeMap<(String, String), String>,
    /// The deliveries that wait.
    waiting: usize,
    dead: Vec<DeadLetter>,
    deliver_dead: Vec<DeadLetter>,
    receipts: Vec<Receipt>,
}

impl Reader {
    pub(super) async fn connect(sqs: &str, dynamo: &str, names: Names) -> Result<Reader, String> {
        let config = dynamodb::sdk_config(Some(sqs)).await.map_err(|problem| problem.to_string())?;
        let dynamo = dynamodb::connect(Some(dynamo), USER_AGENT).await.map_err(|problem| problem.to_string())?;
        Ok(Reader { sqs: Sqs::new(&config), dynamo, names })
    }

    /// Returns how many messages the queue of events has.
    pub(super) async fn backlog(&self) -> Result<usize, String> {
        let url = self.url(&self.names.queue).await?;
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let in_flight = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let names = [visible.clone(), in_flight.clone()];
        let request = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let attributes = request.send().await.map_err(of_sqs)?.attributes.unwrap_or_default();
        let count =
            |name| attributes.get(name).and_then(|text: &String| text.parse::<usize>().ok()).unwrap_or_default();
        Ok(count(&visible) + count(&in_flight))
    }

    pub(super) async fn read(&self, logs: &[String]) -> Result<Found, String> {
        let stored = self.items(&self.names.events).await?;
        let text = |item: &BTreeMap<String, AttributeValue>, name: &str| {
            item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
        };
        let stored = stored.iter().map(|item| ((text(item, "client_id"), text(item, "event_key")), text(item, "data")));
        let deliveries = self.items(&self.names.deliveries).await?;
        Ok(Found {
            stored: stored.collect(),
            waiting: deliveries.iter().filter(|item| text(item, "queue").starts_with("w#")).count(),
            dead: self.dead_letters(&self.names.dead).await?,
            deliver_dead: self.dead_letters(&self.names.deliver_dead).await?,
            receipts: logs.iter().flat_map(|log| receipts(log)).collect(),
        })
    }

    async fn items(&self, table: &str) -> Result<Vec<BTreeMap<String, AttributeValue>>, String> {
        let mut pages = self.dynamo.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| format!("cannot scan {table}: {}", ops::cause(&error)))?;
            items.push(item.into_iter().collect());
        }
        Ok(items)
    }

    /// Reads a queue to its end, and makes the messages visible again.
    async fn dead_letters(&self, queue: &str) -> Result<Vec<DeadLetter>, String> {
        let url = self.url(queue).await?;
        let (mut found, mut handles) = (Vec::new(), Vec::new());
        loop {
            let receive = self.sqs.receive_message().queue_url(&url).max_number_of_messages(10).visibility_timeout(60);
            let messages = receive.message_attribute_names("All").send().await.map_err(of_sqs)?.messages;
            let messages = messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let attributes = message.message_attributes.unwrap_or_default();
                let reason = attributes.get("reason").and_then(|reason| reason.string_value.clone());
                found.push(DeadLetter { reason: reason.unwrap_or_default(), body: message.body.unwrap_or_default() });
                handles.extend(message.receipt_handle);
            }
        }
        for handle in handles {
            let change = self.sqs.change_message_visibility().queue_url(&url).receipt_handle(handle);
            change.visibility_timeout(0).send().await.map_err(of_sqs)?;
        }
        Ok(found)
    }

    async fn url(&self, queue: &str) -> Result<String, String> {
        let found = self.sqs.get_queue_url().queue_name(queue).send().await.map_err(of_sqs)?;
        found.queue_url.ok_or_else(|| format!("{queue} has no URL"))
    }
}

fn of_sqs(error: impl std::error::Error + 'static) -> String {
    ops::cause(&error)
}

/// Reads the complete lines of the log of a sink.
fn receipts(log: &str) -> Vec<Receipt> {
    let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
    complete.lines().map(receipt).collect()
}

fn receipt(line: &str) -> Receipt {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        body: Option<Body<'a>>,
    }
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    let data = serde_json::from_str(line).ok().and_then(|line: Line<'_>| Some(line.body?.data.get().to_owned()));
    let number = value["body"]["data"]["number"].as_u64().and_then(|number| number.try_into().ok());
    Receipt {
        path: value["path"].as_str().unwrap_or_default().to_owned(),
        number,
        data: data.unwrap_or_default(),
        is_accepted: value["status"].as_u64().is_some_and(|status| (200..300).contains(&status)),
        is_verified: value["verified"] == true,
        is_duplicate: value["duplicate"] == true,
    }
}

type Checks = Vec<(Check, &'static str, &'static str)>;

impl Found {
    /// Returns how much is not where it must be before the redrive.
    pub(super) fn missing(&self, events: &Events) -> usize {
        self.check(events).iter().map(|(check, ..)| check.differences.len()).sum::<usize>() + self.waiting
    }

    /// Returns how much is not where it must be after the redrive.
    pub(super) fn missing_redriven(&self, events: &Events) -> usize {
        self.check_redriven(events).iter().map(|(check, ..)| check.differences.len()).sum::<usize>() + self.waiting
    }

    /// Compares the results before the redrive.
    pub(super) fn check(&self, events: &Events) -> Checks {
        let stored = events.valid.iter().map(|event| {
            let data = self.stored.get(&(event.client.to_owned(), event.key()));
            if data == Some(&event.data()) { Ok(()) } else { Err(format!("{event:?}: {data:?}")) }
        });
        let delivered = events.valid.iter().filter(|event| event.is_delivered());
        let accepted = self.accepted();
        let delivered = delivered.map(|event| is_accepted(&accepted, event));
        let nobody = events.valid.iter().filter(|event| event.client == NOBODY);
        let no_route = nobody.map(|event| {
            let body =
                format!(r#"{{"client_id":"{NOBODY}","event_type":"{}","data":{}}}"#, event.event_type, event.data());
            let letter = DeadLetter { reason: "no_route".to_owned(), body };
            if self.deliver_dead.contains(&letter) { Ok(()) } else { Err(format!("{letter:?}")) }
        });
        vec![
            (Check::of(stored), "events", "are in the table, with the numbers as they were sent"),
            (Check::of(delivered), "events", "were delivered to the route of their client"),
            (
                Check::nothing(self.unexpected(events)),
                "unexpected webhooks",
                "were delivered, e.g. of other event types",
            ),
            (
                self.check_dead(events),
                "invalid messages",
                "are in the dead-letter queue, byte for byte and with their reason",
            ),
            (Check::of(no_route), "events of a client without a route", "are in the dead-letter queue of deliveries"),
        ]
    }

    /// Compares what the redrive changed.
    pub(super) fn check_redriven(&self, events: &Events) -> Checks {
        let accepted = self.accepted();
        let nobody = events.valid.iter().filter(|event| event.client == NOBODY);
        let unsigned =
            self.receipts.iter().filter(|receipt| !receipt.is_verified && receipt.path != format!("/{NOBODY}"));
        let left = self.deliver_dead.iter().map(|letter| format!("{letter:?}")).collect();
        let more = self.stored.len().saturating_sub(events.valid.len());
        vec![
            (Check::of(nobody.map(|event| is_accepted(&accepted, event))), "redriven events", "were delivered"),
            (Check::nothing(left), "dead letters", "are left in the dead-letter queue of deliveries"),
            (Check::nothing(vec!["an event".to_owned(); more]), "other events", "are in the table"),
            (
                Check::nothing(unsigned.map(|receipt| format!("{receipt:?}")).collect()),
                "webhooks",
                "have no valid signature",
            ),
        ]
    }

    fn accepted(&self) -> BTreeSet<(&str, u32, &str)> {
        let accepted = self.receipts.iter().filter(|receipt| receipt.is_accepted);
        accepted.filter_map(|receipt| Some((receipt.path.as_str(), receipt.number?, receipt.data.as_str()))).collect()
    }

    fn unexpected(&self, events: &Events) -> Vec<String> {
        let expected: BTreeSet<_> = events
            .valid
            .iter()
            .filter(|event| event.is_delivered())
            .map(|event| (format!("/{}", event.client), event.number))
            .collect();
        let is_expected = |receipt: &&Receipt| {
            receipt.number.is_some_and(|number| expected.contains(&(receipt.path.clone(), number)))
        };
        self.receipts.iter().filter(|receipt| !is_expected(receipt)).map(|receipt| format!("{receipt:?}")).collect()
    }

    fn check_dead(&self, events: &Events) -> Check {
        let mut left = self.dead.clone();
        let results: Vec<_> = events
            .invalid
            .iter()
            .map(|(body, reason)| {
                let wanted = DeadLetter { reason: (*reason).to_owned(), body: body.clone() };
                match left.iter().position(|letter| *letter == wanted) {
                    Some(position) => {
                        left.swap_remove(position);
                        Ok(())
                    }
                    None => Err(format!("missing: {wanted:?}")),
                }
            })
            .collect();
        let mut check = Check::of(results);
        check.differences.extend(left.iter().map(|letter| format!("unexpected: {letter:?}")));
        check
    }

    pub(super) fn failed_requests(&self) -> usize {
        self.receipts.iter().filter(|receipt| !receipt.is_accepted).count()
    }

    pub(super) fn duplicates(&self) -> usize {
        self.receipts.iter().filter(|receipt| receipt.is_duplicate).count()
    }
}

fn is_accepted(accepted: &BTreeSet<(&str, u32, &str)>, event: &Event) -> Result<(), String> {
    let (path, data) = (format!("/{}", event.client), event.data());
    if accepted.contains(&(path.as_str(), event.number, data.as_str())) { Ok(()) } else { Err(format!("{event:?}")) }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, count: usize, meaning: &str| {
            writeln!(f, "  {name:<20}{:>8}   {meaning}", HumanCount(count as u64).to_string())
        };
        line(f, "stored", self.stored.len(), "events in the table")?;
        line(f, "delivered", self.accepted().len(), "events that a sink accepted")?;
        line(f, "dead-lettered", self.dead.len() + self.deliver_dead.len(), "by reason:")?;
        let mut reasons = BTreeMap::<&str, usize>::new();
        for letter in self.dead.iter().chain(&self.deliver_dead) {
            *reasons.entry(&letter.reason).or_default() += 1;
        }
        reasons
            .iter()
            .try_for_each(|(reason, count)| writeln!(f, "    {reason:<22}{:>8}", HumanCount(*count as u64).to_string()))
    }
}
