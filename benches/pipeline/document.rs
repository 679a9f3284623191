//! A part of a document that a benchmark writes, between its mark and the end mark.

use std::path::Path;

use anyhow::Context;

const END: &str = "<!-- end -->\n";

/// Replaces the part after a mark.
pub(crate) fn replace(document: &str, mark: &str, part: &str) -> anyhow::Result<()> {
    let file = root().join(document);
    let text = std::fs::read_to_string(&file)?;
    let (before, after) = around(document, mark, &text)?;
    Ok(std::fs::write(&file, format!("{before}{mark}\n{part}\n{END}{after}"))?)
}

/// Fails if the document lacks the mark. Call it before a run, which takes long.
pub(crate) fn check_mark(document: &str, mark: &str) -> anyhow::Result<()> {
    around(document, mark, &std::fs::read_to_string(root().join(document))?).map(drop)
}

/// Returns the text before a mark and after its end.
fn around<'a>(document: &str, mark: &str, text: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    let missing = || format!("{document} has no part between `{}` and `{}`", mark.trim(), END.trim());
    let (before, rest) = text.split_once(mark).with_context(missing)?;
    Ok((before, rest.split_once(END).with_context(missing)?.1))
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
