//! Compares two texts by lines, with a bounded result after bounded work. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use similar::{Algorithm, DiffOp};

/// Larger differences are only counted. Two sides of 1,000 lines without a common one take about 4 million comparisons.
pub const MAX_LINES: usize = 1_000;
pub const MAX_SIDE_BYTES: usize = 64 * 1024;
/// Bytes of a line that are shown.
pub const MAX_LINE: usize = 200;
/// Bytes of all that is shown.
pub const MAX_TEXT: usize = 4 * 1024;

const ELLIPSIS: char = '…';
/// What is shown of a long line before its first difference.
const CONTEXT: usize = 40;

/// How two texts differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    pub added: Size,
    pub removed: Size,
    /// The lines after their common prefix and before their common suffix, in the unified format without context. `None` if
    /// they were too many to compare, and then all of them count as removed and added.
    pub text: Option<String>,
    /// Whether the text lacks lines or ends of lines.
    pub is_cut: bool,
}

/// Lines, and bytes with their line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub lines: usize,
    pub bytes: usize,
}

impl Size {
    fn of(lines: &[&[u8]]) -> Size {
        Size { lines: lines.len(), bytes: lines.iter().map(|line| line.len()).sum() }
    }

    fn add(&mut self, other: Size) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }

    fn is_comparable(self) -> bool {
        self.lines <= MAX_LINES && self.bytes <= MAX_SIDE_BYTES
    }
}

/// Compares two texts, whose bytes may be no UTF-8.
pub fn diff(old: &[u8], new: &[u8]) -> Diff {
    let (old, new): (Vec<_>, Vec<_>) = (lines(old).collect(), lines(new).collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&[u8], &&[u8])>| pairs.take_while(|(old, new)| old == new).count();
    let start = same(&mut old.iter().zip(&new));
    let end = same(&mut old[start..].iter().rev().zip(new[start..].iter().rev()));
    let (old, new) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let (removed, added) = (Size::of(old), Size::of(new));
    if !removed.is_comparable() || !added.is_comparable() {
        return Diff { added, removed, text: None, is_cut: true };
    }
    let mut diff = Diff::default();
    let mut text = Text::default();
    for (removed, added) in changes(old, new) {
        text.hunk((&old[removed.clone()], start + removed.start), (&new[added.clone()], start + added.start));
        diff.removed.add(Size::of(&old[removed]));
        diff.added.add(Size::of(&new[added]));
    }
    Diff { text: Some(text.shown), is_cut: text.is_cut, ..diff }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Returns the ranges that were replaced.
fn changes(old: &[&[u8]], new: &[&[u8]]) -> Vec<(Range<usize>, Range<usize>)> {
    // Long equal lines would be compared again and again.
    let mut ids = HashMap::new();
    let mut id_of = |line| -> u32 {
        let next = u32::try_from(ids.len()).expect("there are few lines");
        *ids.entry(line).or_insert(next)
    };
    let old: Vec<_> = old.iter().map(|line| id_of(*line)).collect();
    let new: Vec<_> = new.iter().map(|line| id_of(*line)).collect();
    replaced(&old, &new)
}

fn replaced<T: Hash + Eq + Ord>(old: &[T], new: &[T]) -> Vec<(Range<usize>, Range<usize>)> {
    let operations = similar::capture_diff_slices(Algorithm::Myers, old, new);
    let changes = operations.iter().filter(|operation| !matches!(operation, DiffOp::Equal { .. }));
    changes.map(|change| (change.old_range(), change.new_range())).collect()
}

/// The text of a diff up to its limit.
#[derive(Debug, Default)]
struct Text {
    shown: String,
    is_full: bool,
    is_cut: bool,
}

impl Text {
    /// Adds the lines of both sides, each with the number of lines before it.
    fn hunk(&mut self, (old, old_start): (&[&[u8]], usize), (new, new_start): (&[&[u8]], usize)) {
        self.push(&format!("@@ -{} +{} @@", position(old_start, old.len()), position(new_start, new.len())));
        for (sign, side, other) in [('-', old, new), ('+', new, old)] {
            for (index, line) in side.iter().enumerate() {
                if self.is_full {
                    return;
                }
                let (line, is_cut) = excerpt(line, other.get(index).copied().unwrap_or_default());
                self.is_cut |= is_cut;
                self.push(&format!("{sign}{line}"));
            }
        }
    }

    /// Adds a line. After the first line that does not fit it adds none.
    fn push(&mut self, line: &str) {
        self.is_full |= self.shown.len() + line.len() >= MAX_TEXT;
        if self.is_full {
            self.is_cut = true;
        } else {
            self.shown.push_str(line);
            self.shown.push('\n');
        }
    }
}

/// Returns the position of a hunk as the unified format writes it.
fn position(before: usize, lines: usize) -> String {
    match lines {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{lines}", before + 1),
    }
}

/// Returns a line without its line break, and whether it was cut. A long line is shown from a little before its first
/// difference to the line that it replaced.
fn excerpt(line: &[u8], other: &[u8]) -> (String, bool) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= MAX_LINE {
        return (String::from_utf8_lossy(line).into_owned(), false);
    }
    let same = line.iter().zip(other).take_while(|(line, other)| line == other).count();
    let from = if same < MAX_LINE { 0 } else { boundary(line, same - CONTEXT) };
    let to = boundary(line, line.len().min(from + MAX_LINE));
    let mut text = String::from_utf8_lossy(&line[from..to]).into_owned();
    if from > 0 {
        text.insert(0, ELLIPSIS);
    }
    if to < line.len() {
        text.push(ELLIPSIS);
    }
    (text, true)
}

/// Returns the start of the character at a position, if the text is UTF-8 there.
fn boundary(text: &[u8], at: usize) -> usize {
    let is_start = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(is_start).unwrap_or(at)
}

#[cfg(test)]
mod tests;
