//! Formats results: as text for people, or as one JSON object per line for programs. Pure.
//!
//! What strangers wrote (URLs, descriptions, answers) is escaped, so that a terminal interprets none of it.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use webhooks::{Answer, EndpointId, Failure, LastAttempt, Secret, StoredDelivery, WebhookId};

use super::replay::Counts;
use crate::dynamo::FoundDelivery;
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::{DeadDelivery, Settled, Verb};
use crate::subscriptions::operations::Trial;
use crate::subscriptions::{Subscription, SubscriptionView};
use ops::terminal::{ascii_json, sanitize};

const MAX_CHARS: usize = 60;
const MAX_URL_CHARS: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

impl Format {
    /// Formats a new secret. No other output has one.
    pub(super) fn with_secret(self, done: &str, subscription: &Subscription, secret: &Secret) -> String {
        let view = SubscriptionView::with_url(subscription);
        let secret = secret.reveal();
        match self {
            Format::Json => line(&WithSecret { subscription: &view, secret: secret.as_str() }),
            Format::Text => {
                format!("{done} {}. Its signing secret is not shown again:\n{}\n", subscription.id, secret.as_str())
            }
        }
    }

    pub(super) fn changed(self, done: &str, subscription: &Subscription) -> String {
        match self {
            Format::Json => line(&SubscriptionView::with_url(subscription)),
            Format::Text => format!("{done} {}.\n", subscription.id),
        }
    }

    pub(super) fn removed(self, id: &EndpointId) -> String {
        match self {
            Format::Json => line(&json!({ "id": id.as_str(), "removed": true })),
            Format::Text => format!("Removed {id}. Its deliveries that wait are deleted when they are due.\n"),
        }
    }

    pub(super) fn subscriptions(self, subscriptions: &[Subscription]) -> String {
        let views = subscriptions.iter().map(SubscriptionView::of);
        if self == Format::Json {
            return views.map(|view| line(&view)).collect();
        }
        let row = |view: SubscriptionView| {
            let selected = selected(&view);
            let texts = [&view.id, &view.owner, &status(&view), &view.origin, &selected, &view.description];
            texts.map(|text| sanitize(text, MAX_CHARS))
        };
        columns(["ID", "OWNER", "STATUS", "HOST", "CHANGES", "DESCRIPTION"], views.map(row))
    }

    pub(super) fn subscription(self, subscription: &Subscription) -> String {
        let view = SubscriptionView::with_url(subscription);
        if self == Format::Json {
            return line(&view);
        }
        let limit = view.max_per_second.map(|limit| format!(", {limit} per second")).unwrap_or_default();
        let old = view.old_secret_until.map(|until| format!("until {}", rfc3339(until)));
        let lines = [
            ("Id", view.id.clone()),
            ("Owner", view.owner.clone()),
            ("Description", view.description.clone()),
            ("URL", subscription.url.clone()),
            ("Changes", selected(&view)),
            ("Status", status(&view)),
            ("Failing since", view.failing_since.map(rfc3339).unwrap_or_default()),
            ("Attempts", format!("{} at the same time{limit}", view.max_concurrency)),
            ("Old secret", old.unwrap_or_default()),
            ("Created", rfc3339(view.created)),
            ("Updated", rfc3339(view.updated)),
        ];
        facts(&lines)
    }

