//! Text from outside, made harmless for a terminal. Pure.

/// At most `most` characters of `text` in one line, in which nothing moves the cursor, colours, or turns the direction.
pub(super) fn harmless(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for c in text.chars().take(most) {
        match c {
            ' '..='~' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// The same JSON in ASCII, so that a terminal shows every character of its texts and obeys none.
pub(super) fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            // Only within a string can there be any: JSON's own characters are printable ASCII.
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
    fn text_for_people_stays_as_it_is() {
        assert_eq!(harmless("port is \"70000\" \\ größer 端口", 100), "port is \"70000\" \\ größer 端口");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(harmless("a\u{1b}[2J\r\n\t\u{7}\u{7f}", 100), "a\\u{1b}[2J\\r\\n\\t\\u{7}\\u{7f}");
        // A control sequence in one character, a reversal, an invisible space.
        assert_eq!(harmless("\u{9b}31m\u{202e}\u{200b}", 100), "\\u{9b}31m\\u{202e}\\u{200b}");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(harmless("abcdef", 3), "abc…");
        assert_eq!(harmless("abc", 3), "abc");
    }

    proptest! {
        #[test]
        fn no_control_character_passes(text: String) {
            prop_assert!(!harmless(&text, 50).chars().any(char::is_control));
        }

        #[test]
        fn ascii_json_says_the_same(text: String) {
            let ascii = ascii_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(ascii.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            prop_assert_eq!(serde_json::from_str::<String>(&ascii).unwrap(), text);
        }
    }
}
