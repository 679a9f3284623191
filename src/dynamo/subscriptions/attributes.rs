//! The items of the table of subscriptions. `docs/webhooks.md` lists the attributes. Pure.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb::Item;
use dynamodb::values::{self, bytes, number, string, text, whole};
use webhooks::{DisabledReason, EndpointId, SealedSecret};

use crate::changes::Event;
use crate::subscriptions::ports::BUCKETS;
use crate::subscriptions::{Filter, Status, StoredSecret, Subscription};

/// The partition key.
pub(super) const BUCKET: &str = "bucket";
/// The sort key.
pub(super) const ID: &str = "id";
pub(super) const OWNER: &str = "owner";
pub(super) const URL: &str = "url";
pub(super) const STATUS: &str = "status";
pub(super) const REASON: &str = "reason";
pub(super) const UPDATED: &str = "updated";
pub(super) const REVISION: &str = "revision";
pub(super) const FAILING_SINCE: &str = "failing_since";
pub(super) const BY_OWNER: &str = "by-owner";
/// The bucket and the id of the item with the versions of all buckets.
pub(super) const VERSIONS: &str = "versions";

pub(super) const ACTIVE: &str = "active";
pub(super) const DISABLED: &str = "disabled";
const PAUSED: &str = "paused";
const FORMAT: u64 = 1;

pub(super) fn bucket(id: &EndpointId) -> usize {
    values::bucket(id.as_str(), BUCKETS)
}

/// Returns the partition key of a bucket.
pub(super) fn bucket_name(bucket: usize) -> String {
    format!("{bucket:02}")
}

pub(super) fn key(id: &EndpointId) -> Item {
    key_of(&bucket_name(bucket(id)), id.as_str())
}

pub(super) fn key_of_versions() -> Item {
    key_of(VERSIONS, VERSIONS)
}

fn key_of(bucket: &str, id: &str) -> Item {
    Item::from([(BUCKET.to_owned(), text(bucket)), (ID.to_owned(), text(id))])
}

/// Returns the attribute with the version of a bucket.
pub(super) fn version_name(bucket: usize) -> String {
    format!("v{bucket:02}")
}

/// Returns the attributes beside the key and `failing_since`. One without a value is absent.
pub(super) fn attributes(subscription: &Subscription) -> Vec<(&'static str, Option<AttributeValue>)> {
    let Subscription { filter, status, secrets, .. } = subscription;
    let (status, reason) = match status {
        Status::Active => (ACTIVE, None),
        Status::Paused => (PAUSED, None),
        Status::Disabled(reason) => (DISABLED, Some(text(reason.as_str()))),
    };
    // The key of an index is never empty.
    let owner = Some(&subscription.owner).filter(|owner| !owner.is_empty());
    vec![
        ("v", Some(number(FORMAT))),
        (OWNER, owner.map(text)),
        ("description", Some(text(&subscription.description))),
        (URL, Some(text(&subscription.url))),
        ("networks", list(&filter.networks, |network| text(network.to_string()))),
        ("ports", list(&filter.ports, |port| number((*port).into()))),
        ("services", list(&filter.services, |service| text(service))),
        ("events", list(&filter.events, |event| text(event.name()))),
        (STATUS, Some(text(status))),
        (REASON, reason),
        ("secrets", list(secrets, secret_value)),
        ("max_concurrency", Some(number(subscription.max_concurrency.into()))),
        ("max_per_second", subscription.max_per_second.map(|max| number(max.into()))),
        ("created", Some(number(subscription.created))),
        (UPDATED, Some(number(subscription.updated))),
        (REVISION, Some(number(subscription.revision))),
    ]
}

