//! The log messages about a store that cannot be written: the cause, the next step for a person, and when to repeat them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use ops::RateLimitedLog;
use tracing::warn;

use crate::consumer::policy::{Policy, policy};
use crate::consumer::ports::{StoreError, StoreErrorKind};

#[derive(Debug)]
pub(crate) struct Outage {
    table: String,
    /// The number of consecutive errors that are an outage.
    threshold: u32,
    /// The kind of error that was last logged as the cause of the outage.
    logged: Mutex<Option<StoreErrorKind>>,
    changes: RateLimitedLog,
    /// The number of errors that a person must fix, while other writes are answered.
    unfixed: AtomicU32,
    unfixed_log: RateLimitedLog,
}

impl Outage {
    pub(crate) fn new(table: String, threshold: u32) -> Outage {
        Outage {
            table,
            threshold,
            logged: Mutex::default(),
            changes: RateLimitedLog::default(),
            unfixed: AtomicU32::new(0),
            unfixed_log: RateLimitedLog::default(),
        }
    }

    /// Returns the message about an error that opened the circuit breaker.
    pub(crate) fn begin(&self, error: &StoreError) -> String {
        self.unfixed.store(0, Ordering::Relaxed);
        *self.logged.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.kind);
        self.text(error)
    }

    /// Returns the message about a failed probe, if the cause is another one now. Otherwise a person might look for a server
    /// that has recovered while the credentials have expired.
    pub(crate) fn probe_failed(&self, error: &StoreError) -> Option<String> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged == Some(error.kind) || self.changes.due().is_none() {
            return None;
        }
        *logged = Some(error.kind);
        Some(self.text(error))
    }

    /// Logs an error that a person must fix although other writes are answered, e.g. a permission that some keys lack. Skips
    /// the first errors, up to the threshold: if they are the beginning of an outage, that is logged instead.
    pub(crate) fn single_failure(&self, error: &StoreError) {
        if policy(error.kind) != Policy::NeedsFix || self.unfixed.fetch_add(1, Ordering::Relaxed) < self.threshold {
            return;
        }
        if let Some(suppressed) = self.unfixed_log.due() {
            let table = &self.table;
            let step = next_step(error.kind, table).unwrap_or_default();
            warn!(
                table,
                error.type = error.kind.name(),
                %error,
                next_step = step,
                suppressed,
                "some writes fail and are retried"
            );
        }
    }

    fn text(&self, error: &StoreError) -> String {
        let table = &self.table;
        let what = format!(
            "table {table} (--table) cannot be written: {error}. Nothing is lost; one write per second is tried"
        );
        match next_step(error.kind, table) {
            Some(step) => format!("{what}. {step}"),
            None => what,
        }
    }
}

/// Returns what a person can do about an error, unless the error itself says it.
fn next_step(kind: StoreErrorKind, table: &str) -> Option<String> {
    let step = match kind {
        StoreErrorKind::OpenFiles => {
            "Raise this process's limit of open files (`ulimit -n`), or lower --max-outstanding and --consumers"
                .to_owned()
        }
        StoreErrorKind::Credentials => {
            "Renew the credentials (`aws sso login`, or the role of this machine). Each attempt \
             loads them again, except access keys from the environment or a profile: after changing those, restart"
                .to_owned()
        }
        StoreErrorKind::Clock => "Set this machine's clock".to_owned(),
        StoreErrorKind::Permission => {
            "Grant dynamodb:PutItem on the table to this identity (with --write-mode batch also \
             PartiQLUpdate and PartiQLInsert), and the use of the KMS key if the table is encrypted with your own key"
                .to_owned()
        }
        StoreErrorKind::MissingTable => {
            format!("Create it: mini-scan setup table --table {table}. Or correct --table or AWS_REGION, and restart")
        }
        StoreErrorKind::Misconfigured => format!(
            "Compare region, endpoint and proxy with those of `aws dynamodb describe-table --table-name {table}`. \
             docs/errors.md lists the known answers"
        ),
        StoreErrorKind::Unavailable
        | StoreErrorKind::Throttled
        | StoreErrorKind::HotKey
        | StoreErrorKind::Conflict
        | StoreErrorKind::Refused
        | StoreErrorKind::ForeignRow => return None,
    };
    Some(step)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn logs_an_outage_again_when_its_cause_changes() {
        let outage = Outage::new("scans".to_owned(), 8);
        let first = outage.begin(&error(StoreErrorKind::Unavailable));
        assert!(first.contains("scans") && first.contains("why"), "{first}");

        assert_eq!(outage.probe_failed(&error(StoreErrorKind::Unavailable)), None);
        let second = outage.probe_failed(&error(StoreErrorKind::Credentials));
        assert!(second.is_some_and(|text| text.contains("Renew the credentials")));
        assert_eq!(outage.probe_failed(&error(StoreErrorKind::Credentials)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn logs_alternating_causes_at_most_every_ten_seconds() {
        let outage = Outage::new("scans".to_owned(), 8);
        outage.begin(&error(StoreErrorKind::Unavailable));
        let mut messages = 0;
        for second in 0..60 {
            let kind = if second % 2 == 0 { StoreErrorKind::Clock } else { StoreErrorKind::Unavailable };
            messages += usize::from(outage.probe_failed(&error(kind)).is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((1..=6).contains(&messages), "{messages}");
    }

    #[test]
    fn every_error_that_a_person_must_fix_has_a_next_step() {
        use StoreErrorKind::{Clock, Credentials, Misconfigured, MissingTable, OpenFiles, Permission};
        for kind in [Clock, Credentials, MissingTable, Misconfigured, OpenFiles, Permission] {
            assert_eq!(policy(kind), Policy::NeedsFix);
            assert!(next_step(kind, "scans").is_some(), "{kind:?}");
        }
    }
}
