//! Markdown as paragraphs. Knows no rule.

/// Text that no other text continues: a paragraph, a list item, a heading, the cell of a table, or a line of code.
#[derive(Debug, PartialEq)]
pub(super) struct Paragraph {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) code: bool,
}

pub(super) fn paragraphs(source: &str) -> Vec<Paragraph> {
    let mut reader = Reader::default();
    for (number, line) in source.lines().enumerate() {
        reader.line(number + 1, line);
    }
    reader.end();
    reader.paragraphs
}

#[derive(Default)]
struct Reader {
    paragraphs: Vec<Paragraph>,
    open: Option<Paragraph>,
    /// What ends the code block.
    fence: Option<&'static str>,
    in_html_comment: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let text = line.trim().trim_start_matches("> ");
        if let Some(fence) = self.fence {
            if text.starts_with(fence) {
                self.fence = None;
            } else {
                self.paragraphs.push(Paragraph { line: number, text: line.to_owned(), code: true });
            }
        } else if self.in_html_comment || text.starts_with("<!--") {
            self.end();
            self.in_html_comment = !text.contains("-->");
        } else if let Some(fence) = ["```", "~~~"].into_iter().find(|fence| text.starts_with(fence)) {
            self.end();
            self.fence = Some(fence);
        } else if text.starts_with('|') {
            self.end();
            for cell in cells(text) {
                self.paragraphs.push(Paragraph { line: number, text: cell, code: false });
            }
        } else if text.is_empty() || text.starts_with('<') || is_link_definition(text) {
            self.end();
        } else if text.starts_with('#') {
            self.end();
            self.start(number, text.trim_start_matches('#'));
            self.end();
        } else if let Some(item) = list_item(text) {
            self.end();
            self.start(number, item);
        } else if let Some(open) = &mut self.open {
            open.text.push('\n');
            open.text.push_str(text);
        } else {
            self.start(number, text);
        }
    }

    fn start(&mut self, line: usize, text: &str) {
        self.open = Some(Paragraph { line, text: text.trim().to_owned(), code: false });
    }

    fn end(&mut self) {
        self.paragraphs.extend(self.open.take());
    }
}

fn list_item(text: &str) -> Option<&str> {
    let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if after_number.len() < text.len() {
        return after_number.strip_prefix(". ").or_else(|| after_number.strip_prefix(") "));
    }
    ["- ", "* ", "+ "].into_iter().find_map(|marker| text.strip_prefix(marker))
}

/// `[name]: https://…`
fn is_link_definition(text: &str) -> bool {
    text.starts_with('[') && text.contains("]: ")
}

/// The cells of a row of a table; none for the row of dashes below its head. A bar in a code span separates nothing.
fn cells(row: &str) -> Vec<String> {
    if row.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ')) {
        return Vec::new();
    }
    let mut cells = vec![String::new()];
    let mut in_span = false;
    let mut before = ' ';
    for character in row.trim_matches('|').chars() {
        in_span ^= character == '`';
        match cells.last_mut() {
            Some(cell) if character != '|' || in_span || before == '\\' => cell.push(character),
            _ => cells.push(String::new()),
        }
        before = character;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        paragraphs(source).into_iter().filter(|paragraph| !paragraph.code).map(|paragraph| paragraph.text).collect()
    }

    #[test]
    fn paragraphs_headings_and_list_items_are_apart() {
        let source = "# Title\none\ntwo\n- three\n  four\n1. five\n\n> six\n";
        assert_eq!(texts(source), ["Title", "one\ntwo", "three\nfour", "five", "six"]);
    }

    #[test]
    fn cells_of_tables_are_apart() {
        assert_eq!(texts("| a | `b | c` |\n|---|---|\n| d | e |"), [" a ", " `b | c` ", " d ", " e "]);
    }

    #[test]
    fn code_blocks_comments_tags_and_link_definitions_are_no_prose() {
        let source = "one\n```sh\nrun this\n```\n<!-- not\nthis -->\n<img alt=\"no\">\n[a]: https://b\ntwo";
        assert_eq!(texts(source), ["one", "two"]);
    }

    #[test]
    fn a_paragraph_knows_its_line() {
        let lines: Vec<_> = paragraphs("one\n\ntwo\nthree\n\n```\nfour\n```").iter().map(|read| read.line).collect();
        assert_eq!(lines, [1, 3, 7]);
    }
}
