//! A stored record, read from an item of the table. Pure.

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{EXPIRES_AT, Item, KEY, RESPONSE_BYTES, TIMESTAMP};

/// The newest scan of a key, as the table has it. Attributes of a newer program version are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub ip: String,
    pub port: u16,
    pub service: String,
    /// Unix seconds.
    pub timestamp: u64,
    pub data_version: u64,
    pub response: String,
    /// The exact bytes, if they are not UTF-8.
    pub response_bytes: Option<Vec<u8>>,
    /// Unix seconds.
    pub expires_at: Option<u64>,
}

impl Record {
    /// Reads an item. Fails with the row's key if an attribute is missing or of another type.
    pub(super) fn read(mut item: Item) -> Result<Record, String> {
        match Record::of(&mut item) {
            Some(record) => Ok(record),
            None => Err(key(&item).unwrap_or_default()),
        }
    }

    fn of(item: &mut Item) -> Option<Record> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
        let (port, timestamp, data_version) = (number("port")?, number(TIMESTAMP)?, number("data_version")?);
        let expires_at = number(EXPIRES_AT);
        let response_bytes = match item.get(RESPONSE_BYTES) {
            None => None,
            Some(bytes) => Some(bytes.as_b().ok()?.as_ref().to_vec()),
        };
        let mut text = |name: &str| match item.get_mut(name)? {
            AttributeValue::S(text) => Some(std::mem::take(text)),
            _ => None,
        };
        let (ip, service, response) = (text("ip")?, text("service")?, text("response")?);
        let port = u16::try_from(port).ok()?;
        Some(Record { ip, port, service, timestamp, data_version, response, response_bytes, expires_at })
    }
}

/// Returns the key of a row.
pub(super) fn key(item: &Item) -> Option<String> {
    item.get(KEY)?.as_s().ok().cloned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::item::{item, tests::scan};
    use super::*;

    #[test]
    fn a_stored_scan_is_read_with_every_attribute() {
        let mut scan = scan("\u{fffd}".into());
        scan.response_bytes = Some(vec![0xff]);
        let record = Record::read(item(&scan, Some(Duration::from_secs(5)))).unwrap();
        let expected = Record {
            ip: "1.1.1.1".into(),
            port: 80,
            service: "HTTP".into(),
            timestamp: 1_740_298_125,
            data_version: 2,
            response: "\u{fffd}".into(),
            response_bytes: Some(vec![0xff]),
            expires_at: Some(1_740_298_130),
        };
        assert_eq!(record, expected);
        scan.response_bytes = None;
        let record = Record::read(item(&scan, None)).unwrap();
        assert_eq!((record.response_bytes, record.expires_at), (None, None));
    }

    #[test]
    fn a_row_without_an_attribute_or_with_another_type_is_no_record() {
        for (name, value) in [
            ("ip", None),
            ("timestamp", Some(AttributeValue::S("1".into()))),
            ("timestamp", Some(AttributeValue::N("1.5".into()))),
            ("port", Some(AttributeValue::N("65536".into()))),
            ("response", Some(AttributeValue::Null(true))),
            ("response_bytes", Some(AttributeValue::S("x".into()))),
        ] {
            let mut row = item(&scan("hello".into()), None);
            match value {
                Some(value) => row.insert(name.to_owned(), value),
                None => row.remove(name),
            };
            assert_eq!(Record::read(row), Err("1.1.1.1#80#HTTP".to_owned()), "{name}");
        }
    }
}
