//! Attribute values of items, and the bucket of a key. Pure.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::Item;

pub fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

pub fn string<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub fn whole(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns the bucket of a key. It never changes between versions, because it is part of stored keys.
pub fn bucket(key: &str, buckets: usize) -> usize {
    // FNV-1a, and the mixer of MurmurHash3: without it, similar keys share their bits.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = mixed ^ (mixed >> 33);
    usize::try_from(mixed % buckets as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_of_a_key_never_changes_between_versions() {
        for (key, expected) in [("", 18), ("wh_0123456789abcdefghjk", 1), ("msg__MRZc5WacohrgEkX_Rp1xOup2HDtCFTk", 18)]
        {
            assert_eq!(bucket(key, 64), expected, "{key}");
        }
    }

    #[test]
    fn keys_spread_over_all_buckets() {
        let mut counts = [0; 64];
        for key in 0..6400 {
            counts[bucket(&format!("wh_{key:020}"), 64)] += 1;
        }
        // 100 are expected in each, with a standard deviation of 10. The keys are always the same.
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }
}
