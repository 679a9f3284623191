//! Decides what a record of the stream means for its service. Pure.

use super::entry::Reason;
use super::masks::Masks;
use crate::hosts::{Record, Row};
use crate::scan::Key;

/// A record of the table's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// `None` if the key of the item is no key of a scan.
    pub service: Option<Key>,
    /// When the table was changed, in Unix seconds.
    pub created: Option<u64>,
    pub old: Image,
    pub new: Image,
    /// Whether DynamoDB removed the item because of its time to live. Only the region that removed it shows this.
    pub by_time_to_live: bool,
}

/// The item before or after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    Absent,
    Row(Row),
    /// It is no record, or one of a newer program. Contains its attributes as JSON.
    Unreadable(String),
}

/// What a record of the stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison<'a> {
    /// The responses are equal after masks.
    Nothing,
    /// The item is no record of a scan.
    Foreign,
    Unreadable(&'static str),
    Opened(&'a Row),
    /// Without the old row if it was unreadable.
    Changed(Option<&'a Row>, &'a Row),
    Closed(&'a Row, Reason),
}

pub(super) fn compare<'a>(images: &'a Images, masks: &Masks) -> Comparison<'a> {
    if images.service.is_none() {
        return Comparison::Foreign;
    }
    let Some(created) = images.created else { return Comparison::Unreadable("it has no time") };
    match (&images.old, &images.new) {
        (Image::Absent, Image::Absent) => {
            Comparison::Unreadable("it has no image: the stream needs new and old images")
        }
        (_, Image::Unreadable(_)) => Comparison::Unreadable("its new image is no record of a scan"),
        (Image::Unreadable(_), Image::Row(new)) => Comparison::Changed(None, new),
        (Image::Unreadable(_), Image::Absent) => Comparison::Unreadable("its old image is no record of a scan"),
        (Image::Absent, Image::Row(new)) => Comparison::Opened(new),
        (Image::Row(old), Image::Absent) => Comparison::Closed(old, reason(images, old, created)),
        (Image::Row(old), Image::Row(new)) => match is_same(&old.record, &new.record, masks) {
            true => Comparison::Nothing,
            false => Comparison::Changed(Some(old), new),
        },
    }
}

fn reason(images: &Images, old: &Row, created: u64) -> Reason {
    match images.by_time_to_live || old.expires_at.is_some_and(|expiry| expiry <= created) {
        true => Reason::Expired,
        false => Reason::Deleted,
    }
}

fn is_same(old: &Record, new: &Record, masks: &Masks) -> bool {
    let [old, new] = comparable(old, new);
    old == new || masks.apply(old) == masks.apply(new)
}

/// Returns what to compare of two responses. Only one format of messages carries raw bytes, so responses in different
/// formats are compared as text.
pub(super) fn comparable<'a>(old: &'a Record, new: &'a Record) -> [&'a [u8]; 2] {
    match old.data_version == new.data_version {
        true => [bytes(old), bytes(new)],
        false => [old.response.as_bytes(), new.response.as_bytes()],
    }
}

pub(super) fn bytes(record: &Record) -> &[u8] {
    record.response_bytes.as_deref().unwrap_or(record.response.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::changes) fn service() -> Key {
        Key::new([1, 1, 1, 1].into(), 80, "HTTP")
    }

    pub(in crate::changes) fn row(timestamp: u64, response: &[u8]) -> Row {
        let (text, response_bytes) = match str::from_utf8(response) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (String::from_utf8_lossy(response).into_owned(), Some(response.to_owned())),
        };
        let record = Record { key: service(), timestamp, data_version: 1, response: text, response_bytes };
        Row { record, expires_at: None }
    }

    /// Hides each digit.
    pub(in crate::changes) fn masks() -> Masks {
        Masks::new(&[], &["digit=[0-9]".parse().unwrap()], &[]).unwrap()
    }

    /// An image as a number of its letter and its digit, so that the oracle compares no bytes.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Model {
        letter: u8,
        digit: u8,
        /// 0 is UTF-8, others are bytes that are all U+FFFD as text.
        binary: u8,
        version: u64,
        expires_at: Option<u64>,
    }

    fn model() -> impl Strategy<Value = Model> {
        let expiry = prop::option::of(90..110_u64);
        (0..2_u8, 0..3_u8, 0..3_u8, 1..3_u64, expiry).prop_map(|(letter, digit, binary, version, expires_at)| Model {
            letter,
            digit,
            // The second format has no bytes.
            binary: if version == 1 { binary } else { 0 },
            version,
            expires_at,
        })
    }

    fn image(model: Option<Model>) -> Image {
        let Some(Model { letter, digit, binary, version, expires_at }) = model else { return Image::Absent };
        let mut response = vec![b'a' + letter, b'0' + digit];
        match (binary, version) {
            (0, 2) => response.extend("\u{fffd}".as_bytes()),
            (0, _) => {}
            (binary, _) => response.push(0xf0 + binary),
        }
        let mut row = row(100, &response);
        row.record.data_version = version;
        row.expires_at = expires_at;
        Image::Row(row)
    }

    proptest! {
        #[test]
        fn a_comparison_is_that_of_the_rules(
            old in prop::option::of(model()), new in prop::option::of(model()), by_time_to_live: bool,
        ) {
            let images = Images {
                service: Some(service()), created: Some(100), old: image(old), new: image(new), by_time_to_live,
            };
            let expected = match (old, new) {
                (None, None) => "unreadable",
                (None, Some(_)) => "opened",
                (Some(old), None) if by_time_to_live || old.expires_at.unwrap_or(u64::MAX) <= 100 => "expired",
                (Some(_), None) => "deleted",
                (Some(old), Some(new)) => {
                    // As text, all bytes look like the character of the second format.
                    let shows_replacement = |model: Model| model.binary != 0 || model.version == 2;
                    let same_end = match old.version == new.version {
                        true => old.binary == new.binary,
                        false => shows_replacement(old) == shows_replacement(new),
                    };
                    if old.letter == new.letter && same_end { "nothing" } else { "changed" }
                }
            };
            let found = match compare(&images, &masks()) {
                Comparison::Nothing => "nothing",
                Comparison::Foreign => "foreign",
                Comparison::Unreadable(_) => "unreadable",
                Comparison::Opened(_) => "opened",
                Comparison::Changed(..) => "changed",
                Comparison::Closed(_, reason) => reason.name(),
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_item_that_is_no_record_is_foreign_or_unreadable() {
        let readable = Images {
            service: Some(service()),
            created: Some(1),
            old: Image::Absent,
            new: Image::Row(row(1, b"a")),
            by_time_to_live: false,
        };
        let unreadable = || Image::Unreadable("{}".to_owned());
        assert_eq!(compare(&Images { service: None, ..readable.clone() }, &masks()), Comparison::Foreign);
        for images in [
            Images { created: None, ..readable.clone() },
            Images { new: unreadable(), ..readable.clone() },
            Images { old: unreadable(), new: unreadable(), ..readable.clone() },
            Images { old: unreadable(), new: Image::Absent, ..readable },
        ] {
            assert!(matches!(compare(&images, &masks()), Comparison::Unreadable(_)), "{images:?}");
        }
    }
}