    pub(super) fn trial(self, trial: &Trial) -> String {
        let took = u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX);
        let outcome = Attempt::of(&trial.result);
        match self {
            Format::Json => line(&json!({
                "id": trial.id.as_str(),
                "accepted": trial.is_accepted(),
                "status": outcome.status,
                "error": outcome.error,
                "answer": outcome.answer,
                "took_ms": took,
            })),
            Format::Text => {
                let result = if trial.is_accepted() { "Accepted" } else { "Not accepted" };
                let mut text = format!("{result} after {took} ms: {}\n", outcome.result());
                if let Some(answer) = outcome.answer.filter(|answer| !answer.is_empty()) {
                    _ = writeln!(text, "Answer: {}", sanitize(&answer, Answer::MAX_BODY));
                }
                text
            }
        }
    }

    pub(super) fn delivery(self, id: &WebhookId, found: &FoundDelivery) -> String {
        let waiting = found.waiting.as_ref().map(|item| {
            let Value::Object(mut attempt) = attempts(item) else { unreachable!("it is an object") };
            attempt.insert("due".to_owned(), json!(to_unix_seconds(item.due)));
            Value::Object(attempt)
        });
        let delivered = found.delivered.as_ref().map(|delivered| {
            let took = u64::try_from(delivered.took.as_millis()).unwrap_or(u64::MAX);
            json!({ "at": to_unix_seconds(delivered.at), "attempts": delivered.attempts, "took_ms": took })
        });
        if self == Format::Json {
            let dead = found.dead.as_ref().map(dead_json);
            return line(&json!({ "id": id.as_str(), "waiting": waiting, "dead": dead, "delivered": delivered }));
        }
        let mut text = String::new();
        if let Some(item) = &found.waiting {
            let last = item.last.as_ref().map(|last| format!("; last: {}", Attempt::of(&last.result).result()));
            let (attempts, due, last) = (item.attempts, rfc3339(to_unix_seconds(item.due)), last.unwrap_or_default());
            _ = writeln!(text, "Waiting: {attempts} failed attempts, due {due}{last}");
        }
        if let Some(dead) = &found.dead {
            let last = dead.item.last.as_ref().map(|last| format!("; last: {}", Attempt::of(&last.result).result()));
            let (died, reason, last) =
                (rfc3339(to_unix_seconds(dead.died)), dead.reason.as_str(), last.unwrap_or_default());
            _ = writeln!(text, "Dead: since {died}, {reason} after {} attempts{last}", dead.item.attempts);
        }
        if let Some(delivered) = &found.delivered {
            let (at, attempts) = (rfc3339(to_unix_seconds(delivered.at)), delivered.attempts);
            _ = writeln!(text, "Delivered: {at}, attempt {attempts}, in {} ms", delivered.took.as_millis());
        }
        if text.is_empty() {
            text.push_str("Nothing is stored of this delivery. A success is stored only with --log-deliveries.\n");
        }
        text
    }

    pub(super) fn dead(self, deliveries: &[DeadDelivery]) -> String {
        if self == Format::Json {
            return deliveries.iter().map(|dead| line(&dead_json(dead))).collect();
        }
        let row = |dead: &DeadDelivery| {
            let attempt = dead.item.last.as_ref().map(|last| Attempt::of(&last.result));
            let result = attempt.as_ref().map(Attempt::result).unwrap_or_default();
            let answer = attempt.and_then(|attempt| attempt.answer).unwrap_or_default();
            let delivery = &dead.item.delivery;
            [
                delivery.endpoint.as_str().to_owned(),
                delivery.id.as_str().to_owned(),
                rfc3339(to_unix_seconds(dead.died)),
                dead.reason.as_str().to_owned(),
                dead.item.attempts.to_string(),
                sanitize(&result, MAX_CHARS),
                sanitize(&answer, MAX_CHARS),
            ]
        };
        let head = ["SUBSCRIPTION", "DELIVERY", "DIED", "REASON", "ATTEMPTS", "LAST", "ANSWER"];
        columns(head, deliveries.iter().map(row))
    }

    pub(super) fn settled(self, verb: Verb, settled: &Settled, is_stopped: bool) -> String {
        let Settled { settled: count, skipped, unreadable, .. } = settled;
        let (name, done) = match verb {
            Verb::Redrive => ("redriven", "Redriven"),
            Verb::Purge => ("purged", "Purged"),
        };
        match self {
            Format::Json => line(&json!({
                name: count, "skipped": skipped, "unreadable": unreadable, "stopped": is_stopped
            })),
            Format::Text => {
                let mut text = format!("{done}: {count}. Changed by others meanwhile: {skipped}.\n");
                if *unreadable > 0 {
                    _ = writeln!(text, "warning: this version cannot read {unreadable} more; update mini-scan");
                }
                if is_stopped {
                    text.push_str("Stopped before the end. To continue, run the same command.\n");
                }
                text
            }
        }
    }

    pub(super) fn replayed(self, counts: &Counts, is_stopped: bool) -> String {
        let Counts { scanned, stored, were_waiting, .. } = counts;
        match self {
            Format::Json => line(&json!({
                "stored": stored, "were_waiting": were_waiting, "scanned": scanned, "stopped": is_stopped
            })),
            Format::Text => format!("Deliveries stored: {stored}. Were waiting, and are due now: {were_waiting}.\n"),
        }
    }
}

