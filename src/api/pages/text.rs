//! Texts for the page: hostile responses made visible, hex dumps, times and URLs. Pure.

use crate::scan::to_unix_seconds;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Responses are shown up to this length. The page of the record shows all.
pub(super) const SHOWN_BYTES: usize = 4096;

const BYTES_PER_LINE: usize = 16;

/// Returns a text in which no character moves, hides or reverses others. Such a character is shown by its number, as
/// `mini-scan get` shows it, because few fonts have symbols for all of them.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            // Windows ends its lines like this, and many protocols do.
            '\r' => {}
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}' => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Returns the start of a text, at most this many bytes.
pub(super) fn start(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Returns lines with an offset, 16 bytes in hex, and the same bytes as ASCII.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut lines = String::new();
    for (number, line) in bytes.chunks(BYTES_PER_LINE).enumerate() {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let ascii: String =
            line.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }).collect();
        let _ = writeln!(lines, "{:08x}  {:<47}  {ascii}", number * BYTES_PER_LINE, hex.join(" "));
    }
    lines
}

/// Returns e.g. `2025-02-23T08:08:45Z`. A time after the year 9999 is returned as its seconds.
pub(super) fn utc(timestamp: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    if timestamp >= YEAR_10000 {
        return timestamp.to_string();
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Returns e.g. `3 days ago`.
pub(super) fn age(timestamp: u64, now: SystemTime) -> String {
    let now = to_unix_seconds(now);
    let Some(seconds) = now.checked_sub(timestamp) else { return "in the future".to_owned() };
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..31_536_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Returns e.g. `1 byte` or `2 bytes`.
pub(super) fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns the text with a capital letter at its start and a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{}", rest.as_str(), if text.ends_with('.') { "" } else { "." })
}

/// Percent-encodes a text as one segment of a path.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// Returns the URL of the next page relative to this one: the same query with another page token.
pub(super) fn next_url(query: &str, page_token: &str) -> String {
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("page_token="));
    let mut url: String = others.flat_map(|pair| [pair, "&"]).collect();
    let _ = write!(url, "page_token={page_token}");
    format!("?{url}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_and_reversals_become_visible() {
        assert_eq!(visible("a\r\n\tb\u{1b}[31m\0\u{7f}"), r"a|b\u{1b}[31m\u{0}\u{7f}".replace('|', "\n\t"));
        assert_eq!(visible("exe.\u{202e}txt\u{feff}\u{200b}"), r"exe.\u{202e}txt\u{feff}\u{200b}");
    }

    #[test]
    fn hex_has_offsets_and_ascii() {
        let lines = hex(b"SSH-2.0-\xff\xfe\r\n1234567");
        let expected = "00000000  53 53 48 2d 32 2e 30 2d ff fe 0d 0a 31 32 33 34  SSH-2.0-....1234\n\
                        00000010  35 36 37                                         567\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_next_page_keeps_the_query() {
        assert_eq!(next_url("", "b"), "?page_token=b");
        assert_eq!(next_url("port=80&page_token=a&service=a%26b", "b"), "?port=80&service=a%26b&page_token=b");
    }

    #[test]
    fn a_detail_becomes_a_sentence() {
        assert_eq!(sentence("the table has no index"), "The table has no index.");
        assert_eq!((count(1, "byte", "bytes"), count(0, "byte", "bytes")), ("1 byte".to_owned(), "0 bytes".to_owned()));
    }

    #[test]
    fn times_are_utc_with_an_age() {
        assert_eq!(utc(1_740_298_125), "2025-02-23T08:08:45Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (seconds, expected) in [
            (0, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (86_400 * 3, "3 days ago"),
            (86_400 * 800, "2 years ago"),
        ] {
            assert_eq!(age(1_000_000_000 - seconds, now), expected);
        }
        assert_eq!(age(u64::MAX, now), "in the future");
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(text: String) {
            let hidden = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            prop_assert!(!visible(&text).contains(hidden));
            prop_assert!(encode(&text).bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
        }
    }
}
