//! What a command that checks a set-up reports: one line, or one JSON object, for each thing that it checked.

use std::fmt;

use serde_json::json;

use crate::console::{Console, Outcome, ToolError};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    pub name: String,
    pub result: Checked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    Ok,
    /// It cannot be asked for without a change; its first use shows whether it is right.
    Unknown(String),
    /// The program runs with it, and should not.
    Warning(String),
    /// The program does not work with it.
    Failed(String),
}

impl Finding {
    pub fn new(what: &'static str, name: &str, result: Checked) -> Finding {
        Finding { what, name: name.to_owned(), result }
    }

    fn word(&self) -> &'static str {
        match self.result {
            Checked::Ok => "ok",
            Checked::Unknown(_) => "unknown",
            Checked::Warning(_) => "warning",
            Checked::Failed(_) => "failed",
        }
    }

    /// Returns why it is not ok, on one line.
    fn detail(&self) -> Option<String> {
        match &self.result {
            Checked::Ok => None,
            Checked::Unknown(detail) | Checked::Warning(detail) | Checked::Failed(detail) => {
                let sentences: Vec<_> = detail.lines().map(|line| line.trim_end_matches('.')).collect();
                Some(sentences.join(". "))
            }
        }
    }

    fn json(&self) -> String {
        json!({ "check": self.what, "name": self.name, "result": self.word(), "detail": self.detail() }).to_string()
    }
}

/// One line: result, what was checked, and its name or what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { what, name, .. } = self;
        write!(f, "{:<7}  {what:<10}  {name}", self.word())?;
        self.detail().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Prints every finding. A check that failed is a failure of the command.
pub fn report(findings: &[Finding], json: bool, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    for finding in findings {
        let line = if json { finding.json() } else { finding.to_string() };
        console.print(format!("{line}\n"))?;
    }
    let has_failed = findings.iter().any(|finding| matches!(finding.result, Checked::Failed(_)));
    Ok(if has_failed { Outcome::Failed } else { Outcome::Done })
}
