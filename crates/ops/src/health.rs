//! The conditions that make an instance unready. Each is logged once when it begins and once when it is over; a condition
//! that comes and goes is logged at most once in ten seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::rate_limited_log::INTERVAL;

/// How often to look for conditions whose log message was delayed.
const DELAYED_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Something that makes this instance unready. Its text names it in the logs and on `/readyz`.
pub trait Condition: Copy + Ord + fmt::Display {
    /// Returns a number shared by the conditions that usually begin and end together. Of these only the first to begin and
    /// the last to end are logged.
    fn kind(self) -> usize;
}

/// Why a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The log field `error.type`.
    pub error: &'static str,
    /// What is wrong and what to do, for a person.
    pub detail: String,
}

#[derive(Debug)]
pub struct Health<C> {
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    present: BTreeMap<C, Fault>,
    /// By kind.
    logs: BTreeMap<usize, Log>,
}

/// The log messages about one kind of condition.
#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    /// Whether the present condition was logged, so that its end is logged as well.
    is_logged: bool,
    /// How many conditions began without a log message.
    suppressed: u64,
}

impl<C> Default for Health<C> {
    fn default() -> Health<C> {
        Health { state: Mutex::new(State { present: BTreeMap::new(), logs: BTreeMap::new() }) }
    }
}

impl<C: Condition> Health<C> {
    /// Records a condition, and logs it if it is new.
    pub fn raise(&self, condition: C, error: &'static str, detail: &str) {
        self.update(condition, Some(Fault { error, detail: detail.to_owned() }), || true);
    }

    /// Records that a condition is over, and logs that if it was present.
    pub fn clear(&self, condition: C) {
        self.update(condition, None, || false);
    }

    /// Records or clears a condition by what `holds` returns; without a fault a present condition stays as it is.
    ///
    /// `holds` is called under the lock. When two threads change the state behind it and arrive here in the other order,
    /// the second still sees the final state.
    pub fn update(&self, condition: C, fault: Option<Fault>, holds: impl FnOnce() -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (holds(), fault) {
            (true, Some(fault)) => state.insert(condition, fault),
            (true, None) => {}
            (false, _) => state.remove(condition),
        }
    }

    /// Ends a condition after no attempt has failed for this time, unless it still `holds`. Logs that in its own words, because
    /// it does not prove a recovery.
    pub fn expire(&self, condition: C, after: Duration, holds: impl FnOnce() -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !holds() && state.end(condition) {
            let seconds = after.as_secs();
            info!(
                condition = %condition,
                "unhealthy state expired: {condition}: no attempt has failed for {seconds} s, and the next one decides"
            );
        }
    }

    /// Records and logs another cause of a present condition.
    pub fn change(&self, condition: C, fault: Fault) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = state.present.get_mut(&condition) {
            let Fault { error, detail } = &fault;
            error!(condition = %condition, error.type = error, "still unhealthy: {condition}: {detail}");
            *present = fault;
            state.logs.entry(condition.kind()).or_default().is_logged = true;
        }
    }

    /// Logs the conditions that began too soon after another log message and are still present. Runs until it is dropped.
    pub async fn log_delayed(&self) {
        loop {
            sleep(DELAYED_LOG_INTERVAL).await;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let kinds: Vec<_> = state.logs.keys().copied().collect();
            for kind in kinds {
                state.log(kind);
            }
        }
    }

    /// Returns the present conditions with their details. The instance is ready when there are none.
    pub fn conditions(&self) -> Vec<(C, String)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.present.iter().map(|(condition, fault)| (*condition, fault.detail.clone())).collect()
    }
}

impl<C: Condition> State<C> {
    fn first(&self, kind: usize) -> Option<(C, &Fault)> {
        self.present.iter().find(|(other, _)| other.kind() == kind).map(|(condition, fault)| (*condition, fault))
    }

    fn insert(&mut self, condition: C, fault: Fault) {
        let kind = condition.kind();
        let is_new = self.first(kind).is_none();
        self.present.insert(condition, fault);
        if !self.log(kind) && is_new {
            self.logs.entry(kind).or_default().suppressed += 1;
        }
    }

    fn remove(&mut self, condition: C) {
        if self.end(condition) {
            info!(condition = %condition, "recovered: {condition}");
        }
    }

    /// Removes a condition. Returns whether its end is to be logged.
    fn end(&mut self, condition: C) -> bool {
        let kind = condition.kind();
        let was_last = self.present.remove(&condition).is_some() && self.first(kind).is_none();
        was_last && std::mem::take(&mut self.logs.entry(kind).or_default().is_logged)
    }

