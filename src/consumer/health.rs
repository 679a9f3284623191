//! What is wrong at the moment, each thing said once when it begins and once when it is over; what comes and goes again
//! and again, every ten seconds at most.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::rate_limited_log::INTERVAL;

/// How soon after it may be said a condition is said that came too early for a line.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that makes this instance unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The stream of this worker cannot be read.
    Stream(usize),
    /// DynamoDB does not answer, or answers that table, credentials or permission are missing.
    Store,
    /// Every write is refused.
    Refusals,
    /// Dead letters cannot be published.
    DeadLetters,
}

impl Condition {
    /// The streams, which fail together, are one.
    fn kind(self) -> usize {
        match self {
            Condition::Stream(_) => 0,
            Condition::Store => 1,
            Condition::Refusals => 2,
            Condition::DeadLetters => 3,
        }
    }
}

const KINDS: usize = 4;

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Stream(worker) => write!(f, "stream {worker}"),
            Condition::Store => f.write_str("DynamoDB"),
            Condition::Refusals => f.write_str("the table"),
            Condition::DeadLetters => f.write_str("the dead-letter topic"),
        }
    }
}

/// Of the streams, which fail together, only the first that is unwell is said, and the last that is well again.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    present: BTreeMap<Condition, Fault>,
    lines: [Line; KINDS],
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// As the log calls it, `error.type`.
    pub(super) error: &'static str,
    /// For a person, with what to do.
    pub(super) detail: String,
}

/// The log lines about one kind of condition.
#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    /// Whether the condition that is there was said, so that its end is to be said as well.
    is_logged: bool,
    /// How often it came and was not said.
    suppressed: u64,
}

impl Health {
    /// Notes a condition; logs it if it was not there.
    pub fn raise(&self, condition: Condition, error: &'static str, detail: &str) {
        self.follow(condition, Some(Fault { error, detail: detail.to_owned() }), || true);
    }

    /// Notes that a condition is over; logs it if it was there.
    pub fn clear(&self, condition: Condition) {
        self.follow(condition, None, || false);
    }

    /// Notes or clears a condition by what is so at this moment; without a fault what was noted stays. Asked under the
    /// lock: of two threads that each changed it and come here in the other order, the second sees what is so in the end.
    pub(super) fn follow(&self, condition: Condition, fault: Option<Fault>, is_so: impl FnOnce() -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (is_so(), fault) {
            (true, Some(fault)) => state.note(condition, fault),
            (true, None) => {}
            (false, _) => state.forget(condition),
        }
    }

    /// Notes and logs that a condition that is there has another cause by now.
    pub(super) fn change(&self, condition: Condition, fault: Fault) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = state.present.get_mut(&condition) {
            let Fault { error, detail } = &fault;
            error!(condition = %condition, error.type = error, "still not ready: {condition}: {detail}");
            *noted = fault;
            state.lines[condition.kind()].is_logged = true;
        }
    }

    /// Says what came too early after another line and is still there, until it is dropped.
    pub async fn log_delayed(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for kind in 0..KINDS {
                state.say(kind);
            }
        }
    }

    /// What is wrong now; ready when nothing is.
    pub fn conditions(&self) -> Vec<(Condition, String)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.present.iter().map(|(condition, fault)| (*condition, fault.detail.clone())).collect()
    }
}

impl State {
    fn first(&self, kind: usize) -> Option<(Condition, &Fault)> {
        self.present.iter().find(|(other, _)| other.kind() == kind).map(|(condition, fault)| (*condition, fault))
    }

    fn note(&mut self, condition: Condition, fault: Fault) {
        let kind = condition.kind();
        let is_new = self.first(kind).is_none();
        self.present.insert(condition, fault);
        if !self.say(kind) && is_new {
            self.lines[kind].suppressed += 1;
        }
    }

    fn forget(&mut self, condition: Condition) {
        let kind = condition.kind();
        if self.present.remove(&condition).is_none() || self.first(kind).is_some() {
            return;
        }
        if std::mem::take(&mut self.lines[kind].is_logged) {
            info!(condition = %condition, "well again: {condition}");
        }
    }

    /// Says what of this kind is there, unless it was, or another one just now; whether it did.
    fn say(&mut self, kind: usize) -> bool {
        let Line { last, is_logged, suppressed } = &self.lines[kind];
        let Some((condition, Fault { error, detail })) = self.first(kind) else { return false };
        if *is_logged || last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return false;
        }
        error!(condition = %condition, error.type = error, suppressed, "not ready: {condition}: {detail}");
        self.lines[kind] = Line { last: Some(Instant::now()), is_logged: true, suppressed: 0 };
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

    /// The lines of each level, and what they say was not said.
    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<[AtomicUsize; 3]>);

    impl Lines {
        /// Lines that it is not ready, that it is well again, and how many of the first were not said.
        fn so_far(&self) -> [usize; 3] {
            [0, 1, 2].map(|index: usize| self.0[index].load(Ordering::Relaxed))
        }
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let index = usize::from(*event.metadata().level() != Level::ERROR);
            self.0[index].fetch_add(1, Ordering::Relaxed);
            event.record(&mut &*self);
        }
    }

    impl Visit for &Lines {
        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "suppressed" {
                self.0[2].fetch_add(usize::try_from(value).unwrap(), Ordering::Relaxed);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_stays_until_it_is_cleared() {
        let health = Health::default();
        health.raise(Condition::Store, "Unavailable", "away");
        health.raise(Condition::Store, "Unavailable", "still away");
        assert_eq!(health.conditions(), [(Condition::Store, "still away".to_owned())]);
        health.clear(Condition::Store);
        assert!(health.conditions().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn each_stream_has_a_condition_of_its_own_and_all_of_them_one_line() {
        let (health, lines) = (Health::default(), Lines::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        health.raise(Condition::Stream(0), "failed", "away");
        health.raise(Condition::Stream(1), "failed", "away");
        health.clear(Condition::Stream(0));
        assert_eq!(health.conditions(), [(Condition::Stream(1), "away".to_owned())]);
        assert_eq!(lines.so_far(), [1, 0, 0]);
        health.clear(Condition::Stream(1));
        assert_eq!(lines.so_far(), [1, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_that_it_is_over_leaves_what_was_noted_where_it_is_not() {
        let health = Health::default();
        health.raise(Condition::Store, "Unavailable", "away");
        health.follow(Condition::Store, None, || true);
        assert_eq!(health.conditions(), [(Condition::Store, "away".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_for_an_hour_is_said_every_ten_seconds_with_the_count_of_the_others() {
        let (health, lines) = (Health::default(), Lines::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        for _ in 0..3600 * 4 {
            health.raise(Condition::Store, "Unavailable", "away");
            health.clear(Condition::Store);
            advance(Duration::from_millis(250)).await;
        }
        // The last 39 have no line after them.
        assert_eq!(lines.so_far(), [360, 360, 3600 * 4 - 360 - 39]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_again_too_early_and_stays_is_said_later() {
        let (health, lines) = (Health::default(), Lines::default());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        health.raise(Condition::Store, "Unavailable", "away");
        health.clear(Condition::Store);
        health.raise(Condition::Store, "Credentials", "expired");
        assert_eq!(lines.so_far(), [1, 1, 0]);
        let late = async {
            sleep(INTERVAL + LOOK_EVERY).await;
            assert_eq!(lines.so_far(), [2, 1, 1]);
            health.clear(Condition::Store);
            assert_eq!(lines.so_far(), [2, 2, 1]);
        };
        tokio::select! {
            () = health.log_delayed() => {}
            () = late => {}
        }
    }
}
