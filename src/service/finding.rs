//! The result of one check, for people and for programs.

use std::fmt;

use serde_json::json;

use super::SetupError;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is, e.g. `subscription`.
    pub what: &'static str,
    /// Which one, e.g. its full name.
    pub name: String,
    pub result: CheckResult,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    Ok,
    /// It could not be checked; its first use shows whether it is right.
    Unknown(String),
    /// Only other programs than the consumer need it.
    Note(String),
    /// The consumer runs with it, and should not.
    Warning(String),
    /// The consumer does not start with it.
    Failed(SetupError),
}

impl Finding {
    pub(super) fn new(what: &'static str, name: impl Into<String>, result: CheckResult) -> Finding {
        Finding { what, name: name.into(), result }
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.result, CheckResult::Failed(_))
    }

    /// Returns the finding as one JSON object.
    pub fn json(&self) -> String {
        let Finding { what, name, .. } = self;
        json!({"check": what, "name": name, "result": self.word(), "detail": self.detail()}).to_string()
    }

    fn word(&self) -> &'static str {
        match self.result {
            CheckResult::Ok => "ok",
            CheckResult::Unknown(_) => "unknown",
            CheckResult::Note(_) => "note",
            CheckResult::Warning(_) => "warning",
            CheckResult::Failed(_) => "failed",
        }
    }

    /// Returns why it is not ok, on one line.
    fn detail(&self) -> Option<String> {
        match &self.result {
            CheckResult::Ok => None,
            CheckResult::Unknown(detail) | CheckResult::Note(detail) | CheckResult::Warning(detail) => {
                Some(detail.clone())
            }
            CheckResult::Failed(error) => {
                let sentences: Vec<_> = error.0.lines().map(|line| line.trim_end_matches('.')).collect();
                Some(sentences.join(". "))
            }
        }
    }
}

/// One line: result, what was checked, and its name or what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { what, name, .. } = self;
        write!(f, "{:<7}  {what:<24}  ", self.word())?;
        match (&self.result, self.detail()) {
            // The text of an error names the thing, usually at its start.
            (CheckResult::Failed(_), Some(detail)) => f.write_str(detail.strip_prefix(what).unwrap_or(&detail).trim()),
            (_, Some(detail)) => write!(f, "{name}: {detail}"),
            (_, None) => f.write_str(name),
        }
    }
}
