//! docs/performance.md and its picture: what stands between the marks is that of the last whole run.

use std::path::Path;

use anyhow::Context;

use crate::picture::picture;
use crate::results::Results;
use crate::{costs, goals, table};

type Part = (&'static str, &'static str, fn(&Results) -> String);

/// The title of each part on a terminal, its mark in the page, and what makes it.
const PARTS: [Part; 4] = [
    ("Goals", "<!-- make bench: goals -->\n", goals::table),
    ("Speed", "<!-- make bench: speed -->\n", table::speed),
    ("What a million messages cost", "<!-- make bench: costs -->\n", costs::table),
    ("Memory", "<!-- make bench: memory -->\n", table::memory),
];
/// Of a table: the names of the columns, and the line below them.
const HEAD_LINES: usize = 2;
const END: &str = "<!-- end -->\n";

pub(crate) fn print(results: &Results) {
    for (title, _, make) in PARTS {
        let table = make(results);
        if table.lines().count() > HEAD_LINES {
            println!("\n{title}\n\n{table}");
        }
    }
}

/// Puts the tables and the picture into the documents.
pub(crate) fn write(results: &Results) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = docs.join("performance.md");
    let mut text = std::fs::read_to_string(&page)?;
    for (title, mark, make) in PARTS {
        let missing = || format!("docs/performance.md has no place for `{title}`");
        let (before, rest) = text.split_once(mark).with_context(missing)?;
        let (_, after) = rest.split_once(END).with_context(missing)?;
        text = format!("{before}{mark}\n{}\n{END}{after}", make(results));
    }
    std::fs::write(docs.join("performance.svg"), picture(results))?;
    Ok(std::fs::write(page, text)?)
}
