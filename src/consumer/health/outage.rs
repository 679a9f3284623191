//! What is said of a store that cannot be written: what is wrong, what a person can do, and when it is said again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use ops::RateLimitedLog;
use tracing::warn;

use crate::consumer::policy::{Policy, policy};
use crate::consumer::ports::{StoreError, StoreErrorKind};

#[derive(Debug)]
pub(crate) struct Outage {
    table: String,
    /// As many errors in a row are an outage.
    threshold: u32,
    /// The kind of error that the latest outage was said to be.
    said: Mutex<Option<StoreErrorKind>>,
    changes: RateLimitedLog,
    /// Errors for a person to mend among writes that are answered.
    unfixed: AtomicU32,
    unfixed_log: RateLimitedLog,
}

impl Outage {
    pub(crate) fn new(table: String, threshold: u32) -> Outage {
        Outage {
            table,
            threshold,
            said: Mutex::default(),
            changes: RateLimitedLog::default(),
            unfixed: AtomicU32::new(0),
            unfixed_log: RateLimitedLog::default(),
        }
    }

    /// What is to be said when this error closes the gate.
    pub(crate) fn begins(&self, error: &StoreError) -> String {
        self.unfixed.store(0, Ordering::Relaxed);
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.kind);
        self.text(error)
    }

    /// What is to be said when a probe fails: something only where the cause is another by now, so that nobody looks
    /// for a server that is back while the credentials have expired.
    pub(crate) fn goes_on(&self, error: &StoreError) -> Option<String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == Some(error.kind) || self.changes.due().is_none() {
            return None;
        }
        *said = Some(error.kind);
        Some(self.text(error))
    }

    /// The gate is open: says what a person must mend though other writes are answered, a permission that some keys
    /// lack, an answer that is not known. As many as make an outage come first, for an outage is said once and by itself.
    pub(crate) fn single(&self, error: &StoreError) {
        if policy(error.kind) != Policy::NeedsFix || self.unfixed.fetch_add(1, Ordering::Relaxed) < self.threshold {
            return;
        }
        if let Some(suppressed) = self.unfixed_log.due() {
            let table = &self.table;
            let step = next_step(error.kind, table).unwrap_or_default();
            warn!(error.type = error.kind.name(), suppressed, "some writes to {table} fail and are tried again: {error}. {step}");
        }
    }

    fn text(&self, error: &StoreError) -> String {
        let table = &self.table;
        let what =
            format!("table {table} (--table) cannot be written: {error}. Nothing is lost, it is tried once a second");
        match next_step(error.kind, table) {
            Some(step) => format!("{what}. {step}"),
            None => what,
        }
    }
}

/// What a person can do about an error of the store, where the error alone does not say it.
fn next_step(kind: StoreErrorKind, table: &str) -> Option<String> {
    let step = match kind {
        StoreErrorKind::OpenFiles => {
            "Raise this process's limit of open files (`ulimit -n`), or lower --max-outstanding and --consumers".to_owned()
        }
        StoreErrorKind::Credentials => "Renew the credentials (`aws sso login`, or the role of this machine): they are asked \
             for again at each attempt. Keys that stand in the environment or in a profile are read at start: change them \
             and restart"
            .to_owned(),
        StoreErrorKind::Clock => "Set this machine's clock".to_owned(),
        StoreErrorKind::Permission => "Grant dynamodb:PutItem on it to this identity (with --write-mode batch also \
             PartiQLUpdate and PartiQLInsert), and where a customer's KMS key encrypts it, the use of that key"
            .to_owned(),
        StoreErrorKind::MissingTable => {
            format!("Create it: mini-scan setup table --table {table}; or correct --table or AWS_REGION and restart")
        }
        StoreErrorKind::Misconfigured => format!(
            "Compare region, endpoint and proxy with what `aws dynamodb describe-table --table-name {table}` uses; \
             docs/errors.md lists the answers that are known"
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
    async fn an_outage_whose_cause_becomes_another_is_said_again() {
        let outage = Outage::new("scans".to_owned(), 8);
        let first = outage.begins(&error(StoreErrorKind::Unavailable));
        assert!(first.contains("scans") && first.contains("why"), "{first}");

        assert_eq!(outage.goes_on(&error(StoreErrorKind::Unavailable)), None);
        let second = outage.goes_on(&error(StoreErrorKind::Credentials));
        assert!(second.is_some_and(|text| text.contains("Renew the credentials")));
        assert_eq!(outage.goes_on(&error(StoreErrorKind::Credentials)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn causes_that_take_turns_are_said_every_ten_seconds_at_most() {
        let outage = Outage::new("scans".to_owned(), 8);
        outage.begins(&error(StoreErrorKind::Unavailable));
        let mut said = 0;
        for second in 0..60 {
            let kind = if second % 2 == 0 { StoreErrorKind::Clock } else { StoreErrorKind::Unavailable };
            said += usize::from(outage.goes_on(&error(kind)).is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((1..=6).contains(&said), "{said}");
    }

    #[test]
    fn whatever_a_person_must_mend_has_a_next_step() {
        use StoreErrorKind::{Clock, Credentials, Misconfigured, MissingTable, OpenFiles, Permission};
        for kind in [Clock, Credentials, MissingTable, Misconfigured, OpenFiles, Permission] {
            assert_eq!(policy(kind), Policy::NeedsFix);
            assert!(next_step(kind, "scans").is_some(), "{kind:?}");
        }
    }
}
