//! Shows masks, and a response behind them, to a person.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::masks::{MAX_TEXT, Masked, Masks};
use ops::terminal::sanitize;

/// Writes the names and patterns of the masks to `out`, and their id to `notes`.
pub fn list(masks: &Masks, out: &mut impl Write, notes: &mut impl Write) -> io::Result<()> {
    let width = masks.list().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, pattern) in masks.list() {
        writeln!(out, "{name:width$}  {}", sanitize(pattern, usize::MAX))?;
    }
    writeln!(notes, "The id of these masks is {}.", masks.id())
}

/// Writes the response behind the masks to `out`, and how much each mask hides to `notes`.
pub fn show(masks: &Masks, response: &[u8], out: &mut impl Write, notes: &mut impl Write) -> io::Result<()> {
    let masked = masks.mask(response);
    for line in String::from_utf8_lossy(&masked.text).lines() {
        writeln!(out, "{}", sanitize(line, usize::MAX))?;
    }
    notes.write_all(summary(masks, &masked, response.len()).as_bytes())
}

fn summary(masks: &Masks, masked: &Masked<'_>, bytes: usize) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes every text");
    for (name, _) in masks.list() {
        let hidden: Vec<_> = masked.hidden.iter().filter(|hidden| hidden.mask == name).collect();
        if !hidden.is_empty() {
            let sum: usize = hidden.iter().map(|hidden| hidden.range.len()).sum();
            line(format!("{name} hides {} in {}.", count(sum, "byte"), count(hidden.len(), "range")));
        }
    }
    for name in &masked.limited {
        line(format!("{name} stopped at its limit, so later matches stay."));
    }
    if bytes > MAX_TEXT {
        line(format!("Masks act on the first {MAX_TEXT} bytes only."));
    }
    line(format!("Together the masks hide {} of {bytes}.", count(masked.hidden_bytes(), "byte")));
    text
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
