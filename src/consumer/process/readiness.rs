//! Why the instance is not ready. A stream that is opening, or open and silent, is well: on an idle subscription it
//! receives nothing at all.

use super::Process;
use ops::http::Unready;

impl Process {
    /// Returns why the instance is not ready; nothing when it is. Workers run only after the start checks, which obtained
    /// credentials and looked at the table, so that everything later is a condition.
    pub fn unready(&self) -> Vec<Unready> {
        let (running, workers) = (self.census.reading_workers(), self.settings.consumers.get());
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
