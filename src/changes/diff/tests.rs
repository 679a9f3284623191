use std::cell::Cell;
use std::hash::Hasher;

use proptest::prelude::*;

use super::*;

/// An element that counts its comparisons.
#[derive(Clone, Copy)]
struct Counted<'a>(u32, &'a Cell<u64>);

impl PartialEq for Counted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1.set(self.1.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Counted<'_> {}

impl Hash for Counted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.set(self.1.get() + 1);
        self.0.hash(state);
    }
}

impl PartialOrd for Counted<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.1.set(self.1.get() + 1);
        self.0.cmp(&other.0)
    }
}

fn steps(old: &[u32], new: &[u32]) -> u64 {
    let count = Cell::new(0);
    let counted = |ids: &[u32]| ids.iter().map(|id| Counted(*id, &count)).collect::<Vec<_>>();
    replaced(&counted(old), &counted(new));
    count.get()
}

fn shown(old: &str, new: &str) -> String {
    let diff = diff(old.as_bytes(), new.as_bytes());
    assert!(!diff.is_cut, "{diff:?}");
    diff.text.expect("the texts are short")
}

#[test]
fn equal_texts_have_no_difference() {
    for text in ["", "a", "a\nb\n"] {
        assert_eq!(diff(text.as_bytes(), text.as_bytes()), Diff { text: Some(String::new()), ..Diff::default() });
    }
}

#[test]
fn a_changed_line_is_shown_with_its_position() {
    let old = "HTTP/1.1 200 OK\r\nServer: nginx/1.18.0\r\n\r\nhello\n";
    let new = "HTTP/1.1 200 OK\r\nServer: nginx/1.20.1\r\n\r\nhello\n";
    assert_eq!(shown(old, new), "@@ -2 +2 @@\n-Server: nginx/1.18.0\n+Server: nginx/1.20.1\n");
    let Diff { added, removed, .. } = diff(old.as_bytes(), new.as_bytes());
    assert_eq!((added, removed), (Size { lines: 1, bytes: 22 }, Size { lines: 1, bytes: 22 }));
}

#[test]
fn added_and_removed_lines_are_shown_like_a_unified_diff() {
    assert_eq!(shown("a\nb\nc\nd\n", "a\nc\nx\ny\nd\n"), "@@ -2 +1,0 @@\n-b\n@@ -3,0 +3,2 @@\n+x\n+y\n");
    assert_eq!(shown("", "a\nb"), "@@ -0,0 +1,2 @@\n+a\n+b\n");
    assert_eq!(shown("a\nb", ""), "@@ -1,2 +0,0 @@\n-a\n-b\n");
}

#[test]
fn a_line_break_alone_is_a_difference() {
    assert_eq!(shown("a", "a\n"), "@@ -1 +1 @@\n-a\n+a\n");
    assert_eq!(shown("a\n", "a\r\n"), "@@ -1 +1 @@\n-a\n+a\n");
}

#[test]
fn a_long_line_is_shown_around_its_difference() {
    let line = |version: &str| format!("{}{version}{}", "é".repeat(1_000), "z".repeat(1_000));
    let found = diff(line("1.18").as_bytes(), line("1.20").as_bytes());
    let text = found.text.expect("the lines are comparable");
    assert!(found.is_cut);
    for (sign, version) in [("-", "1.18"), ("+", "1.20")] {
        let shown = text.lines().find(|line| line.starts_with(sign)).expect("the line is shown");
        assert!(shown.contains(version) && shown.starts_with(&format!("{sign}…é")), "{shown}");
        assert!(shown.ends_with("z…") && shown.len() <= MAX_LINE + 2 * ELLIPSIS.len_utf8() + 1, "{shown}");
    }
    assert!(!text.contains(char::REPLACEMENT_CHARACTER));
}

#[test]
fn bytes_that_are_no_text_are_shown_as_replacement_characters() {
    let text = diff(b"SSH\xff\n", b"SSH\xfe\n").text.expect("the lines are short");
    assert_eq!(text, "@@ -1 +1 @@\n-SSH\u{fffd}\n+SSH\u{fffd}\n");
}

