//! Writes docs/performance.md and its picture. The text between the marks comes from the last complete run.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::picture::picture;
use crate::results::Results;
use crate::{costs, goals, table};

type Part = (&'static str, &'static str, fn(&Results) -> String);

/// The title of each part on a terminal, its mark in the page, and the function that renders it.
const PARTS: [Part; 4] = [
    ("Goals", "<!-- make bench: goals -->\n", goals::table),
    ("Speed", "<!-- make bench: speed -->\n", table::speed),
    ("Cost per million messages", "<!-- make bench: costs -->\n", costs::table),
    ("Memory", "<!-- make bench: memory -->\n", table::memory),
];
/// The lines of an empty table: the column names, and the line below them.
const HEADER_LINES: usize = 2;
const END: &str = "<!-- end -->\n";

pub(crate) fn print(results: &Results) {
    for (title, _, render) in PARTS {
        let table = render(results);
        if table.lines().count() > HEADER_LINES {
            println!("\n{title}\n\n{table}");
        }
    }
}

/// Writes the tables and the picture into the documents.
pub(crate) fn write(results: &Results) -> anyhow::Result<()> {
    let page = docs().join("performance.md");
    let mut text = std::fs::read_to_string(&page)?;
    for (title, mark, render) in PARTS {
        let missing = || format!("docs/performance.md has no marks for `{title}`");
        let (before, rest) = text.split_once(mark).with_context(missing)?;
        let (_, after) = rest.split_once(END).with_context(missing)?;
        text = format!("{before}{mark}\n{}\n{END}{after}", render(results));
    }
    write_picture(results)?;
    Ok(std::fs::write(page, text)?)
}

/// Writes the picture alone, e.g. after its design has changed.
pub(crate) fn write_picture(results: &Results) -> anyhow::Result<()> {
    Ok(std::fs::write(docs().join("performance.svg"), picture(results))?)
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}