/// A subscription beside its new secret.
#[derive(Serialize)]
struct WithSecret<'a> {
    #[serde(flatten)]
    subscription: &'a SubscriptionView,
    secret: &'a str,
}

/// The result of an attempt in the parts that are shown.
struct Attempt {
    status: Option<u16>,
    error: Option<String>,
    /// Words of a stranger.
    answer: Option<String>,
}

impl Attempt {
    fn of(result: &Result<Answer, Failure>) -> Attempt {
        match result {
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                Attempt { status: Some(answer.status), error: None, answer: Some(body) }
            }
            Err(failure) => Attempt { status: None, error: Some(failure.to_string()), answer: None },
        }
    }

    fn result(&self) -> String {
        match (self.status, &self.error) {
            (Some(status), _) => format!("status {status}"),
            (None, error) => error.clone().unwrap_or_default(),
        }
    }
}

fn attempts(item: &StoredDelivery) -> Value {
    let last = item.last.as_ref().map(|LastAttempt { at, result }| (to_unix_seconds(*at), Attempt::of(result)));
    json!({
        "subscription": item.delivery.endpoint.as_str(),
        "delivery": item.delivery.id.as_str(),
        "created": to_unix_seconds(item.created),
        "attempts": item.attempts,
        "last_at": last.as_ref().map(|(at, _)| at),
        "last_status": last.as_ref().and_then(|(_, attempt)| attempt.status),
        "last_error": last.as_ref().and_then(|(_, attempt)| attempt.error.clone()),
        "last_answer": last.as_ref().and_then(|(_, attempt)| attempt.answer.clone()),
    })
}

fn dead_json(dead: &DeadDelivery) -> Value {
    let Value::Object(mut fields) = attempts(&dead.item) else { unreachable!("it is an object") };
    fields.insert("reason".to_owned(), json!(dead.reason.as_str()));
    fields.insert("died".to_owned(), json!(to_unix_seconds(dead.died)));
    Value::Object(fields)
}

fn status(view: &SubscriptionView) -> String {
    match (view.disabled_reason, view.failing_since) {
        (Some(reason), _) => format!("disabled ({reason})"),
        (None, Some(_)) => format!("{}, failing", view.status),
        (None, None) => view.status.to_owned(),
    }
}

/// Describes a filter in a few words.
fn selected(view: &SubscriptionView) -> String {
    let ports: Vec<_> = view.ports.iter().map(ToString::to_string).collect();
    let parts =
        [("networks", &view.networks), ("ports", &ports), ("services", &view.services), ("events", &view.events)];
    let parts = parts.iter().filter(|(_, values)| !values.is_empty());
    let parts: Vec<_> = parts.map(|(name, values)| format!("{name} {}", values.join(","))).collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join("; ") }
}

/// Formats a table. Returns an empty string for no rows.
fn columns<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn facts(lines: &[(&str, String)]) -> String {
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{:14} {}\n", format!("{name}:"), sanitize(value, MAX_URL_CHARS))).collect()
}

fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("its maps have names as keys");
    ascii_json(&json) + "\n"
}

fn rfc3339(seconds: u64) -> String {
    // The last second of the year 9999. Later ones have no notation.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}