    /// Logs the first present condition of this kind, unless it was logged already or another one was logged just now.
    /// Returns whether it did.
    fn log(&mut self, kind: usize) -> bool {
        let Log { last, is_logged, suppressed } = self.logs.entry(kind).or_default();
        let is_due = !*is_logged && last.is_none_or(|last| last.elapsed() >= INTERVAL);
        let suppressed = *suppressed;
        let Some((condition, Fault { error, detail })) = self.first(kind).filter(|_| is_due) else { return false };
        error!(condition = %condition, error.type = error, suppressed, "unhealthy: {condition}: {detail}");
        self.logs.insert(kind, Log { last: Some(Instant::now()), is_logged: true, suppressed: 0 });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Part {
        Stream(usize),
        Store,
    }

    impl Condition for Part {
        fn kind(self) -> usize {
            match self {
                Part::Stream(_) => 0,
                Part::Store => 1,
            }
        }
    }

    impl fmt::Display for Part {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    /// Counts "unhealthy" messages, messages about an end, and the sum of `suppressed`. Keeps the first messages.
    #[derive(Debug, Clone, Default)]
    struct Logged(Arc<[AtomicUsize; 3]>, Arc<Mutex<Vec<String>>>);

    impl Logged {
        fn counts(&self) -> [usize; 3] {
            [0, 1, 2].map(|index: usize| self.0[index].load(Ordering::Relaxed))
        }
    }

    impl<S: Subscriber> Layer<S> for Logged {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let index = usize::from(*event.metadata().level() != Level::ERROR);
            self.0[index].fetch_add(1, Ordering::Relaxed);
            event.record(&mut &*self);
        }
    }

    impl Visit for &Logged {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            let mut texts = self.1.lock().unwrap();
            if field.name() == "message" && texts.len() < 10 {
                texts.push(format!("{value:?}"));
            }
        }

        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "suppressed" {
                self.0[2].fetch_add(usize::try_from(value).unwrap(), Ordering::Relaxed);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_is_present_until_it_is_cleared() {
        let health = Health::default();
        health.raise(Part::Store, "Unavailable", "away");
        health.raise(Part::Store, "Unavailable", "still away");
        assert_eq!(health.conditions(), [(Part::Store, "still away".to_owned())]);
        health.clear(Part::Store);
        assert!(health.conditions().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn conditions_of_one_kind_are_logged_once_together() {
        let (health, logged) = (Health::default(), Logged::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        health.raise(Part::Stream(0), "failed", "away");
        health.raise(Part::Stream(1), "failed", "away");
        health.clear(Part::Stream(0));
        assert_eq!(health.conditions(), [(Part::Stream(1), "away".to_owned())]);
        assert_eq!(logged.counts(), [1, 0, 0]);
        health.clear(Part::Stream(1));
        assert_eq!(logged.counts(), [1, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_without_a_fault_keeps_a_condition_that_still_holds() {
        let health = Health::default();
        health.raise(Part::Store, "Unavailable", "away");
        health.update(Part::Store, None, || true);
        assert_eq!(health.conditions(), [(Part::Store, "away".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_condition_is_not_logged_as_recovered() {
        let (health, logged) = (Health::default(), Logged::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        health.raise(Part::Store, "Unavailable", "away");
        health.expire(Part::Store, Duration::from_secs(60), || true);
        assert_eq!(health.conditions(), [(Part::Store, "away".to_owned())]);
        health.expire(Part::Store, Duration::from_secs(60), || false);
        assert!(health.conditions().is_empty());
        health.expire(Part::Store, Duration::from_secs(60), || false);
        assert_eq!(logged.counts(), [1, 1, 0]);
        let texts = logged.1.lock().unwrap().clone();
        assert!(texts[1].contains("expired") && !texts[1].contains("recovered"), "{texts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_and_goes_for_an_hour_is_logged_every_ten_seconds() {
        let (health, logged) = (Health::default(), Logged::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        for _ in 0..3600 * 4 {
            health.raise(Part::Store, "Unavailable", "away");
            health.clear(Part::Store);
            advance(Duration::from_millis(250)).await;
        }
        // No message follows the last 39, so nothing reports them as suppressed.
        assert_eq!(logged.counts(), [360, 360, 3600 * 4 - 360 - 39]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_returns_too_early_and_stays_is_logged_later() {
        let (health, logged) = (Health::default(), Logged::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        health.raise(Part::Store, "Unavailable", "away");
        health.clear(Part::Store);
        health.raise(Part::Store, "Credentials", "expired");
        assert_eq!(logged.counts(), [1, 1, 0]);
        let later = async {
            sleep(INTERVAL + DELAYED_LOG_INTERVAL).await;
            assert_eq!(logged.counts(), [2, 1, 1]);
            health.clear(Part::Store);
            assert_eq!(logged.counts(), [2, 2, 1]);
        };
        tokio::select! {
            () = health.log_delayed() => {}
            () = later => {}
        }
    }
}
