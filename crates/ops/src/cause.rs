//! The text of an error chain or of a panic, as one line for a person. Pure.

use std::any::Any;
use std::error::Error;

/// The innermost errors of a chain name the cause; the outer ones only name the layers that passed it on.
const INNERMOST: usize = 2;
const MAX_BYTES: usize = 200;

/// Returns the cause of `error`: the first sentence of each of the innermost errors, without repetitions.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let mut sentences: Vec<String> = Vec::new();
    for sentence in chain.map(|error| first_sentence(&error.to_string()).to_owned()) {
        // Some errors repeat their source in their own text.
        sentences.retain(|outer| !outer.contains(&sentence));
        sentences.push(sentence);
    }
    let mut text = sentences.split_off(sentences.len().saturating_sub(INNERMOST)).join(": ");
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        text.push('…');
    }
    text
}

/// Returns the message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "the panic carried no text".to_owned())
}

fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(". ").map_or(line, |(sentence, _)| sentence).trim_end_matches(['.', ':', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: String,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&str]) -> Link {
        let inner =
            texts.iter().rev().fold(None, |source, text| Some(Box::new(Link { text: text.to_string(), source })));
        *inner.unwrap()
    }

    #[test]
    fn joins_the_innermost_errors_in_one_line() {
        let error = chain(&["dispatch failure", "io error", "tcp connect error", "Connection refused (os error 111)"]);
        assert_eq!(cause(&error), "tcp connect error: Connection refused (os error 111)");
        let error = chain(&["not enabled", "no credentials found in chain. Attempted:\n  Environment: not set"]);
        assert_eq!(cause(&error), "not enabled: no credentials found in chain");
    }

    #[test]
    fn leaves_out_what_an_outer_error_repeats() {
        assert_eq!(cause(&chain(&["cannot connect: refused", "refused"])), "refused");
        assert_eq!(cause(&chain(&["refused"])), "refused");
    }

    #[test]
    fn cuts_a_long_text_at_a_character_boundary() {
        assert_eq!(cause(&chain(&[&"é".repeat(300)])), format!("{}…", "é".repeat(100)));
    }
}
