//! Decodes JSON strings. Knows nothing of scans.

use std::borrow::Cow;

/// The decoded content of a JSON string, borrowed if the string has no escapes.
pub(super) struct Text<'a> {
    /// Contains U+FFFD in place of each lone surrogate.
    pub(super) text: Cow<'a, str>,
    /// Each lone surrogate, and the offset of its U+FFFD.
    lone_surrogates: Vec<(usize, u16)>,
}

impl<'a> Text<'a> {
    /// Decodes one raw JSON value. Returns `None` if it is not a string.
    pub(super) fn parse(raw: &'a str) -> Option<Text<'a>> {
        let escaped = between_quotes(raw)?;
        Some(match escaped.contains('\\') {
            true => unescape(escaped),
            false => Text { text: Cow::Borrowed(escaped), lone_surrogates: Vec::new() },
        })
    }

    pub(super) fn is_unicode(&self) -> bool {
        self.lone_surrogates.is_empty()
    }

    /// Returns the string as WTF-8, where a lone surrogate takes three bytes, like U+FFFD.
    pub(super) fn to_wtf8(&self) -> Vec<u8> {
        let mut bytes = self.text.as_bytes().to_vec();
        for &(at, surrogate) in &self.lone_surrogates {
            let [high, low] = surrogate.to_be_bytes();
            let encoded = [0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f];
            bytes[at..at + encoded.len()].copy_from_slice(&encoded);
        }
        bytes
    }
}

/// Returns the content of a raw JSON string, still escaped. Returns `None` for any other JSON value.
pub(super) fn between_quotes(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

/// Unescapes the content of a string that serde_json has accepted, in one allocation.
pub(super) fn unescape(escaped: &str) -> Text<'static> {
    // The unescaped text is never longer than the escaped one.
    let mut text = String::with_capacity(escaped.len());
    let mut lone_surrogates = Vec::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex_unit(&mut rest);
                utf16_char(unit, &mut rest).unwrap_or_else(|surrogate| {
                    lone_surrogates.push((text.len(), surrogate));
                    char::REPLACEMENT_CHARACTER
                })
            }
            literal => char::from(literal),
        });
    }
    text.push_str(rest);
    Text { text: Cow::Owned(text), lone_surrogates }
}

/// Returns the character that starts with `unit`, and consumes its low surrogate from `rest` if it has one. Returns
/// `unit` as an error if it is a lone surrogate.
fn utf16_char(unit: u16, rest: &mut &str) -> Result<char, u16> {
    if let Some(mut after) = rest.strip_prefix("\\u").filter(|_| (0xd800..0xdc00).contains(&unit)) {
        let pair = [unit, hex_unit(&mut after)];
        if let Some(Ok(c)) = char::decode_utf16(pair).next() {
            *rest = after;
            return Ok(c);
        }
    }
    char::from_u32(u32::from(unit)).ok_or(unit)
}

fn hex_unit(rest: &mut &str) -> u16 {
    let (digits, after) = rest.split_at(4);
    *rest = after;
    u16::from_str_radix(digits, 16).expect("serde_json has checked that four hex digits follow \\u")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::{Deserializer, Visitor};

    use super::*;

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    fn wtf8_of_serde_json(raw: &str) -> Vec<u8> {
        serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).unwrap()
    }

    fn string_literals() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>()
                .prop_filter("needs no escape", |c| *c >= ' ' && *c != '"' && *c != '\\')
                .prop_map(String::from),
            prop::sample::select(vec![r"\\", r#"\""#, r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", "u", "d800"])
                .prop_map(String::from),
            any::<u16>().prop_map(|unit| format!(r"\u{unit:04x}")),
            (0xd7fe..0xe002_u16).prop_map(|unit| format!(r"\u{unit:04X}")),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_string_decodes_as_in_serde_json(raw in string_literals()) {
            let text = Text::parse(&raw).unwrap();
            prop_assert_eq!(text.to_wtf8(), wtf8_of_serde_json(&raw));
            match serde_json::from_str::<String>(&raw) {
                Ok(expected) => prop_assert_eq!((text.text.as_ref(), text.is_unicode()), (expected.as_str(), true)),
                Err(_) => prop_assert!(!text.is_unicode()),
            }
        }
    }

    #[test]
    fn each_lone_surrogate_becomes_one_replacement_character() {
        let text = Text::parse(r#""a\ud800\ud83e\udd80\udc00\ud800""#).unwrap();
        assert_eq!(text.text, "a\u{fffd}\u{1f980}\u{fffd}\u{fffd}");
        let wtf8 = b"a\xed\xa0\x80\xf0\x9f\xa6\x80\xed\xb0\x80\xed\xa0\x80";
        assert_eq!(text.to_wtf8(), wtf8);
    }

    #[test]
    fn surrogate_pairs_decode_up_to_the_ends_of_their_range() {
        let text = Text::parse(r#""\ud7ff\ue000\ud800\udc00\udbff\udfff""#).unwrap();
        assert_eq!((text.text.as_ref(), text.is_unicode()), ("\u{d7ff}\u{e000}\u{10000}\u{10ffff}", true));
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        assert!(matches!(Text::parse("\"h\u{e9}llo\"").unwrap().text, Cow::Borrowed("h\u{e9}llo")));
    }

    #[test]
    fn a_value_that_is_not_a_string_is_refused() {
        for raw in ["null", "1", "[\"a\"]", "{\"a\":\"b\"}"] {
            assert!(Text::parse(raw).is_none(), "{raw}");
        }
    }
}
