//! Records of AWS as records of the reader: number, key, time and memory. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::size_of;
use std::time::SystemTime;

use aws_sdk_dynamodbstreams::types::{AttributeValue, Record as AwsRecord};
use tokio::time::Instant;

use crate::record::Record;
use crate::sequence_number::SequenceNumber;
use crate::shard::ShardId;

type Item = HashMap<String, AttributeValue>;

/// What the reader itself needs for a record.
const RECORD_BYTES: usize = size_of::<Record<AwsRecord>>() + 256;
/// What an attribute needs beside its text: its entry in a hash table that is half empty, and its allocations.
const ATTRIBUTE_BYTES: usize = 2 * size_of::<(String, AttributeValue)>() + 32;
/// What an element of a list or a set needs beside its text.
const ELEMENT_BYTES: usize = size_of::<AttributeValue>() + 16;

/// Returns None for a record without a sequence number, which DynamoDB never sends.
// A record is large, and a call would copy it once more.
#[inline]
pub(super) fn record(shard: &ShardId, read_at: Instant, data: AwsRecord) -> Option<Record<AwsRecord>> {
    let change = data.dynamodb()?;
    Some(Record {
        shard: shard.clone(),
        sequence_number: SequenceNumber::new(change.sequence_number()?),
        key: change.keys().map_or(0, key),
        created: change.approximate_creation_date_time().and_then(|time| SystemTime::try_from(*time).ok()),
        bytes: bytes(&data),
        read_at,
        data,
    })
}

/// Returns a hash of the item's key, which does not depend on the order of its attributes.
fn key(keys: &Item) -> u64 {
    keys.iter().map(attribute_hash).fold(0, u64::wrapping_add)
}

fn attribute_hash((name, value): (&String, &AttributeValue)) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.hash(&mut hasher),
        AttributeValue::B(bytes) => bytes.as_ref().hash(&mut hasher),
        // Keys have no other types. Records of equal hashes are handled one after the other.
        _ => {}
    }
    hasher.finish()
}

/// Estimates the memory of a record, which is several times what DynamoDB counts if its attributes are small.
fn bytes(record: &AwsRecord) -> usize {
    let change = record.dynamodb();
    let items = change.into_iter().flat_map(|change| [change.keys(), change.new_image(), change.old_image()]);
    RECORD_BYTES + items.flatten().map(item_bytes).sum::<usize>()
}

fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| ATTRIBUTE_BYTES + name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    let texts = |texts: &Vec<String>| texts.iter().map(|text| ELEMENT_BYTES + text.len()).sum();
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::M(item) => item_bytes(item),
        AttributeValue::L(values) => values.iter().map(|value| ELEMENT_BYTES + value_bytes(value)).sum(),
        AttributeValue::Ss(set) | AttributeValue::Ns(set) => texts(set),
        AttributeValue::Bs(set) => set.iter().map(|bytes| ELEMENT_BYTES + bytes.as_ref().len()).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
    use aws_sdk_dynamodbstreams::types::StreamRecord;

    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn change() -> aws_sdk_dynamodbstreams::types::builders::StreamRecordBuilder {
        StreamRecord::builder().sequence_number("100000000000000000007")
    }

    fn read(record: AwsRecord) -> Option<Record<AwsRecord>> {
        super::record(&ShardId::new("shardId-1"), Instant::now(), record)
    }

    fn of(change: StreamRecord) -> Record<AwsRecord> {
        read(AwsRecord::builder().dynamodb(change).build()).expect("a record with a number")
    }

    #[test]
    fn a_record_has_its_number_and_its_time() {
        let record = of(change().approximate_creation_date_time(DateTime::from_secs(1_700_000_000)).build());
        assert_eq!(record.sequence_number.as_str(), "100000000000000000007");
        assert_eq!(record.created, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        assert_eq!(of(change().build()).created, None);
    }

    #[test]
    fn a_record_without_a_number_is_no_record() {
        assert!(read(AwsRecord::builder().build()).is_none());
        assert!(read(AwsRecord::builder().dynamodb(StreamRecord::builder().build()).build()).is_none());
    }

    #[test]
    fn records_of_one_item_have_one_key() {
        let key = |ip: &str, port: &str| {
            of(change().keys("ip", text(ip)).keys("port", AttributeValue::N(port.to_owned())).build()).key
        };
        assert_eq!(key("192.0.2.1", "80"), key("192.0.2.1", "80"));
        assert_ne!(key("192.0.2.1", "80"), key("192.0.2.1", "443"));
        assert_ne!(key("192.0.2.1", "80"), key("192.0.2.2", "80"));
        let binary = |bytes: &[u8]| of(change().keys("id", AttributeValue::B(Blob::new(bytes))).build()).key;
        assert_ne!(binary(b"a"), binary(b"b"));
    }

    #[test]
    fn the_memory_includes_both_images_and_the_overhead_of_small_attributes() {
        let large = "x".repeat(10_000);
        let empty = of(change().build()).bytes;
        let one = of(change().new_image("response", text(&large)).build()).bytes;
        let both = of(change().new_image("response", text(&large)).old_image("response", text(&large)).build()).bytes;
        assert!(one >= empty + 10_000, "{one}");
        assert_eq!(both - one, one - empty);
        let nested = AttributeValue::L(vec![AttributeValue::M([("a".to_owned(), text(&large))].into()), text("b")]);
        assert!(of(change().new_image("list", nested).build()).bytes > one);
    }
}
