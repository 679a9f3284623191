//! The program as it is shipped, for the demo.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::program::{Consumer, Failure, Outcomes, Place, Program};
use crate::consumer::Process;
use crate::consumer::settings::WriteMode;
use crate::observe::Metrics;
use crate::scan::Reason;
use crate::service::{Config, Endpoints, Running, setup};

/// The shipped program.
#[derive(Debug)]
pub struct Real;

/// The shipped consumer, as it runs.
#[derive(Debug)]
pub struct RealConsumer {
    config: Config,
    process: Arc<Process>,
    metrics: Arc<Metrics>,
    running: Running,
}

impl Program for Real {
    type Consumer = RealConsumer;

    async fn setup(&self, place: &Place) -> Result<(), Failure> {
        let names = setup::Pubsub {
            topic: place.topic_name(),
            subscription: place.subscription_name(),
            dead_letter_topic: place.dead_letter_topic_name(),
            dead_letter_subscription: place.dead_letter_subscription_name(),
        };
        // The demo says where everything is by itself.
        let mut out = std::io::sink();
        setup::pubsub(&endpoints(place), &names, &mut out).await?;
        Ok(setup::table(&endpoints(place), place.table, &mut out).await?)
    }

    async fn consume(&self, place: &Place) -> Result<RealConsumer, Failure> {
        let config = config(place);
        let metrics = Arc::<Metrics>::default();
        let process = config.process(metrics.clone());
        let running = Running::start(&config, &process)?;
        Ok(RealConsumer { config, process, metrics, running })
    }
}

impl Consumer for RealConsumer {
    fn outcomes(&self) -> Outcomes {
        let counts = self.metrics.snapshot();
        Outcomes {
            stored: counts.stored,
            stale: counts.stale + counts.expired,
            rejections: Reason::ALL.map(|reason| (reason, self.metrics.dead_letters(reason).get())).into(),
            failed: counts.failed(),
        }
    }

    async fn stop(self) -> Result<(), Failure> {
        self.process.drain.request(self.config.shutdown_grace);
        Ok(self.running.finished().await?)
    }
}

fn endpoints(place: &Place) -> Endpoints {
    Endpoints { pubsub: Some(place.pubsub_host.clone()), dynamo: Some(place.dynamo_url.clone()) }
}

/// The consumer's own defaults, but for where it works.
fn config(place: &Place) -> Config {
    let consumers = NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Config {
        endpoints: endpoints(place),
        subscription: place.subscription_name(),
        dead_letter_topic: Some(place.dead_letter_topic_name()),
        table: place.table.to_owned(),
        consumers,
        threads: cores.min(consumers),
        max_outstanding: NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN),
        max_outstanding_bytes: 256 << 20,
        write_mode: WriteMode::Put,
        max_future_skew: Duration::from_secs(24 * 60 * 60),
        ttl: None,
        max_retry_time: Duration::from_secs(30 * 60),
        max_lease_extension: Duration::from_secs(20),
        stream_max_idle: Duration::from_secs(60),
        cache_entries: 100_000,
        cache_max_age: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(30),
    }
}
