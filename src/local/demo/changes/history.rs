//! The history table as it is, and its comparison with what was published. This module must not know the reader.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use demo::Check;
use indicatif::HumanCount;

use super::LIFETIME;
use super::children::Children;
use super::waves::{Fate, Service, Services};
use crate::local::demo::Error;
use crate::local::demo::report::date;

type Item = HashMap<String, AttributeValue>;

/// The address and the port of a service.
type Key = (String, u16);

/// An entry, as far as the published messages determine it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    number: u64,
    event: String,
    reason: Option<String>,
    time: u64,
    old_timestamp: Option<u64>,
}

/// The contents of the table.
pub(super) struct History {
    entries: BTreeMap<Key, Vec<Entry>>,
    /// The number of changes and the first scan of each service.
    summaries: BTreeMap<Key, (Option<u64>, Option<u64>)>,
    unknown: Vec<String>,
    /// What the reader reported as lost.
    pub(super) gaps: Vec<String>,
}

/// Returns the number of entries.
pub(super) async fn count(client: &Client, children: &Children) -> Result<usize, Error> {
    let mut count = 0;
    let mut start = None;
    loop {
        let page = client
            .scan()
            .table_name(&children.history)
            .select(Select::Count)
            .consistent_read(true)
            .filter_expression("attribute_exists(#event)")
            .expression_attribute_names("#event", "event")
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| Error::Changes(DisplayErrorContext(error).to_string()))?;
        count += usize::try_from(page.count()).unwrap_or_default();
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(count);
        }
    }
}

/// Deletes the record of a service.
pub(super) async fn delete(client: &Client, children: &Children, service: &Service) -> Result<(), Error> {
    let key = AttributeValue::S(format!("{}#{}#HTTP", service.ip(), service.port()));
    let deleted = client.delete_item().table_name(&children.table).key("pk", key).send().await;
    deleted.map(drop).map_err(|error| Error::Changes(DisplayErrorContext(error).to_string()))
}

/// Reads the whole table.
pub(super) async fn read(client: &Client, children: &Children) -> Result<History, Error> {
    let mut history =
        History { entries: BTreeMap::new(), summaries: BTreeMap::new(), unknown: Vec::new(), gaps: Vec::new() };
    let mut pages = client.scan().table_name(&children.history).consistent_read(true).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        history.add(&item.map_err(|error| Error::Changes(DisplayErrorContext(error).to_string()))?);
    }
    for entries in history.entries.values_mut() {
        entries.sort_by_key(|entry| entry.number);
    }
    Ok(history)
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The entries of a changed and of an expired service.
pub(super) struct Sample<'a>(pub(super) &'a History, pub(super) &'a Services);

impl fmt::Display for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample(history, services) = self;
        writeln!(f, "Two of {} services\n", HumanCount(services.len() as u64))?;
        for fate in [Fate::Changed, Fate::Expired] {
            let Some(service) = services.all.iter().find(|service| service.fate == fate) else { continue };
            let (ip, port) = (service.ip(), service.port());
            for entry in history.entries.get(&(ip.clone(), port)).into_iter().flatten() {
                let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                writeln!(f, "  {ip:<12}{port:<6}HTTP   {}  {}{reason}", date(&entry.time.to_string()), entry.event)?;
            }
        }
        Ok(())
    }
}

impl History {
    fn add(&mut self, item: &Item) {
        let (Some(ip), Some(sort)) = (text(item, "ip"), text(item, "entry")) else {
            return self.unknown.push(format!("{item:?}"));
        };
        let mut parts = sort.split('#');
        let (kind, port) = (parts.next(), parts.next().and_then(|port| port.parse().ok()).unwrap_or_default());
        match (ip, kind, text(item, "event")) {
            (_, Some("summary"), _) => {
                let summary = (number(item, "changes"), number(item, "first_seen"));
                self.summaries.insert((ip.to_owned(), port), summary);
            }
            (_, Some(time), Some(event)) => {
                let entry = Entry {
                    number: number(item, "number").unwrap_or_default(),
                    event: event.to_owned(),
                    reason: text(item, "reason").map(str::to_owned),
                    time: time.parse().unwrap_or_default(),
                    old_timestamp: number(item, "old_timestamp"),
                };
                self.entries.entry((ip.to_owned(), port)).or_default().push(entry);
            }
            ("meta", ..) => {}
            ("gaps", ..) => self.gaps.push(format!("{ip} {sort}")),
            _ => self.unknown.push(format!("{ip} {sort}")),
        }
    }

    /// Compares the table with the waves. Each check has a subject and a predicate.
    pub(super) fn check(&self, services: &Services) -> Vec<(Check, &'static str, &'static str)> {
        let of = |fates: &'static [Fate]| services.all.iter().filter(|service| fates.contains(&service.fate));
        let check = |fates: &'static [Fate]| Check::of(of(fates).map(|service| self.check_service(services, service)));
        let scanned: BTreeSet<Key> = services.all.iter().map(|service| (service.ip(), service.port())).collect();
        let entries = self.entries.iter().flat_map(|(key, entries)| entries.iter().map(move |_| key));
        let known = entries.chain(self.summaries.keys()).map(|key| match scanned.contains(key) {
            true => Ok(()),
            false => Err(format!("{key:?}")),
        });
        let items = Check::of(known.chain(self.unknown.iter().chain(&self.gaps).cloned().map(Err)));
        vec![
            (check(&[Fate::Changed]), "changed services", "have the entries opened and changed"),
            (check(&[Fate::Expired]), "expired services", "have the entries opened and closed"),
            (check(&[Fate::Masked]), "services with only a new date and cookie", "have no entry but opened"),
            (
                check(&[Fate::Same, Fate::Late]),
                "services with equal, repeated or late scans",
                "have no entry but opened",
            ),
            (
                Check::of(services.all.iter().map(|service| self.check_summary(services, service))),
                "services",
                "have a summary with their first scan and the number of their changes",
            ),
            (items, "entries and summaries", "belong to scanned services"),
        ]
    }

    fn check_service(&self, services: &Services, service: &Service) -> Result<(), String> {
        let key = (service.ip(), service.port());
        let found = self.entries.get(&key).map(Vec::as_slice).unwrap_or_default();
        let first = services.opened(service);
        let opened =
            found.first().is_some_and(|entry| (entry.number, entry.event.as_str(), entry.time) == (1, "opened", first));
        let rest = match (service.fate, &found[found.len().min(1)..]) {
            (Fate::Changed, [entry]) => {
                let is_changed = entry.number == 2 && entry.event == "changed";
                is_changed && entry.time == services.times.second && entry.old_timestamp == Some(first)
            }
            (Fate::Expired, [entry]) => {
                let is_closed = entry.number == 2 && entry.event == "closed";
                let is_expired = entry.reason.as_deref() == Some("expired");
                // DynamoDB Local rounds it down to a minute.
                is_closed && is_expired && entry.time + 60 > first + LIFETIME.as_secs()
            }
            (Fate::Same | Fate::Masked | Fate::Late, []) => true,
            _ => false,
        };
        if opened && rest { Ok(()) } else { Err(format!("{key:?}, {:?}: {found:?}", service.fate)) }
    }

    fn check_summary(&self, services: &Services, service: &Service) -> Result<(), String> {
        let key = (service.ip(), service.port());
        let changes = if matches!(service.fate, Fate::Changed | Fate::Expired) { 2 } else { 1 };
        match self.summaries.get(&key) {
            Some(found) if *found == (Some(changes), Some(services.opened(service))) => Ok(()),
            found => Err(format!("{key:?}: {found:?}")),
        }
    }
}
