//! Text as tokens: words, numbers and marks, each with its line. Knows no rule.

use super::markdown::Paragraph;

/// Text that is read as one, e.g. a paragraph, a comment or a string.
pub(super) struct Block {
    pub(super) tokens: Vec<Token>,
}

pub(super) struct Token {
    /// In lower case.
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// Whether it is inside a code span, or is a URL or a placeholder.
    pub(super) code: bool,
    /// Whether it follows the token before it without a space.
    pub(super) glued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Word,
    Number,
    Mark,
}

impl Block {
    pub(super) fn of_paragraph(paragraph: &Paragraph) -> Self {
        Self { tokens: tokens(&paragraph.text, paragraph.line, paragraph.code) }
    }

    pub(super) fn new(text: &str, line: usize) -> Self {
        Self { tokens: tokens(text, line, false) }
    }
}

/// Consecutive comment lines as one paragraph, every other line as its own.
pub(super) fn lines(source: &str) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut in_comment = false;
    for (number, line) in source.lines().enumerate() {
        let comment = line.trim_start().strip_prefix('#').filter(|comment| !comment.starts_with('!'));
        match (comment, paragraphs.last_mut()) {
            (Some(comment), Some(paragraph)) if in_comment => {
                paragraph.text.push('\n');
                paragraph.text.push_str(comment);
            }
            (comment, _) => {
                let text = comment.unwrap_or(line).to_owned();
                paragraphs.push(Paragraph { line: number + 1, text, code: false });
            }
        }
        in_comment = comment.is_some();
    }
    paragraphs
}

fn tokens(text: &str, first_line: usize, code: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = first_line;
    let mut in_span = false;
    let mut glued = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut add = |text: &str, kind, code, glued| {
            tokens.push(Token { text: text.to_lowercase(), line, kind, code, glued });
        };
        let code = code || in_span;
        let length = if first.is_whitespace() {
            line += usize::from(first == '\n');
            glued = false;
            first.len_utf8()
        } else if first == '`' {
            let length = rest.len() - rest.trim_start_matches('`').len();
            in_span = !in_span;
            length
        } else if let Some(length) = link_target(rest) {
            length
        } else if let Some(length) = url(rest).or_else(|| placeholder(rest)) {
            add(&rest[..length], Kind::Word, true, glued);
            glued = true;
            length
        } else if first.is_ascii_digit() {
            let length = number(rest);
            add(&rest[..length], Kind::Number, code, glued);
            glued = true;
            length
        } else if first.is_alphabetic() {
            let length = word(rest);
            for part in parts(&rest[..length]) {
                add(part, Kind::Word, code, glued);
                glued = true;
            }
            length
        } else {
            let between_words = tokens.last().is_some_and(|token| glued && token.kind != Kind::Mark)
                && rest[first.len_utf8()..].starts_with(char::is_alphanumeric);
            if !(between_words && matches!(first, '-' | '_' | '/' | '.' | '\u{2011}')) {
                tokens.push(Token { text: first.to_string(), line, kind: Kind::Mark, code, glued });
            }
            glued = true;
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a link's target with its brackets, which is not read.
fn link_target(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("](")?;
    let end = inside.find(')')?;
    (!inside[..end].contains(char::is_whitespace)).then_some(end + 3)
}

fn url(text: &str) -> Option<usize> {
    (text.starts_with("https://") || text.starts_with("http://")).then(|| {
        let length = text.find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '`' | '>')).unwrap_or(text.len());
        text[..length].trim_end_matches(['.', ',', ';', ':']).len()
    })
}

/// The length of what a program puts a value in place of, e.g. `{count}`.
fn placeholder(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('{')?;
    let end = inside.find(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"'))?;
    inside[end..].starts_with('}').then_some(end + 2)
}

/// The length of a number, with its separators and unit: 1,949 or 2.5 or 250ms.
fn number(text: &str) -> usize {
    let mut end = 0;
    for (at, character) in text.char_indices() {
        let goes_on = character.is_alphanumeric()
            || (matches!(character, '.' | ',') && text[at + 1..].starts_with(|next: char| next.is_ascii_digit()));
        if !goes_on {
            break;
        }
        end = at + character.len_utf8();
    }
    end
}

/// The length of a word, with the apostrophes in it.
fn word(text: &str) -> usize {
    let mut end = 0;
    for (at, character) in text.char_indices() {
        let after = at + character.len_utf8();
        let is_apostrophe = matches!(character, '\'' | '’') && text[after..].starts_with(char::is_alphabetic);
        if !(character.is_alphanumeric() || is_apostrophe) {
            break;
        }
        end = after;
    }
    end
}

/// `DeadLetter` as `Dead` and `Letter`.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, character) in word.char_indices() {
        if before.is_lowercase() && character.is_uppercase() {
            parts.push(&word[start..at]);
            start = at;
        }
        before = character;
    }
    parts.push(&word[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text, 1, false).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn identifiers_are_split_into_words() {
        assert_eq!(texts("DeadLetter dead_letter dead-letter"), ["dead", "letter", "dead", "letter", "dead", "letter"]);
        assert_eq!(texts("It's Pub/Sub."), ["it's", "pub", "sub", "."]);
    }

    #[test]
    fn numbers_keep_their_units() {
        assert_eq!(texts("10,000 in 2.5s, 3."), ["10,000", "in", "2.5s", ",", "3", "."]);
    }

    #[test]
    fn code_spans_urls_and_placeholders_are_marked_as_code() {
        let codes = |text| -> Vec<_> {
            tokens(text, 1, false).into_iter().filter(|token| token.code).map(|token| token.text).collect()
        };
        assert_eq!(codes("the `table name` of {count}"), ["table", "name", "{count}"]);
        assert_eq!(codes("see https://a.b/c?d, or [this](https://e.f)"), ["https://a.b/c?d"]);
    }

    #[test]
    fn tokens_know_their_lines() {
        let lines: Vec<_> = tokens("one\ntwo `three\nfour`", 7, false).iter().map(|token| token.line).collect();
        assert_eq!(lines, [7, 8, 8, 9]);
    }

    #[test]
    fn comment_lines_are_joined_and_other_lines_are_not() {
        let read: Vec<_> = lines("#!/bin/sh\n# one\n# two\nthree\nfour\n").into_iter().map(|read| read.text).collect();
        assert_eq!(read, ["#!/bin/sh", " one\n two", "three", "four"]);
    }
}
