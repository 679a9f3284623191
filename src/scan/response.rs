//! A response as text, and as bytes if it is not valid Unicode text.

use base64::DecodeError;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};

use super::text::Text;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) text: String,
    /// The exact bytes. `None` if they are UTF-8.
    pub(super) bytes: Option<Vec<u8>>,
}

impl Response {
    pub(super) fn from_text(text: Text<'_>) -> Response {
        let bytes = (!text.is_unicode()).then(|| text.to_wtf8());
        Response { text: text.text.into_owned(), bytes }
    }

    pub(super) fn from_base64(encoded: &str) -> Result<Response, DecodeError> {
        // Most responses decode as they are. Only the others need a search for line breaks and the URL-safe alphabet.
        let bytes = decode(encoded.as_bytes()).or_else(|_| decode(&normalize(encoded)))?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => Response { text, bytes: None },
            Err(error) => Response {
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                bytes: Some(error.into_bytes()),
            },
        })
    }
}

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn decode(encoded: &[u8]) -> Result<Vec<u8>, DecodeError> {
    // The engine would accept one `=` in place of two.
    if encoded.ends_with(b"=") && !encoded.len().is_multiple_of(4) {
        return Err(DecodeError::InvalidPadding);
    }
    ENGINE.decode(encoded)
}

/// Converts base64 to the standard alphabet and removes line breaks.
fn normalize(encoded: &str) -> Vec<u8> {
    let symbols = encoded.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    symbols
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(encoded: &str) -> Option<String> {
        Response::from_base64(encoded).ok().map(|response| response.text)
    }

    #[test]
    fn padding_is_optional_but_must_be_correct() {
        for (encoded, text) in [
            ("", Some("")),
            ("YQ==", Some("a")),
            ("YQ", Some("a")),
            ("YWI=", Some("ab")),
            ("YWI", Some("ab")),
            ("YWJj", Some("abc")),
            ("YQ=", None),
            ("YQ===", None),
            ("YWI==", None),
            ("YWJj=", None),
            ("YWJj====", None),
            ("Y", None),
            ("Y===", None),
            ("YWJjY", None),
            ("=", None),
            ("====", None),
            ("YQ==YQ==", None),
            ("Y=Q=", None),
        ] {
            assert_eq!(text_of(encoded).as_deref(), text, "{encoded:?}");
        }
    }

    #[test]
    fn line_breaks_are_ignored_and_other_characters_are_errors() {
        assert_eq!(text_of("\nYW\r\nJ\rj\n").as_deref(), Some("abc"));
        assert_eq!(text_of("YQ=\r\n=").as_deref(), Some("a"));
        assert_eq!(text_of("\r\n").as_deref(), Some(""));
        for other in
            [" YWJj", "YW Jj", "YWJj\t", "YW\0Jj", "YWJj\u{a0}", "YWJj\u{2028}", "!!!!", "YW.j", "YWJj\u{fffd}"]
        {
            assert_eq!(text_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn both_alphabets_and_nonzero_trailing_bits_are_decoded() {
        for encoded in ["+/+/", "-_-_", "+_-/", "-_\n-_"] {
            let bytes = Response::from_base64(encoded).unwrap().bytes.unwrap();
            assert_eq!(bytes, [0xfb, 0xff, 0xbf], "{encoded:?}");
        }
        for encoded in ["YR==", "YR", "Yf=="] {
            assert_eq!(text_of(encoded).as_deref(), Some("a"), "{encoded:?}");
        }
    }

    /// Decodes bit by bit, independently of the engine.
    fn reference_decode(encoded: &str) -> Option<Vec<u8>> {
        let symbols = encoded.trim_end_matches('=');
        let padding = encoded.len() - symbols.len();
        if symbols.len() % 4 == 1 || (padding > 0 && (padding > 2 || !encoded.len().is_multiple_of(4))) {
            return None;
        }
        let mut bits = Vec::new();
        for symbol in symbols.bytes() {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits.extend((0..6).rev().map(|bit| value >> bit & 1));
        }
        Some(bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect())
    }

    #[test]
    fn every_short_string_decodes_like_the_reference() {
        let mut strings = vec![String::new()];
        let mut start = 0;
        for _ in 0..7 {
            let end = strings.len();
            for i in start..end {
                strings.extend(["A", "t", "_", "="].map(|symbol| format!("{}{symbol}", strings[i])));
            }
            start = end;
        }
        for encoded in &strings {
            let decoded = Response::from_base64(encoded).ok();
            let bytes = decoded.map(|response| response.bytes.unwrap_or(response.text.into_bytes()));
            assert_eq!(bytes, reference_decode(encoded), "{encoded:?}");
        }
    }

    #[test]
    fn bytes_are_kept_only_if_the_response_is_not_unicode() {
        let text = Response::from_base64("aGVsbG8=").unwrap();
        assert_eq!(text, Response { text: "hello".into(), bytes: None });
        let binary = Response::from_base64("U1NILTIuMC3//g==").unwrap();
        let bytes = Some(b"SSH-2.0-\xff\xfe".to_vec());
        assert_eq!(binary, Response { text: "SSH-2.0-\u{fffd}\u{fffd}".into(), bytes });
        let surrogate = Response::from_text(Text::parse(r#""a\ud800""#).unwrap());
        assert_eq!(surrogate, Response { text: "a\u{fffd}".into(), bytes: Some(b"a\xed\xa0\x80".to_vec()) });
    }
}
