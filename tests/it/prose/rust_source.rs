//! The prose of a Rust source: comments, strings and the names that it declares. Knows no rule.

use super::text::Block;

pub(super) struct Source {
    pub(super) blocks: Vec<Block>,
    /// Every identifier and its line.
    pub(super) names: Vec<(usize, String)>,
}

/// After these keywords a source declares a name, which is read like a sentence.
const DECLARE: &[&str] = &["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];

pub(super) fn read(source: &str) -> Source {
    let mut reader = Reader { blocks: Vec::new(), names: Vec::new(), comment: None, declares: false };
    let mut rest = source;
    let mut line = 1;
    while !rest.is_empty() {
        let length = reader.next(rest, line);
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    reader.end_comment();
    Source { blocks: reader.blocks, names: reader.names }
}

struct Reader {
    blocks: Vec<Block>,
    names: Vec<(usize, String)>,
    /// Line comments that follow each other: the first line, the marker, and the text so far.
    comment: Option<(usize, &'static str, String)>,
    /// Whether a name is declared next.
    declares: bool,
}

impl Reader {
    /// Reads one token; returns its length.
    fn next(&mut self, rest: &str, line: usize) -> usize {
        let first = rest.chars().next().unwrap_or(' ');
        if rest.starts_with("//") {
            return self.line_comment(rest, line);
        }
        if first.is_whitespace() {
            // An empty line ends a comment; the end of its line does not.
            let length = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
            if rest[..length].matches('\n').count() > 1 {
                self.end_comment();
            }
            return length;
        }
        self.end_comment();
        if rest.starts_with("/*") {
            let length = block_comment(rest);
            self.blocks.push(Block::new(rest[2..length].trim_end_matches("*/"), line));
            return length;
        }
        if let Some((length, text)) = literal(rest) {
            if let Some(text) = text {
                self.blocks.push(Block::new(&text, line));
            }
            return length;
        }
        if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.name(&rest[..length], line);
            return length;
        }
        self.declares = false;
        first.len_utf8()
    }

    fn line_comment(&mut self, rest: &str, line: usize) -> usize {
        let length = rest.find('\n').unwrap_or(rest.len());
        let marker = ["//!", "///", "//"].into_iter().find(|marker| rest.starts_with(marker)).unwrap_or("//");
        let text = &rest[marker.len()..length];
        match &mut self.comment {
            Some((_, same, comment)) if *same == marker && !text.trim().is_empty() => {
                comment.push('\n');
                comment.push_str(text);
            }
            _ => {
                self.end_comment();
                self.comment = Some((line, marker, text.to_owned()));
            }
        }
        length
    }

    fn end_comment(&mut self) {
        if let Some((line, _, text)) = self.comment.take() {
            self.blocks.push(Block::new(&text, line));
        }
    }

    fn name(&mut self, name: &str, line: usize) {
        if self.declares {
            self.blocks.push(Block::new(name, line));
        }
        self.declares = DECLARE.contains(&name);
        self.names.push((line, name.to_owned()));
    }
}

fn block_comment(source: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length and the text of the string that the source begins with; no text for a character. `None` for a lifetime and
/// anything else.
fn literal(source: &str) -> Option<(usize, Option<String>)> {
    let prefix = source.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let rest = &source[prefix..];
    if source[..prefix].ends_with('r') {
        let hashes = rest.find(|c| c != '#')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let body = rest[hashes..].strip_prefix('"')?;
        let length = body.find(&end)?;
        return Some((prefix + hashes + 1 + length + end.len(), Some(body[..length].to_owned())));
    }
    match rest.chars().next()? {
        '"' => {
            let (length, text) = string(rest)?;
            Some((prefix + length, Some(text)))
        }
        '\'' => Some((prefix + character(rest)?, None)),
        _ => None,
    }
}

fn string(source: &str) -> Option<(usize, String)> {
    let mut text = String::new();
    let mut characters = source.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((at + 1, text)),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\' | '\'' | '\n') => text.push(escaped),
                _ => text.push(' '),
            },
            _ => text.push(character),
        }
    }
    None
}

/// The length of a character; `None` for a lifetime.
fn character(source: &str) -> Option<usize> {
    let inside = &source[1..];
    let first = inside.chars().next()?.len_utf8();
    if inside.starts_with('\\') {
        let escaped = inside[first..].chars().next()?.len_utf8();
        return Some(inside[first + escaped..].find('\'')? + first + escaped + 2);
    }
    inside[first..].starts_with('\'').then_some(first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let words = |block: &Block| block.tokens.iter().map(|token| token.text.clone()).collect::<Vec<_>>().join(" ");
        read(source).blocks.iter().map(words).collect()
    }

    #[test]
    fn comments_that_follow_each_other_are_one() {
        let source = "//! one\n//! two\n//!\n//! three\n\n/// four\n// five\nfn six() {} // seven\n/* eight\n nine */";
        assert_eq!(texts(source), ["one two", "three", "four", "five", "six", "seven", "eight nine"]);
    }

    #[test]
    fn strings_are_read_and_characters_and_lifetimes_are_not() {
        let source = r##"f("one \" \n two \
            three", b"four", r#"five "six""#, '"', '\'', '\u{41}', 'x', "seven") as &'a str"##;
        assert_eq!(texts(source), ["one \" two three", "four", "five \" six \"", "seven"]);
    }

    #[test]
    fn names_are_read_where_they_are_declared() {
        let source = "fn one_two() { three(); }\nstruct FourFive;\nimpl Six for Seven {}";
        assert_eq!(texts(source), ["one two", "four five"]);
        assert!(read(source).names.contains(&(3, "Seven".to_owned())));
    }

    #[test]
    fn a_text_knows_its_line() {
        let read = read("\n\nlet a = \"one\n two\";\n// three");
        let lines: Vec<_> = read.blocks.iter().flat_map(|block| block.tokens.iter().map(|token| token.line)).collect();
        assert_eq!(lines, [3, 4, 5]);
    }
}
