//! The items of a table of deliveries. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dynamodb::values::{self, bytes, number, string, text, whole};
use dynamodb::{EXPIRES_AT, Item};
use webhooks::{
    Answer, Delivery, DueDelivery, EndpointId, Failure, LastAttempt, Origin, StoredDelivery, Token, TraceParent,
    WebhookId,
};

/// The partition key.
pub const QUEUE: &str = "queue";
/// The sort key.
pub const ID: &str = "id";
pub(super) const DUE: &str = "due";
/// Changes with each claim.
pub const TOKEN: &str = "token";
pub(super) const SEEN: &str = "seen";
/// When the event was sent, in Unix milliseconds. Absent if it is unknown, like the trace.
const SENT: &str = "sent";
const TRACE: &str = "trace";

/// One partition of DynamoDB takes 1,000 write units per second.
pub const BUCKETS: usize = 8;
pub(super) const MARKER_BUCKETS: usize = 16;

/// The attribute with the version of the format.
pub const VERSION: &str = "v";
pub const FORMAT: u64 = 1;

/// What the items of a partition are: the beginning of the partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue(pub &'static str);

impl Queue {
    /// The deliveries that wait for an attempt.
    pub const WAITING: Queue = Queue("w#");

    /// Returns the partition key of a bucket.
    pub fn of(self, endpoint: &EndpointId, bucket: usize) -> String {
        format!("{}{endpoint}#{bucket}", self.0)
    }

    pub fn key(self, endpoint: &EndpointId, id: &WebhookId) -> Item {
        let bucket = values::bucket(id.as_str(), BUCKETS);
        Item::from([(QUEUE.to_owned(), text(self.of(endpoint, bucket))), (ID.to_owned(), text(id.as_str()))])
    }

    /// Returns what [`Queue::key`] made a key of.
    pub fn parse(self, item: &Item) -> Option<(EndpointId, WebhookId)> {
        // An id may contain the separator.
        let (endpoint, _) = string(item, QUEUE)?.strip_prefix(self.0)?.rsplit_once('#')?;
        Some((EndpointId::parse(endpoint).ok()?, id(item)?))
    }
}

pub(super) fn marker_queue(bucket: usize) -> String {
    format!("backlogs#{bucket:02}")
}

pub(super) fn marker_key(endpoint: &EndpointId) -> Item {
    let bucket = values::bucket(endpoint.as_str(), MARKER_BUCKETS);
    Item::from([(QUEUE.to_owned(), text(marker_queue(bucket))), (ID.to_owned(), text(endpoint.as_str()))])
}

fn id(item: &Item) -> Option<WebhookId> {
    WebhookId::from_stored(string(item, ID)?)
}

/// Returns a time in milliseconds since 1970.
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a time in milliseconds since 1970, or `None` if the clock of the system cannot show it.
pub fn time(item: &Item, name: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(whole(item, name)?))
}

