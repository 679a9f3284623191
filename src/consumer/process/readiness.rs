//! Why the instance is not ready. A stream that is opening, or open and silent, counts as healthy: on an idle subscription
//! nothing arrives at all.

use super::Process;
use ops::http::Unready;

impl Process {
    /// Returns the reasons why the instance is not ready; none when it is ready. Workers start after the start checks, which
    /// verified credentials and the table. Later problems are conditions of `health`.
    pub fn unready(&self) -> Vec<Unready> {
        let (running, workers) = (self.census.reading_workers(), self.settings.consumers.get());
        let phase = if self.drain.is_requested() {
            Some(("stopping", "messages in progress are finished, and no more are read".to_owned()))
        } else if running < workers {
            Some(("starting", format!("{running} of {workers} workers run")))
        } else {
            None
        };
        let phase = phase.map(|(condition, detail)| (condition.to_owned(), detail));
        let conditions = self.health.conditions();
        let conditions = conditions.into_iter().map(|(condition, detail)| (condition.to_string(), detail));
        phase.into_iter().chain(conditions).map(|(condition, detail)| Unready { condition, detail }).collect()
    }
}
