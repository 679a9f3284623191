//! Writes the figures of the last complete run into the documents, between marks, and draws the picture.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::picture::picture;
use crate::results::Results;
use crate::{costs, goals, summary, table};

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
const END: &str = "<!-- end -->\n";

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
        let file = root().join(document);
        let text = std::fs::read_to_string(&file)?;
        let (before, after) = around(document, mark, &text)?;
        std::fs::write(&file, format!("{before}{mark}\n{}\n{END}{after}", render(results)))?;
    }
    Ok(std::fs::write(root().join(PICTURE), picture(results))?)
}

/// Fails if a document lacks a mark. Call it before a run, which takes long.
pub(crate) fn check_marks() -> anyhow::Result<()> {
    for Part { document, mark, .. } in PARTS {
        around(document, mark, &std::fs::read_to_string(root().join(document))?)?;
    }
    Ok(())
}

/// Returns the text before a mark and after its end.
fn around<'a>(document: &str, mark: &str, text: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    let missing = || format!("{document} has no part between `{}` and `{}`", mark.trim(), END.trim());
    let (before, rest) = text.split_once(mark).with_context(missing)?;
    Ok((before, rest.split_once(END).with_context(missing)?.1))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
