//! Parses `docs/errors.md`: each row, and the policy of its section.

use mini_scan::consumer::policy::Policy;

const PAGE: &str = include_str!("../../../docs/errors.md");

/// The meaning of the section of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Success,
    Error(Policy),
}

/// One row: a class of errors.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) section: Section,
    pub(super) class: &'static str,
    pub(super) seen: &'static str,
    pub(super) error_type: &'static str,
}

/// Returns every row of the page. Panics if a row is outside of a section or does not have five non-empty cells.
pub(super) fn rows() -> Vec<Row> {
    let mut section = None;
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = Some(section_of(heading));
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let cells: Vec<_> = cells.split(" | ").map(str::trim).collect();
        let [class, seen, error_type, why, what_to_do] = cells[..] else { panic!("not five cells: {line}") };
        if class == "Class" {
            continue;
        }
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        assert!(why != "As above" || !rows.is_empty(), "no row above: {line} {what_to_do}");
        rows.push(Row { section: section.expect("a row is in a section"), class, seen, error_type });
    }
    rows
}

fn section_of(heading: &str) -> Section {
    Section::Error(match heading {
        "Success" => return Section::Success,
        "Retry, then gate" => Policy::Retry,
        "Slow down" => Policy::SlowDown,
        "Delay the key" => Policy::DelayKey,
        "Unready, and keep trying" => Policy::NeedsFix,
        "Hold until it shows whose fault it is" => Policy::Park,
        "Dead letter" => Policy::DeadLetter,
        heading => panic!("a section without a policy: {heading}"),
    })
}

impl Row {
    /// Returns the HTTP statuses that the row names, which are its three-digit numbers.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let words = self.seen.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| word.len() == 3).filter_map(|word| word.parse().ok()).collect()
    }

    /// Returns the codes that the row names.
    pub(super) fn codes(&self) -> Vec<&'static str> {
        quoted(self.seen.split(" with ").next().unwrap_or_default().split(" that ").next().unwrap_or_default())
    }

    /// Returns the throttling reasons that the row names.
    pub(super) fn reasons(&self) -> Vec<&'static str> {
        self.seen.split_once(" with reason ").map_or_else(Vec::new, |(_, reasons)| quoted(reasons))
    }

    /// Returns the texts of the message that the row names.
    pub(super) fn messages(&self) -> Vec<&'static str> {
        self.seen.split_once(" that says ").map_or_else(Vec::new, |(_, texts)| quoted(texts))
    }
}

fn quoted(text: &'static str) -> Vec<&'static str> {
    text.split('`').skip(1).step_by(2).collect()
}
