//! The settings of the engine.

use std::time::Duration;

use crate::breaker::BreakerSettings;
use crate::schedule::Schedule;

#[derive(Clone, Debug)]
pub struct Settings {
    /// A delivery without a result within this time after its record was read is stored.
    pub handle_within: Duration,
    /// After this time without a store, [`crate::Handled::Unavailable`] is returned.
    pub store_patience: Duration,
    /// A request to a store that takes longer has failed.
    pub store_timeout: Duration,
    /// An attempt that takes longer has failed. The sender should have a shorter limit.
    pub attempt_timeout: Duration,
    /// How long a claim lasts. It must be longer than an attempt with the change of its item.
    pub claim: Duration,
    /// The most bytes of bodies in queues and first attempts, of all endpoints.
    pub max_bytes: usize,
    /// The most of these bytes for one endpoint.
    pub max_bytes_per_endpoint: usize,
    /// The most attempts that run at the same time. Above half of it, each endpoint may run only one.
    pub max_attempts: usize,
    /// The most endpoints whose backlogs are delivered at the same time.
    pub max_backlogs: usize,
    /// When all attempts of an endpoint have been running for this long, its new deliveries are stored.
    pub stalled_after: Duration,
    /// The time between two looks at the backlogs.
    pub poll_interval: Duration,
    /// How long attempts may go on after the engine was stopped.
    pub drain_timeout: Duration,
    /// An endpoint that only fails for this long is disabled.
    pub disable_after: Duration,
    /// Sends webhooks to endpoints without a secret. Their receivers cannot know who sent them.
    pub allow_unsigned: bool,
    pub schedule: Schedule,
    pub breaker: BreakerSettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            handle_within: Duration::from_secs(5),
            store_patience: Duration::from_secs(10),
            store_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(20),
            claim: Duration::from_secs(60),
            max_bytes: 64 << 20,
            max_bytes_per_endpoint: 1 << 20,
            max_attempts: 1024,
            max_backlogs: 256,
            stalled_after: Duration::from_secs(1),
            poll_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(15),
            disable_after: Duration::from_secs(5 * 24 * 3600),
            allow_unsigned: false,
            schedule: Schedule::default(),
            breaker: BreakerSettings::default(),
        }
    }
}