pub(super) fn item(subscription: &Subscription) -> Item {
    let mut item = key(&subscription.id);
    let values = attributes(subscription).into_iter();
    item.extend(values.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    item.extend(subscription.failing_since.map(|since| (FAILING_SINCE.to_owned(), number(since))));
    item
}

fn list<T>(entries: &[T], value: impl Fn(&T) -> AttributeValue) -> Option<AttributeValue> {
    (!entries.is_empty()).then(|| AttributeValue::L(entries.iter().map(value).collect()))
}

fn secret_value(secret: &StoredSecret) -> AttributeValue {
    let mut value = HashMap::from([("sealed".to_owned(), bytes(secret.sealed.as_bytes()))]);
    value.extend(secret.until.map(|until| ("until".to_owned(), number(until))));
    AttributeValue::M(value)
}

fn secret(value: &AttributeValue) -> Option<StoredSecret> {
    let value = value.as_m().ok()?;
    let until = match value.get("until") {
        Some(_) => Some(whole(value, "until")?),
        None => None,
    };
    Some(StoredSecret { sealed: SealedSecret::from_stored(value.get("sealed")?.as_b().ok()?.as_ref().to_vec()), until })
}

/// Returns the entries of a list, or `None` if one is unknown: without it, a filter would select more.
fn entries<T>(item: &Item, name: &str, read: impl Fn(&AttributeValue) -> Option<T>) -> Option<Vec<T>> {
    match item.get(name) {
        Some(value) => value.as_l().ok()?.iter().map(read).collect(),
        None => Some(Vec::new()),
    }
}

/// Returns a number that may be absent, or `None` if it is no number.
fn optional(item: &Item, name: &str) -> Option<Option<u64>> {
    if item.contains_key(name) { whole(item, name).map(Some) } else { Some(None) }
}

fn status(item: &Item) -> Option<Status> {
    Some(match string(item, STATUS)? {
        ACTIVE => Status::Active,
        PAUSED => Status::Paused,
        DISABLED => Status::Disabled(DisabledReason::from_stored(string(item, REASON)?)?),
        _ => return None,
    })
}

fn filter(item: &Item) -> Option<Filter> {
    fn parsed<T: std::str::FromStr>(value: &AttributeValue) -> Option<T> {
        value.as_s().ok()?.parse().ok()
    }
    Some(Filter {
        networks: entries(item, "networks", parsed)?,
        ports: entries(item, "ports", |port| port.as_n().ok()?.parse().ok())?,
        services: entries(item, "services", parsed)?,
        events: entries(item, "events", |event| Event::parse(event.as_s().ok()?))?,
    })
}

/// Returns the subscription in an item, or `None` if this version cannot read it.
pub(super) fn subscription(item: &Item) -> Option<Subscription> {
    let id = EndpointId::parse(string(item, ID)?).ok()?;
    // Nobody could change or remove a subscription in another bucket.
    let is_ours = string(item, BUCKET)? == bucket_name(bucket(&id)) && whole(item, "v")? == FORMAT;
    is_ours.then_some(())?;
    Some(Subscription {
        id,
        owner: string(item, OWNER).unwrap_or_default().to_owned(),
        description: string(item, "description").unwrap_or_default().to_owned(),
        url: string(item, URL)?.to_owned(),
        filter: filter(item)?,
        status: status(item)?,
        secrets: entries(item, "secrets", secret)?,
        failing_since: optional(item, FAILING_SINCE)?,
        max_concurrency: whole(item, "max_concurrency")?.try_into().ok()?,
        max_per_second: match optional(item, "max_per_second")? {
            Some(max) => Some(max.try_into().ok()?),
            None => None,
        },
        created: whole(item, "created")?,
        updated: whole(item, UPDATED)?,
        revision: whole(item, REVISION)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statuses() -> impl Strategy<Value = Status> {
        prop::sample::select(vec![
            Status::Active,
            Status::Paused,
            Status::Disabled(DisabledReason::Gone),
            Status::Disabled(DisabledReason::Failing),
        ])
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let networks = prop::sample::subsequence(vec!["10.1.0.0/16", "2001:db8::/32"], 0..=2);
        let events = prop::sample::subsequence(Event::ALL.to_vec(), 0..=3);
        let lists =
            (networks, prop::collection::vec(any::<u16>(), 0..4), prop::collection::vec("[A-Z]{1,8}", 0..4), events);
        lists.prop_map(|(networks, ports, services, events)| Filter {
            networks: networks.into_iter().map(|network| network.parse().unwrap()).collect(),
            ports,
            services,
            events,
        })
    }

    fn subscriptions() -> impl Strategy<Value = Subscription> {
        let secret = (prop::collection::vec(any::<u8>(), 1..40), prop::option::of(any::<u64>()));
        let texts = ("[!-~]{1,30}", "[ -~]{0,30}", "[ -~]{0,30}", "[ -~]{0,30}");
        let limits = (any::<u16>(), prop::option::of(any::<u32>()));
        let times = (prop::option::of(any::<u64>()), any::<u64>(), any::<u64>(), any::<u64>());
        let parts = (texts, filters(), statuses(), prop::collection::vec(secret, 0..3), limits, times);
        parts.prop_map(|(texts, filter, status, secrets, limits, times)| {
            let (id, owner, description, url) = texts;
            let (failing_since, created, updated, revision) = times;
            let secrets = secrets.into_iter();
            Subscription {
                id: EndpointId::parse(id).unwrap(),
                owner,
                description,
                url,
                filter,
                status,
                secrets: secrets
                    .map(|(sealed, until)| StoredSecret { sealed: SealedSecret::from_stored(sealed), until })
                    .collect(),
                failing_since,
                max_concurrency: limits.0,
                max_per_second: limits.1,
                created,
                updated,
                revision,
            }
        })
    }

    /// Whether an item is read without this attribute.
    fn is_optional(name: &str) -> bool {
        let optional = ["networks", "ports", "services", "events", "secrets", "max_per_second", FAILING_SINCE, OWNER];
        optional.contains(&name) || name == "description"
    }

    proptest! {
        #[test]
        fn a_subscription_is_read_from_its_item(subscription in subscriptions()) {
            prop_assert_eq!(super::subscription(&item(&subscription)), Some(subscription));
        }

        #[test]
        fn an_item_without_a_part_or_with_another_type_is_not_read(subscription in subscriptions()) {
            let complete = item(&subscription);
            for name in complete.keys() {
                let mut without = complete.clone();
                without.remove(name);
                prop_assert_eq!(super::subscription(&without).is_some(), is_optional(name), "{}", name);
                let mut other = complete.clone();
                other.insert(name.clone(), AttributeValue::Bool(true));
                let is_text = [OWNER, "description"].contains(&name.as_str());
                prop_assert_eq!(super::subscription(&other).is_some(), is_text, "{}", name);
            }
        }
    }

    #[test]
    fn a_filter_with_an_unknown_entry_an_other_version_and_another_bucket_are_not_read() {
        let id = EndpointId::parse("wh_1").unwrap();
        let base = Item::from([
            ("v".to_owned(), number(1)),
            (URL.to_owned(), text("https://a.test/")),
            (STATUS.to_owned(), text(ACTIVE)),
            ("max_concurrency".to_owned(), number(4)),
            ("created".to_owned(), number(1)),
            (UPDATED.to_owned(), number(1)),
            (REVISION.to_owned(), number(1)),
        ]);
        let item: Item = key(&id).into_iter().chain(base).collect();
        assert!(subscription(&item).is_some());
        let entry = |value| AttributeValue::L(vec![value]);
        for (name, value) in [
            ("events", entry(text("moved"))),
            ("networks", entry(text("10.0.0.0/40"))),
            ("ports", entry(number(70_000))),
            ("v", number(2)),
            (STATUS, text("other")),
            (STATUS, text(DISABLED)),
            (BUCKET, text(bucket_name((bucket(&id) + 1) % BUCKETS))),
        ] {
            let mut other = item.clone();
            other.insert(name.to_owned(), value);
            assert_eq!(subscription(&other), None, "{name}");
        }
    }
}
