//! The length of sentences.

use super::Finding;
use super::markdown::Paragraph;

const MAX_WORDS: usize = 35;

/// After these a sentence goes on.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "vs.", "cf.", "approx."];

pub(super) fn long<'a>(paragraphs: impl IntoIterator<Item = &'a Paragraph>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Paragraph { line, text, .. } in paragraphs {
        for sentence in sentences(text) {
            let count = sentence.words.len();
            if count > MAX_WORDS {
                findings.push(Finding {
                    line: line + sentence.line,
                    rule: format!("a sentence of {count} words, write at most {MAX_WORDS}"),
                    excerpt: format!("{} …", sentence.words[..12].join(" ")),
                });
            }
        }
    }
    findings
}

#[derive(Default)]
struct Sentence {
    /// Lines after the first one of the paragraph.
    line: usize,
    words: Vec<String>,
}

/// The sentences of a paragraph. A code span and a link's target are part of the word that they are in.
fn sentences(text: &str) -> Vec<Sentence> {
    let mut sentences = vec![Sentence::default()];
    for (line, word) in words(text) {
        let Some(sentence) = sentences.last_mut() else { continue };
        if sentence.words.is_empty() {
            sentence.line = line;
        }
        if word.contains(char::is_alphanumeric) {
            sentence.words.push(word.clone());
        }
        if ends_sentence(&word) {
            sentences.push(Sentence::default());
        }
    }
    sentences
}

fn ends_sentence(word: &str) -> bool {
    let bare = word.trim_end_matches([')', ']', '"', '\'', '*', '_', '”', '’']);
    bare.ends_with(['.', '!', '?']) && !ABBREVIATIONS.iter().any(|abbreviation| bare.ends_with(abbreviation))
}

/// The words of a text and the lines before them. Space inside a code span or a link's target ends no word.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut line, mut in_span, mut in_target) = (0, false, false);
    let mut before = ' ';
    for character in text.chars() {
        in_span ^= character == '`';
        in_target = (in_target || (before == ']' && character == '(')) && before != ')';
        if character.is_whitespace() && !in_span && !in_target {
            if !word.is_empty() {
                words.push((line, std::mem::take(&mut word)));
            }
        } else {
            word.push(character);
        }
        line += usize::from(character == '\n');
        before = character;
    }
    if !word.is_empty() {
        words.push((line, word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<usize> {
        sentences(text).iter().map(|sentence| sentence.words.len()).filter(|length| *length > 0).collect()
    }

    #[test]
    fn sentences_end_at_full_stops_exclamation_and_question_marks() {
        assert_eq!(lengths("One two. Three! Four five six? (Seven.) \"Eight.\" Nine"), [2, 1, 3, 1, 1, 1]);
    }

    #[test]
    fn a_full_stop_inside_a_word_or_an_abbreviation_ends_no_sentence() {
        assert_eq!(lengths("See docs/a.md e.g. for 2.5 s, i.e. Version 1.2.3."), [9]);
    }

    #[test]
    fn a_code_span_and_a_link_count_as_the_words_they_show() {
        assert_eq!(lengths("Run `make check. Then more` and [read this](https://a.b/c d)."), [5]);
        assert_eq!(lengths("A – dash"), [2]);
    }

    #[test]
    fn a_long_sentence_is_reported_at_its_first_line() {
        let text = format!("Short.\n{}", "word ".repeat(36));
        let findings = long(&[Paragraph { line: 10, text, code: false }]);
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [11]);
        assert!(findings[0].rule.contains("36 words"));
    }
}
