//! A small language for phrases, in which the rules are written.
//!
//! A pattern is a list of elements with spaces between them. An element is one or more alternatives with `|` between
//! them; a gap `..` stands for up to three words. An alternative is a word, the beginning of a word (`condemn*`), a
//! mark, or one of these:
//!
//! - `<number>`: a number, with its unit, or a placeholder
//! - `<literal>`: an example as it would be typed: a code span, a quoted text, or a word with a digit in it
//! - `<end>`: the end of a clause, or a word that begins another one
//! - `<word>`: any word

use super::text::{Kind, Token};

pub(super) struct Pattern(Vec<Element>);

enum Element {
    OneOf(Vec<Alternative>),
    Gap,
}

enum Alternative {
    Exact(String),
    Prefix(String),
    Number,
    Literal,
    End,
    AnyWord,
}

/// Words after which a clause or a phrase goes on with something else.
const CLAUSE_STARTS: &[&str] = &[
    "a", "above", "after", "an", "and", "are", "as", "at", "because", "before", "below", "but", "by", "each", "for",
    "from", "if", "in", "is", "it", "more", "of", "on", "or", "over", "per", "so", "than", "that", "the", "they", "to",
    "under", "until", "was", "were", "when", "where", "which", "while", "with", "without",
];

const LONGEST_GAP: usize = 3;

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split_whitespace().map(element).collect())
    }

    /// Where the pattern ends if it begins at `start`.
    pub(super) fn end(&self, tokens: &[Token], start: usize) -> Option<usize> {
        matched(&self.0, tokens, start)
    }
}

fn element(text: &str) -> Element {
    if text == ".." {
        return Element::Gap;
    }
    Element::OneOf(text.split('|').map(alternative).collect())
}

fn alternative(text: &str) -> Alternative {
    match text {
        "<number>" => Alternative::Number,
        "<literal>" => Alternative::Literal,
        "<end>" => Alternative::End,
        "<word>" => Alternative::AnyWord,
        _ => match text.strip_suffix('*') {
            Some(prefix) => Alternative::Prefix(prefix.to_owned()),
            None => Alternative::Exact(text.to_owned()),
        },
    }
}

fn matched(elements: &[Element], tokens: &[Token], at: usize) -> Option<usize> {
    let Some((first, rest)) = elements.split_first() else { return Some(at) };
    match first {
        Element::OneOf(alternatives) => {
            let mut ends = alternatives.iter().filter_map(|alternative| alternative.end(tokens, at));
            ends.find_map(|end| matched(rest, tokens, end))
        }
        Element::Gap => {
            let words = tokens[at.min(tokens.len())..].iter().take_while(|token| token.kind != Kind::Mark).count();
            (0..=words.min(LONGEST_GAP)).find_map(|gap| matched(rest, tokens, at + gap))
        }
    }
}

impl Alternative {
    fn end(&self, tokens: &[Token], at: usize) -> Option<usize> {
        let token = tokens.get(at);
        if let Self::End = self {
            let ends = |token: &Token| token.kind == Kind::Mark || CLAUSE_STARTS.contains(&token.text.as_str());
            return token.is_none_or(ends).then_some(at);
        }
        let token = token?;
        match self {
            Self::Exact(text) => (token.text == *text).then_some(at + 1),
            Self::Prefix(text) => token.text.starts_with(text.as_str()).then_some(at + 1),
            Self::Number => (token.kind == Kind::Number || token.text.starts_with('{')).then_some(at + 1),
            Self::AnyWord => (token.kind == Kind::Word).then_some(at + 1),
            Self::Literal => literal(tokens, at),
            Self::End => None,
        }
    }
}

/// The end of an example that begins at `at`.
fn literal(tokens: &[Token], at: usize) -> Option<usize> {
    let first = tokens.get(at)?;
    if first.code {
        return Some(at + tokens[at..].iter().take_while(|token| token.code).count());
    }
    if matches!(first.text.as_str(), "\"" | "“" | "'") {
        let inside = tokens[at + 1..].iter().position(|token| matches!(token.text.as_str(), "\"" | "”" | "'"))?;
        return Some(at + inside + 2);
    }
    let glued = tokens[at + 1..].iter().take_while(|token| token.glued && !is_clause_mark(token)).count();
    let all = &tokens[at..=at + glued];
    let is_example = all.iter().any(|token| {
        token.text.contains(|c: char| c.is_ascii_digit()) || matches!(token.text.as_str(), ":" | "@" | "=" | "<")
    });
    (is_example && first.kind != Kind::Mark).then_some(at + glued + 1)
}

fn is_clause_mark(token: &Token) -> bool {
    matches!(token.text.as_str(), "." | "," | ";" | ")" | "!" | "?" | "\"")
}

#[cfg(test)]
mod tests {
    use super::super::text::Block;
    use super::*;

    fn is_found(pattern: &str, text: &str) -> bool {
        let tokens = Block::new(text, 1).tokens;
        (0..tokens.len()).any(|start| Pattern::new(pattern).end(&tokens, start).is_some())
    }

    #[test]
    fn words_prefixes_and_gaps_are_found() {
        assert!(is_found("give|given .. back", "it is Given back"));
        assert!(is_found("give|given .. back", "give all of it back"));
        assert!(!is_found("give|given .. back", "give all of it now back"));
        assert!(!is_found("give|given .. back", "give up, and go back"));
        assert!(is_found("condemn*", "condemned"));
        assert!(!is_found("mend", "amend mending"));
    }

    #[test]
    fn numbers_are_digits_and_placeholders() {
        assert!(is_found("<number> a second", "10,000 a second"));
        assert!(is_found("<number> a second", "{rate} a second"));
        assert!(!is_found("<number> a second", "some a second"));
    }

    #[test]
    fn an_end_is_a_mark_the_last_word_or_the_next_clause() {
        for text in ["a second.", "a second", "a second on two cores"] {
            assert!(is_found("a second <end>", text), "{text}");
        }
        assert!(!is_found("a second <end>", "a second attempt"));
    }

    #[test]
    fn an_example_is_code_a_quoted_text_or_a_word_with_a_digit() {
        for text in ["as `--table x`.", "as 2ms.", "as \"a b\".", "as europe-west1.", "as group:oncall@example.com."] {
            assert!(is_found("as <literal> .", text), "{text}");
        }
        assert!(!is_found("as <literal> .", "as a rule."));
    }
}
