//! The consumer on both clouds: from settings to running threads, with the checks before them. Besides `main` and the demo,
//! the only module that knows both `pubsub` and `dynamo`.

mod changes;
mod changes_checks;
mod checks;
mod endpoints;
mod finding;
mod readers;
pub mod setup;
mod setup_error;
mod side_tables;
mod subscription;
mod threads;
mod webhooks;
mod webhooks_checks;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::consumer::Process;
use crate::consumer::ports::Observer;
use crate::consumer::settings::{Settings, WriteMode, write_limit};

pub use changes::{ChangesConfig, ChangesObservers, ChangesReader, ReadFrom, connect_changes};
pub(crate) use changes::{claim_history, leases_prefix};
pub use changes_checks::{ChangesTables, check_all_changes, check_changes};
pub(crate) use checks::within;
pub use checks::{check, check_all};
pub use endpoints::Endpoints;
pub use finding::{CheckResult, Finding};
pub use readers::{Webhooks, connect_history, connect_hosts, connect_webhooks};
pub use setup_error::SetupError;
pub(crate) use setup_error::{history_table as history_table_error, pubsub_advice, table as table_error};
pub use threads::{Failure, Running};
pub use webhooks::{WebhooksConfig, sender_settings};
pub use webhooks_checks::{WebhooksTables, check_all_webhooks, check_webhooks};

/// The settings of a consumer and the names of what it uses. The flags that fill it are checked before.
#[derive(Debug, Clone)]
pub struct Config {
    pub endpoints: Endpoints,
    /// Full name of the subscription.
    pub subscription: String,
    /// Full name of the dead-letter topic.
    pub dead_letter_topic: Option<String>,
    pub table: String,
    pub consumers: NonZeroUsize,
    pub threads: NonZeroUsize,
    pub max_outstanding: NonZeroUsize,
    pub max_outstanding_bytes: u64,
    /// The limit of writes in flight; by default that of `write_limit`.
    pub max_writes: Option<NonZeroUsize>,
    pub write_mode: WriteMode,
    pub max_future_skew: Duration,
    pub ttl: Option<Duration>,
    pub max_retry_time: Duration,
    pub max_lease_extension: Duration,
    pub stream_max_idle: Duration,
    pub cache_entries: usize,
    pub cache_max_age: Duration,
    pub shutdown_grace: Duration,
}

impl Config {
    /// Creates what all workers share. Raises the limit of open files as far as the system allows.
    pub fn process(&self, observer: Arc<dyn Observer>) -> Arc<Process> {
        let open_files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
        let write_limit = write_limit(self.max_outstanding, self.consumers, self.threads, open_files);
        let settings = Settings {
            consumers: self.consumers,
            threads: self.threads,
            max_outstanding: self.max_outstanding,
            max_outstanding_bytes: self.max_outstanding_bytes,
            max_writes: write_limit.min(self.max_writes.unwrap_or(NonZeroUsize::MAX)),
            write_mode: self.write_mode,
            max_future_skew: self.max_future_skew,
            ttl: self.ttl,
            max_retry_time: self.max_retry_time,
            cache_entries: self.cache_entries,
            cache_max_age: self.cache_max_age,
            shutdown_grace: self.shutdown_grace,
            subscription: self.subscription.clone(),
            table: self.table.clone(),
        };
        Arc::new(Process::new(settings, observer))
    }
}
