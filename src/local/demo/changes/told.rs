//! What the sinks have received, by their own logs, and its comparison with the published messages. This module is pure,
//! and must not know the engine.

use std::collections::BTreeSet;

use demo::Check;
use serde_json::Value;

use super::waves::{Fate, Service, Services};

/// The address, the port and the type of an event.
type Change = (String, u64, String);

/// A line of a sink.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    path: String,
    change: Change,
    is_accepted: bool,
    is_verified: bool,
    is_duplicate: bool,
}

impl Receipt {
    /// Reads the complete lines of a log.
    pub(super) fn all(log: &str) -> Vec<Receipt> {
        let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete.lines().map(Receipt::read).collect()
    }

    fn read(line: &str) -> Receipt {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let data = &line["body"]["data"];
        Receipt {
            path: text(&line["path"]),
            change: (text(&data["ip"]), data["port"].as_u64().unwrap_or_default(), text(&line["type"])),
            is_accepted: line["status"].as_u64().is_some_and(|status| (200..300).contains(&status)),
            is_verified: line["verified"] == true,
            is_duplicate: line["duplicate"] == true,
        }
    }
}

/// A subscription: the path of its URL, its flags, and what it selects of the events of a service.
pub(super) struct Selection {
    pub(super) path: &'static str,
    pub(super) flags: &'static [&'static str],
    selects: fn(&Service, &str) -> bool,
}

pub(super) const EVERYTHING: Selection = Selection { path: "/everything", flags: &[], selects: |_, _| true };

pub(super) const SUBSET: Selection = Selection {
    path: "/subset",
    flags: &["--network", "1.1.0.0/24", "--event", "scan.changed", "--event", "scan.closed"],
    selects: |service, kind| service.ip().starts_with("1.1.0.") && kind != "scan.opened",
};

pub(super) const NOTHING: Selection =
    Selection { path: "/nothing", flags: &["--network", "203.0.113.0/24"], selects: |_, _| false };

impl Selection {
    /// Returns the changes that it selects.
    fn changes(&self, services: &Services) -> BTreeSet<Change> {
        let changes = services.all.iter().flat_map(|service| {
            let kinds: &[&str] = match service.fate {
                Fate::Changed => &["scan.opened", "scan.changed"],
                Fate::Expired => &["scan.opened", "scan.closed"],
                Fate::Same | Fate::Masked | Fate::Late => &["scan.opened"],
            };
            let selected = kinds.iter().filter(|kind| (self.selects)(service, kind));
            selected.map(|kind| (service.ip(), service.port().into(), (*kind).to_owned()))
        });
        changes.collect()
    }

    /// Returns one result per selected change.
    fn check(&self, told: &Told<'_>) -> Check {
        let accepted = told.receipts.iter().filter(|receipt| receipt.is_accepted && receipt.path == self.path);
        let accepted: BTreeSet<_> = accepted.map(|receipt| &receipt.change).collect();
        let changes = self.changes(told.services);
        let check = |change: &Change| if accepted.contains(change) { Ok(()) } else { Err(format!("{change:?}")) };
        Check::of(changes.iter().map(check))
    }
}

/// The logs of all sinks.
pub(super) struct Told<'a> {
    pub(super) services: &'a Services,
    pub(super) receipts: &'a [Receipt],
}

impl Told<'_> {
    /// Compares the logs with the waves. Each check has a subject and a predicate.
    pub(super) fn check(&self) -> Vec<(Check, &'static str, &'static str)> {
        let signed = |receipt: &Receipt| if receipt.is_verified { Ok(()) } else { Err(format!("{receipt:?}")) };
        vec![
            (EVERYTHING.check(self), "changes", "were delivered to the subscription without a filter"),
            (SUBSET.check(self), "changes", "were delivered to the subscription to a network and two types"),
            (
                Check::nothing(self.others()),
                "unexpected webhooks",
                "were delivered, e.g. to the subscription to another network",
            ),
            (Check::of(self.receipts.iter().map(signed)), "requests", "have a valid signature"),
        ]
    }

    fn others(&self) -> Vec<String> {
        let selected =
            [EVERYTHING, SUBSET, NOTHING].map(|selection| (selection.path, selection.changes(self.services)));
        let is_expected = |receipt: &Receipt| {
            selected.iter().any(|(path, changes)| *path == receipt.path && changes.contains(&receipt.change))
        };
        self.receipts.iter().filter(|receipt| !is_expected(receipt)).map(|receipt| format!("{receipt:?}")).collect()
    }

    /// Returns how many deliveries are missing.
    pub(super) fn missing(&self) -> usize {
        [EVERYTHING, SUBSET].iter().map(|selection| selection.check(self).differences.len()).sum()
    }

    /// Returns how many requests the sinks failed.
    pub(super) fn failed(&self) -> usize {
        self.receipts.iter().filter(|receipt| !receipt.is_accepted).count()
    }

    /// Returns how many webhooks they accepted again.
    pub(super) fn duplicates(&self) -> usize {
        self.receipts.iter().filter(|receipt| receipt.is_duplicate).count()
    }
}
