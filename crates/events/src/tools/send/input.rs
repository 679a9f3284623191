//! Reads documents: one that may have many lines, or one per line. Reads lines as they come.

use std::io::{self, BufRead, Read};

use serde_json::Value;

/// Longer documents are refused anyway.
const MAX_DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Calls `each` with the number of the first line of each document, and its text, until it returns false.
///
/// A first line that is JSON begins a list of one document per line. Otherwise the whole input is one document, if it is
/// JSON, and else each line is one. Empty lines are no documents.
pub(super) fn read(mut reader: impl BufRead, mut each: impl FnMut(u64, String) -> bool) -> io::Result<()> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    if !is_json(&first) {
        let mut whole = first;
        reader.by_ref().take(MAX_DOCUMENT_BYTES).read_to_string(&mut whole)?;
        if is_json(&whole) {
            each(1, whole.trim().to_owned());
            return Ok(());
        }
        for (number, line) in (1..).zip(whole.lines()) {
            if !line.trim().is_empty() && !each(number, line.to_owned()) {
                return Ok(());
            }
        }
        return Ok(());
    }
    let mut line = first;
    for number in 1.. {
        let text = line.trim_end_matches(['\n', '\r']);
        if !text.trim().is_empty() && !each(number, text.to_owned()) {
            break;
        }
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
    }
    Ok(())
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<(u64, String)> {
        let mut documents = Vec::new();
        read(text.as_bytes(), |number, document| {
            documents.push((number, document));
            true
        })
        .unwrap();
        documents
    }

    #[test]
    fn a_document_may_have_many_lines() {
        assert_eq!(documents("{\n  \"a\": 1\n}\n"), [(1, "{\n  \"a\": 1\n}".to_owned())]);
    }

    #[test]
    fn lines_are_documents_with_their_numbers() {
        assert_eq!(documents("{\"a\":1}\n\n not JSON \n"), [(1, "{\"a\":1}".to_owned()), (3, " not JSON ".to_owned())]);
        assert_eq!(documents("x\r\n{}\n"), [(1, "x".to_owned()), (2, "{}".to_owned())]);
        assert_eq!(documents(""), []);
    }

    #[test]
    fn reading_ends_when_nobody_wants_more() {
        let mut count = 0;
        read("1\n2\n3\n".as_bytes(), |_, _| {
            count += 1;
            count < 2
        })
        .unwrap();
        assert_eq!(count, 2);
    }
}
