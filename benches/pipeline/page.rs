//! Writes the figures of the last complete run into the documents, between marks, and draws the picture.

use anyhow::ensure;

use crate::picture::picture;
use crate::results::Results;
use crate::{costs, document, goals, summary, table};

struct Part {
    document: &'static str,
    /// Its title on a terminal.
    title: &'static str,
    /// The line before it in the document.
    mark: &'static str,
    render: fn(&Results) -> String,
}

const PAGE: &str = "docs/performance.md";
const PICTURE: &str = "docs/performance.svg";

const PARTS: [Part; 7] = [
    part(PAGE, "Findings", "<!-- make bench: findings -->\n", summary::findings),
    part(PAGE, "Goals", "<!-- make bench: goals -->\n", goals::table),
    part(PAGE, "Speed", "<!-- make bench: speed -->\n", table::speed),
    part(PAGE, "Cost per million messages", "<!-- make bench: costs -->\n", costs::table),
    part(PAGE, "Memory", "<!-- make bench: memory -->\n", table::memory),
    part("README.md", "README", "<!-- make bench: release -->\n", summary::release),
    part("docs/batch-writes.md", "Write modes", "<!-- make bench: modes -->\n", summary::modes),
];
/// The lines of an empty table: the column names, and the line below them.
const HEADER_LINES: usize = 2;

const fn part(document: &'static str, title: &'static str, mark: &'static str, render: fn(&Results) -> String) -> Part {
    Part { document, title, mark, render }
}

pub(crate) fn print(results: &Results) {
    for Part { title, render, .. } in PARTS {
        let table = render(results);
        if table.lines().count() > HEADER_LINES {
            println!("\n{title}\n\n{table}");
        }
    }
}

/// Writes the tables and the picture of a complete run into the documents.
pub(crate) fn write(results: &Results) -> anyhow::Result<()> {
    ensure!(results.is_complete, "the last run was not complete, so the documents keep their figures");
    for Part { document, mark, render, .. } in PARTS {
        document::replace(document, mark, &render(results))?;
    }
    Ok(std::fs::write(document::root().join(PICTURE), picture(results))?)
}

/// Fails if a document lacks a mark. Call it before a run, which takes long.
pub(crate) fn check_marks() -> anyhow::Result<()> {
    PARTS.iter().try_for_each(|part| document::check_mark(part.document, part.mark))
}
