//! Makes untrusted text safe for a terminal. Pure.

/// Returns at most `max_chars` characters of `text` in one line. Escapes characters that would move the cursor, set
/// colours or change the text direction.
pub fn sanitize(text: &str, max_chars: usize) -> String {
    let mut sanitized = String::with_capacity(text.len().min(max_chars));
    for c in text.chars().take(max_chars) {
        match c {
            ' '..='~' => sanitized.push(c),
            _ => sanitized.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(max_chars).is_some() {
        sanitized.push('…');
    }
    sanitized
}

/// Formats a table with a head. Returns an empty string for no rows. The columns in `numbers` are aligned to the right.
pub fn layout<const N: usize>(head: [&str; N], numbers: &[usize], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head = head.map(str::to_owned);
    let lines = || [&head].into_iter().chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| lines().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |cells: &[String; N]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines().map(line).collect()
}

/// Converts JSON to printable ASCII, so that a terminal shows every character and interprets none.
pub fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            // Only strings contain such characters, because JSON's syntax is printable ASCII.
            _ => ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_text_is_unchanged() {
        assert_eq!(sanitize("port is \"70000\" \\ größer 端口", 100), "port is \"70000\" \\ größer 端口");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(sanitize("a\u{1b}[2J\r\n\t\u{7}\u{7f}", 100), "a\\u{1b}[2J\\r\\n\\t\\u{7}\\u{7f}");
        // A one-character control sequence, a change of direction, an invisible space.
        assert_eq!(sanitize("\u{9b}31m\u{202e}\u{200b}", 100), "\\u{9b}31m\\u{202e}\\u{200b}");
    }

    #[test]
    fn long_text_ends_with_an_ellipsis() {
        assert_eq!(sanitize("abcdef", 3), "abc…");
        assert_eq!(sanitize("abc", 3), "abc");
    }

    proptest! {
        #[test]
        fn the_result_contains_no_control_character(text: String) {
            prop_assert!(!sanitize(&text, 50).chars().any(char::is_control));
        }

        #[test]
        fn ascii_json_parses_to_the_same_value(text: String) {
            let ascii = ascii_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(ascii.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            prop_assert_eq!(serde_json::from_str::<String>(&ascii).unwrap(), text);
        }
    }
}