/// Returns the attributes of the last attempt, of which one without a value is absent.
pub(super) fn last_attempt(last: Option<&LastAttempt>) -> [(&'static str, Option<AttributeValue>); 5] {
    let answer = last.and_then(|last| last.result.as_ref().ok());
    let failure = last.and_then(|last| last.result.as_ref().err());
    [
        ("last_at", last.map(|last| number(millis(last.at)))),
        ("last_status", answer.map(|answer| number(answer.status.into()))),
        ("last_retry_after", answer.and_then(|answer| answer.retry_after).map(|after| number(after.as_secs()))),
        ("last_answer", answer.map(|answer| &answer.body).filter(|body| !body.is_empty()).map(|body| bytes(body))),
        ("last_failure", failure.map(|failure| text(failure.to_stored()))),
    ]
}

/// Returns the item of a delivery in a queue, without its due time.
pub fn delivery_item(queue: Queue, item: &StoredDelivery, expires_at: Option<u64>) -> Item {
    let Delivery { id, endpoint, body, origin } = &item.delivery;
    let mut attributes = queue.key(endpoint, id);
    let values = [
        (VERSION, number(FORMAT)),
        (TOKEN, number(item.token.0)),
        ("attempts", number(item.attempts.into())),
        ("created", number(millis(item.created))),
        ("body", bytes(body)),
    ];
    attributes.extend(values.map(|(name, value)| (name.to_owned(), value)));
    attributes.extend(expires_at.map(|at| (EXPIRES_AT.to_owned(), number(at))));
    attributes.extend(origin.sent.map(|sent| (SENT.to_owned(), number(millis(sent)))));
    attributes.extend(origin.trace.as_ref().map(|trace| (TRACE.to_owned(), text(trace.as_str()))));
    let last = last_attempt(item.last.as_ref()).into_iter();
    attributes.extend(last.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    attributes
}

/// Returns the item of a delivery that waits. Only these have the sort key of the index.
pub fn waiting_item(item: &StoredDelivery, expires_at: Option<u64>) -> Item {
    let mut attributes = delivery_item(Queue::WAITING, item, expires_at);
    attributes.insert(DUE.to_owned(), number(millis(item.due)));
    attributes
}

/// Returns the delivery in an item of a queue, or `None` if this version cannot read it.
pub fn delivery(queue: Queue, item: &Item, due: SystemTime) -> Option<StoredDelivery> {
    let (endpoint, id) = queue.parse(item)?;
    let body = item.get("body")?.as_b().ok()?;
    (whole(item, VERSION)? == FORMAT).then_some(())?;
    let origin = Origin { sent: time(item, SENT), trace: string(item, TRACE).and_then(TraceParent::parse) };
    Some(StoredDelivery {
        delivery: Delivery { id, endpoint, body: Bytes::copy_from_slice(body.as_ref()), origin },
        created: time(item, "created")?,
        attempts: whole(item, "attempts")?.try_into().ok()?,
        due,
        token: Token(whole(item, TOKEN)?),
        last: last(item),
    })
}

/// Returns the last attempt, or `None` if it is one of a newer version.
fn last(item: &Item) -> Option<LastAttempt> {
    let result = match string(item, "last_failure") {
        Some(failure) => Err(Failure::from_stored(failure)?),
        None => Ok(Answer {
            status: whole(item, "last_status")?.try_into().ok()?,
            retry_after: whole(item, "last_retry_after").map(Duration::from_secs),
            body: match item.get("last_answer") {
                Some(body) => Bytes::copy_from_slice(body.as_b().ok()?.as_ref()),
                None => Bytes::new(),
            },
        }),
    };
    Some(LastAttempt { at: time(item, "last_at")?, result })
}

/// Returns the delivery that waits in an item, or `None` if this version cannot read it.
pub fn waiting(item: &Item) -> Option<StoredDelivery> {
    delivery(Queue::WAITING, item, time(item, DUE)?)
}

/// Returns an entry of the index with its due time.
pub(super) fn due(item: &Item) -> Option<(SystemTime, DueDelivery)> {
    Some((time(item, DUE)?, DueDelivery { id: id(item)?, token: Token(whole(item, TOKEN)?) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use webhooks::RefusedTarget;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn result() -> impl Strategy<Value = Result<Answer, Failure>> {
        let answer = (100..600_u16, prop::option::of(0..1000_u64), prop::collection::vec(any::<u8>(), 0..40));
        let answer = answer.prop_map(|(status, after, body)| {
            Ok(Answer { status, retry_after: after.map(Duration::from_secs), body: body.into() })
        });
        let failure = prop::sample::select(vec![
            Failure::TimedOut,
            Failure::Refused(RefusedTarget::Port(25)),
            Failure::Refused(RefusedTarget::InternalAddress([10, 0, 0, 1].into())),
        ]);
        prop_oneof![answer, failure.prop_map(Err)]
    }

    fn origin() -> impl Strategy<Value = Origin> {
        let trace = "00-[0-9a-f]{31}1-[0-9a-f]{15}1-0[01]".prop_map(|text| TraceParent::parse(&text).unwrap());
        (prop::option::of(any::<u32>()), prop::option::of(trace))
            .prop_map(|(sent, trace)| Origin { sent: sent.map(|sent| at(sent.into())), trace })
    }

    fn stored_delivery() -> impl Strategy<Value = StoredDelivery> {
        let parts = (
            "[!-~]{1,20}",
            any::<[u8; 4]>(),
            prop::collection::vec(any::<u8>(), 0..100),
            (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()),
            prop::option::of((any::<u32>(), result())),
            origin(),
        );
        parts.prop_map(|(endpoint, event, body, (created, due, attempts, token), last, origin)| {
            let endpoint = EndpointId::parse(endpoint).unwrap();
            StoredDelivery {
                delivery: Delivery { id: WebhookId::of(&[&event], &endpoint), endpoint, body: body.into(), origin },
                created: at(created.into()),
                attempts,
                due: at(due.into()),
                token: Token(token),
                last: last.map(|(millis, result)| LastAttempt { at: at(millis.into()), result }),
            }
        })
    }

    proptest! {
        #[test]
        fn a_delivery_is_read_from_its_item(item in stored_delivery(), expires_at in any::<Option<u64>>()) {
            prop_assert_eq!(waiting(&waiting_item(&item, expires_at)), Some(item.clone()));
            let found = due(&waiting_item(&item, expires_at));
            prop_assert_eq!(found, Some((item.due, DueDelivery { id: item.delivery.id.clone(), token: item.token })));
            prop_assert_eq!(whole(&waiting_item(&item, expires_at), EXPIRES_AT), expires_at);
        }
    }

    #[test]
    fn an_item_of_another_version_or_without_a_part_is_not_read() {
        let endpoint = EndpointId::parse("a").unwrap();
        let (id, origin) = (WebhookId::of(&[b"1"], &endpoint), Origin::default());
        let delivery = Delivery { id, endpoint, body: "{}".into(), origin };
        let item = StoredDelivery {
            delivery,
            created: at(1),
            attempts: 0,
            due: at(2),
            token: Token(3),
            last: Some(LastAttempt { at: at(4), result: Err(Failure::Connect) }),
        };
        let complete = waiting_item(&item, Some(7));
        for name in [QUEUE, ID, VERSION, TOKEN, DUE, "attempts", "created", "body"] {
            let mut without = complete.clone();
            without.remove(name);
            assert_eq!(waiting(&without), None, "{name}");
        }
        let mut newer = complete.clone();
        newer.insert(VERSION.to_owned(), number(2));
        assert_eq!(waiting(&newer), None);
        let mut unknown = complete;
        unknown.insert("last_failure".to_owned(), text("of a newer version"));
        assert_eq!(waiting(&unknown), Some(StoredDelivery { last: None, ..item }));
    }

    #[test]
    fn an_item_of_a_version_without_origins_is_read_and_so_is_one_with_a_wrong_trace() {
        let endpoint = EndpointId::parse("a").unwrap();
        let trace = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let origin = Origin { sent: Some(at(1)), trace };
        let delivery = Delivery { id: WebhookId::of(&[b"1"], &endpoint), endpoint, body: "{}".into(), origin };
        let item = StoredDelivery { delivery, created: at(1), attempts: 0, due: at(2), token: Token(3), last: None };
        let mut earlier = waiting_item(&item, None);
        earlier.remove(SENT);
        earlier.insert(TRACE.to_owned(), text("x\r\n"));
        assert_eq!(waiting(&earlier).unwrap().delivery.origin, Origin::default());
        earlier.remove(TRACE);
        assert_eq!(waiting(&earlier).unwrap().delivery.origin, Origin::default());
    }

    #[test]
    fn the_deliveries_of_an_endpoint_spread_over_all_buckets() {
        let endpoint = EndpointId::parse("wh_1").unwrap();
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for event in 0..800_u32 {
            let key = Queue::WAITING.key(&endpoint, &WebhookId::of(&[&event.to_be_bytes()], &endpoint));
            *counts.entry(string(&key, QUEUE).unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(counts.len(), BUCKETS);
        assert!(counts.values().all(|count| (50..150).contains(count)), "{counts:?}");
    }
}
