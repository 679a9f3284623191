//! The real program, for the demo.

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http_api::{Access, Guard, Limits, Server};
use ops::StoreWatch;

use super::program::{BoxError, Consumer, Environment, Outcomes, Program};
use crate::api;
use crate::consumer::Process;
use crate::consumer::settings::WriteMode;
use crate::hosts::Index;
use crate::observe::{ApiMetrics, Metrics};
use crate::scan::Reason;
use crate::service::{Config, Endpoints, Running, connect_hosts, setup};
use dynamodb_local::thread;

/// The real program.
#[derive(Debug)]
pub struct Real;

/// The real consumer.
#[derive(Debug)]
pub struct RealConsumer {
    config: Config,
    process: Arc<Process>,
    metrics: Arc<Metrics>,
    running: Running,
}

impl Program for Real {
    type Consumer = RealConsumer;

    async fn setup(&self, environment: &Environment) -> Result<(), BoxError> {
        let names = setup::Pubsub {
            topic: environment.topic_name(),
            subscription: environment.subscription_name(),
            dead_letter_topic: environment.dead_letter_topic_name(),
            dead_letter_subscription: environment.dead_letter_subscription_name(),
        };
        // The demo prints the names itself.
        let mut out = std::io::sink();
        setup::pubsub(&endpoints(environment), &names, &mut out).await?;
        Ok(setup::table(&endpoints(environment), environment.table, &[Index::ByIp], &mut out).await?)
    }

    async fn serve(&self, environment: &Environment) -> Result<Option<thread::Running>, BoxError> {
        let (endpoints, table) = (endpoints(environment), environment.table);
        let running = thread::Running::start("api", move || async move {
            let metrics = Arc::<ApiMetrics>::default();
            let watch = Arc::<StoreWatch>::default();
            let hosts = connect_hosts(&endpoints, table, None, metrics.clone()).await.map_err(io::Error::other)?;
            let limits = Limits { request_timeout: Duration::from_secs(10), body_bytes: 2 << 20, requests: 64 };
            let guard = Guard::new(Access::Loopback, limits, metrics);
            let settings = api::Settings { stale_after: Duration::from_secs(30 * 24 * 60 * 60), writes: None };
            let router = api::router(hosts, None, settings, axum::Router::new(), watch, &guard);
            let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
            let address = server.address();
            Ok((address, async move {
                server.serve(router, std::future::pending(), Duration::ZERO).await;
                Ok(())
            }))
        });
        Ok(Some(running.await?))
    }

    async fn consume(&self, environment: &Environment) -> Result<RealConsumer, BoxError> {
        let config = config(environment);
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

    async fn stop(self) -> Result<(), BoxError> {
        self.process.drain.request(self.config.shutdown_grace);
        Ok(self.running.finished().await?)
    }
}

fn endpoints(environment: &Environment) -> Endpoints {
    Endpoints { pubsub: Some(environment.pubsub_host.clone()), dynamo: Some(environment.dynamo_url.clone()) }
}

/// Returns the default configuration of the consumer for this environment.
fn config(environment: &Environment) -> Config {
    let consumers = NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Config {
        endpoints: endpoints(environment),
        subscription: environment.subscription_name(),
        dead_letter_topic: Some(environment.dead_letter_topic_name()),
        table: environment.table.to_owned(),
        consumers,
        threads: cores.min(consumers),
        max_outstanding: NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN),
        max_outstanding_bytes: 256 << 20,
        max_writes: None,
        write_mode: WriteMode::Put,
        max_future_skew: Duration::from_secs(24 * 60 * 60),
        ttl: None,
        max_retry_time: Duration::from_secs(30 * 60),
        max_lease_extension: Duration::from_secs(20),
        stream_max_idle: Duration::from_secs(60),
        cache_entries: 100_000,
        cache_max_age: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(20),
    }
}
