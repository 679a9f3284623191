//! The comparison of results with what was expected. Pure.

use std::fmt;

use indicatif::HumanCount;

/// The number of differences to show for each check.
const SHOWN: usize = 5;

/// The result of a comparison with the truth.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub expected: usize,
    pub right: usize,
    /// One line per difference.
    pub differences: Vec<String>,
}

impl Check {
    /// Collects the results of single comparisons.
    pub fn of(results: impl IntoIterator<Item = Result<(), String>>) -> Check {
        let (mut expected, mut differences) = (0, Vec::new());
        for result in results {
            expected += 1;
            differences.extend(result.err());
        }
        Check { expected, right: expected - differences.len(), differences }
    }

    /// Returns a check that nothing unexpected exists.
    pub fn nothing(unexpected: Vec<String>) -> Check {
        Check { expected: 0, right: 0, differences: unexpected }
    }

    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// Returns the first differences, and the number of further ones.
    pub fn shown(&self) -> (&[String], usize) {
        let shown = self.differences.len().min(SHOWN);
        (&self.differences[..shown], self.differences.len() - shown)
    }
}

/// The result of one check: "✓ 7 of 7 subject predicate", and the first differences.
#[derive(Debug)]
pub struct CheckReport<'a> {
    pub check: &'a Check,
    pub subject: &'a str,
    pub predicate: &'a str,
}

impl fmt::Display for CheckReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { check, subject, predicate } = self;
        let mark = if check.passed() { "✓" } else { "✗" };
        let [right, expected] = [check.right, check.expected].map(|count| HumanCount(count as u64));
        writeln!(f, "  {mark} {right} of {expected} {subject} {predicate}")?;
        let (differences, more) = check.shown();
        for difference in differences {
            writeln!(f, "      {difference}")?;
        }
        if more > 0 { writeln!(f, "      and {} more", HumanCount(more as u64)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_differences_are_shown() {
        let differences = (0..8).map(|n| format!("1.1.1.{n}#80#HTTP: no record")).collect();
        let check = Check { expected: 1_000, right: 992, differences };
        let text = CheckReport { check: &check, subject: "keys", predicate: "have their newest scan in the table" }
            .to_string();
        assert!(text.starts_with("  ✗ 992 of 1,000 keys have their newest scan in the table\n"), "{text}");
        assert_eq!(text.lines().count(), 7);
        assert!(text.ends_with("      and 3 more\n"), "{text}");
    }
}