#[test]
fn a_large_difference_is_only_counted() {
    let many = |start: usize, lines: usize| (start..start + lines).map(|n| format!("{n}\n")).collect::<String>();
    let context = "same\n".repeat(5_000);
    let with_context = |middle: &str| format!("{context}{middle}{context}").into_bytes();
    let found = diff(&with_context(&many(0, MAX_LINES + 1)), &with_context("x\n"));
    assert_eq!((found.text, found.is_cut), (None, true));
    assert_eq!((found.removed.lines, found.added), (MAX_LINES + 1, Size { lines: 1, bytes: 2 }));

    let found = diff(&with_context(&many(0, MAX_LINES)), &with_context(&many(5_000, MAX_LINES)));
    assert_eq!((found.removed.lines, found.added.lines), (MAX_LINES, MAX_LINES));
    assert!(found.text.is_some_and(|text| text.len() <= MAX_TEXT) && found.is_cut);

    let long = "x".repeat(MAX_SIDE_BYTES + 1);
    assert_eq!(diff(b"", long.as_bytes()).added, Size { lines: 1, bytes: MAX_SIDE_BYTES + 1 });
    assert_eq!(diff(b"", long.as_bytes()).text, None);
}

/// The most comparisons and hashes of two sides of [`MAX_LINES`].
const MAX_STEPS: u64 = 8_000_000;

#[test]
fn hostile_lines_take_a_bounded_number_of_steps() {
    let n = u32::try_from(MAX_LINES).expect("it is small");
    // From a small generator, so that a failure can be repeated.
    let noise = |seed: u32, kinds: u32| {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(*state >> 8)
        };
        let mut state = seed;
        std::iter::from_fn(move || next(&mut state)).map(|x| x % kinds).take(MAX_LINES).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..n).collect();
    let cases = [
        ("disjoint", all.clone(), (n..2 * n).collect()),
        ("reversed", all.clone(), all.iter().rev().copied().collect()),
        ("one kind and none of it", vec![0; MAX_LINES], all.iter().map(|x| x + 1).collect()),
        ("alternating, shifted", all.iter().map(|x| x % 2).collect(), all.iter().map(|x| (x / 2) % 2).collect()),
        ("two kinds at random", noise(1, 2), noise(2, 2)),
        ("ten kinds at random", noise(3, 10), noise(4, 10)),
        ("a thousand kinds at random", noise(5, 1_000), noise(6, 1_000)),
        ("every second line", all.clone(), all.iter().map(|x| if x % 2 == 0 { *x } else { x + n }).collect()),
    ];
    for (name, old, new) in cases {
        let taken = steps(&old, &new);
        assert!(taken <= MAX_STEPS, "{name}: {taken} steps");
    }
}

/// Applies the text of a diff without cuts, whose lines have line breaks.
fn patch(old: &str, text: &str) -> String {
    let (old, mut at, mut patched) = (old.lines().collect::<Vec<_>>(), 0, Vec::new());
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("@@ -") {
            let range = header.split(' ').next().expect("a header has ranges");
            let (start, count) = range.split_once(',').unwrap_or((range, "1"));
            let start: usize = start.parse().expect("a number");
            let before = if count == "0" { start } else { start - 1 };
            patched.extend(&old[at..before]);
            at = before;
        } else if let Some(removed) = line.strip_prefix('-') {
            assert_eq!(old[at], removed);
            at += 1;
        } else {
            patched.push(line.strip_prefix('+').expect("a line is added or removed"));
        }
    }
    patched.extend(&old[at..]);
    patched.iter().map(|line| format!("{line}\n")).collect()
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a\n", "b\n", "c\n", "-\n", "+x\n", "\n"]), 0..30)
        .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn the_old_text_with_its_diff_is_the_new_text(old in texts(), new in texts()) {
        prop_assert_eq!(patch(&old, &shown(&old, &new)), new);
    }

    #[test]
    fn the_facts_match_the_difference_of_the_sizes(old: Vec<u8>, new: Vec<u8>) {
        let found = diff(&old, &new);
        prop_assert_eq!(old.len() + found.added.bytes, new.len() + found.removed.bytes);
        let lines_of = |text: &[u8]| lines(text).count();
        prop_assert_eq!(lines_of(&old) + found.added.lines, lines_of(&new) + found.removed.lines);
        prop_assert_eq!(old == new, found.text.as_deref() == Some(""));
    }

    #[test]
    fn random_lines_take_a_bounded_number_of_steps(
        old in prop::collection::vec(0..8_u32, 0..300), new in prop::collection::vec(0..8_u32, 0..300),
    ) {
        let longest = old.len().max(new.len()).max(10) as u64;
        prop_assert!(steps(&old, &new) <= 8 * longest * longest + 1_000);
    }

    #[test]
    fn what_is_shown_is_bounded(old in hostile(), new in hostile()) {
        let Diff { text, .. } = diff(&old, &new);
        if let Some(text) = text {
            prop_assert!(text.len() <= MAX_TEXT);
            prop_assert!(text.lines().all(|line| line.len() <= 3 * MAX_LINE + 10));
        }
    }
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0..2_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}
