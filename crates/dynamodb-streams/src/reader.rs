//! The reader: what users start and stop.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::coordinator::Coordinator;
use crate::lease::{LeaseKeys, Owner};
use crate::memory::Budget;
use crate::ports::{Handler, LeaseTable, Observer, Stream};
use crate::settings::{InvalidSettings, Settings};
use crate::shared::{Clock, Shared};

/// Why a reader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The caller stopped it.
    Stopped,
    /// The stream is disabled, and all of its shards are finished. The table may have another stream by now.
    StreamEnded,
}

/// Reads a stream together with all other instances that use the same lease table and keys.
pub struct Reader<S, T, H> {
    shared: Shared<S, T, H>,
}

impl<S: Stream, T: LeaseTable, H: Handler<S::Data>> Reader<S, T, H> {
    /// Names this instance, e.g. after its host. Instances may have equal names.
    pub fn new(
        instance: &str,
        stream: S,
        table: T,
        keys: LeaseKeys,
        handler: H,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Result<Reader<S, T, H>, InvalidSettings> {
        settings.validate()?;
        let budget = Budget::new(settings.max_records, settings.max_bytes);
        let random = Mutex::new(StdRng::seed_from_u64(0));
        let me = Owner::new(instance);
        #[expect(clippy::disallowed_methods, reason = "gaps and a start in the past need the current time")]
        let clock: Clock = Box::new(SystemTime::now);
        let shared = Shared {
            stream,
            table,
            handler,
            observer,
            keys,
            me,
            settings,
            budget,
            random,
            clock,
            listed: Mutex::default(),
            last_read: Mutex::default(),
            next_description: tokio::sync::Mutex::default(),
        };
        Ok(Reader { shared }.seeded(instance, rand::rng().random()))
    }

    /// Makes jitter, order and the number of the owner depend on a seed.
    #[cfg(test)]
    pub(crate) fn with_seed(self, seed: u64) -> Reader<S, T, H> {
        let instance = self.shared.me.as_str().rsplit_once('/').map_or("", |(instance, _)| instance).to_owned();
        self.seeded(&instance, seed)
    }

    #[cfg(test)]
    pub(crate) fn with_clock(mut self, clock: Clock) -> Reader<S, T, H> {
        self.shared.clock = clock;
        self
    }

    fn seeded(mut self, instance: &str, seed: u64) -> Reader<S, T, H> {
        let mut random = StdRng::seed_from_u64(seed);
        self.shared.me = Owner::new(format!("{instance}/{:016x}", random.random::<u64>()));
        self.shared.random = Mutex::new(random);
        self
    }

    /// Reads until `stop` completes, or until a disabled stream is read to its end. After `stop`, it finishes the records in progress, for at most the handover timeout, and
    /// releases its leases. Dropping the future stops at once: its leases expire, and unfinished records are repeated.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let longest = self.shared.settings.handover_timeout + self.shared.settings.failover;
        let (stopping, stopped) = watch::channel(false);
        let coordinator = Coordinator::new(Arc::new(self.shared), stopped).run();
        tokio::pin!(coordinator);
        tokio::select! {
            biased;
            ended = &mut coordinator => return ended,
            () = stop => {}
        }
        stopping.send_replace(true);
        // After this time, all leases have expired for this instance.
        let _ = timeout(longest, coordinator).await;
        Ended::Stopped
    }
}
