//! The items of the table of deliveries that do not wait. `docs/webhooks.md` lists the attributes of all. Pure.

use std::time::Duration;

use delivery_table::{FORMAT, Queue, VERSION, delivery, delivery_item, millis, time};
use dynamodb::values::{number, string, text, whole};
use dynamodb::{EXPIRES_AT, Item};
use webhooks::DeadReason;

use super::{DeadDelivery, Delivered};

pub(super) const DEAD: Queue = Queue("d#");
/// The log of deliveries that succeeded.
pub(super) const DELIVERED: Queue = Queue("s#");

/// Returns the item of a dead delivery. Its token is that of its last claim.
pub(super) fn dead_item(dead: &DeadDelivery, expires_at: u64) -> Item {
    let mut attributes = delivery_item(DEAD, &dead.item, Some(expires_at));
    attributes.insert("reason".to_owned(), text(dead.reason.as_str()));
    attributes.insert("died".to_owned(), number(millis(dead.died)));
    attributes
}

pub(super) fn delivered_item(delivered: &Delivered, expires_at: u64) -> Item {
    let mut attributes = DELIVERED.key(&delivered.endpoint, &delivered.id);
    let took = u64::try_from(delivered.took.as_millis()).unwrap_or(u64::MAX);
    let values = [
        (VERSION, number(FORMAT)),
        ("at", number(millis(delivered.at))),
        ("attempts", number(delivered.attempts.into())),
        ("took_ms", number(took)),
        (EXPIRES_AT, number(expires_at)),
    ];
    attributes.extend(values.map(|(name, value)| (name.to_owned(), value)));
    attributes
}

pub(super) fn dead(item: &Item) -> Option<DeadDelivery> {
    let died = time(item, "died")?;
    let reason = DeadReason::from_stored(string(item, "reason")?)?;
    Some(DeadDelivery { item: delivery(DEAD, item, died)?, reason, died })
}

pub(super) fn delivered(item: &Item) -> Option<Delivered> {
    let (endpoint, id) = DELIVERED.parse(item)?;
    Some(Delivered {
        endpoint,
        id,
        at: time(item, "at")?,
        attempts: whole(item, "attempts")?.try_into().ok()?,
        took: Duration::from_millis(whole(item, "took_ms")?),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use proptest::prelude::*;
    use webhooks::{Delivery, EndpointId, Failure, LastAttempt, Origin, StoredDelivery, Token, WebhookId};

    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    proptest! {
        #[test]
        fn a_dead_delivery_is_read_from_its_item(event in any::<[u8; 4]>(), died in any::<u32>(), attempts in any::<u32>()) {
            let (endpoint, died, reason) = (EndpointId::parse("a#1").unwrap(), at(died.into()), DeadReason::Gone);
            let delivery = Delivery {
                id: WebhookId::of(&[&event], &endpoint),
                endpoint,
                body: "{}".into(),
                origin: Origin::default(),
            };
            let last = Some(LastAttempt { at: at(7), result: Err(Failure::Connect) });
            let item = StoredDelivery { delivery, created: at(1), attempts, due: died, token: Token(3), last };
            let dead_delivery = DeadDelivery { item, reason, died };
            let stored = dead_item(&dead_delivery, 7);
            prop_assert!(!stored.contains_key("due"));
            prop_assert_eq!(dead(&stored), Some(dead_delivery));
        }

        #[test]
        fn a_delivered_one_is_read_from_its_item(event in any::<[u8; 4]>(), attempts in any::<u32>(), took in any::<u32>()) {
            let endpoint = EndpointId::parse("a#1").unwrap();
            let id = WebhookId::of(&[&event], &endpoint);
            let (at, took) = (at(took.into()), Duration::from_millis(took.into()));
            let entry = Delivered { endpoint, id, at, attempts, took };
            prop_assert_eq!(delivered(&delivered_item(&entry, 7)), Some(entry));
        }
    }
}
