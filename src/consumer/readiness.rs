//! Whether this instance does its work: what stands on `/readyz`. A stream that is opening, or open and silent, is well:
//! an idle subscription answers nothing at all.

use super::process::Process;

/// One reason why the instance is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// What it is about, as the log names it.
    pub condition: String,
    /// What is wrong, and what a person can do.
    pub detail: String,
}

impl Process {
    /// Why the instance is not ready; nothing when it is. Workers run only after the start checks, which obtained the
    /// credentials and looked at the table, so that what comes later is a condition.
    pub fn unready(&self) -> Vec<Unready> {
        let (running, workers) = (self.metrics.reading_workers(), self.settings.consumers.get());
        let phase = if self.drain.is_requested() {
            Some(("stopping", "what is in hand is finished, and nothing more is read".to_owned()))
        } else if running < workers {
            Some(("starting", format!("{running} of {workers} workers read")))
        } else {
            None
        };
        let phase = phase.map(|(condition, detail)| (condition.to_owned(), detail));
        let conditions = self.health.conditions();
        let conditions = conditions.into_iter().map(|(condition, detail)| (condition.to_string(), detail));
        phase.into_iter().chain(conditions).map(|(condition, detail)| Unready { condition, detail }).collect()
    }
}
