//! The reader of changes: from settings to the running reader of the table's stream, with the checks before it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dynamodb_streams::{DynamoDbLeaseTable, Ended, LeaseError, LeaseTable, Reader, Retries, Settings, Start};
use ops::Liveness;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::checks::within;
use super::webhooks::{Webhooks, WebhooksConfig};
use super::{ChangesTables, Endpoints, SetupError, check_changes, check_webhooks, setup_error};
use crate::changes::ports::{Gap, History, Notifier, Observer};
use crate::changes::{Condition, Recorder, Rules, Watch};
use crate::consumer::ports::StoreError;
use crate::dynamo::{self, Client, HistoryTable, StreamName, StreamsClient};
use crate::scan::to_unix_seconds;
use crate::subscriptions;

/// Names this reader in the lease table.
const APPLICATION: &str = "changes";
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// How often to count the open gaps.
const GAP_INTERVAL: Duration = Duration::from_secs(60);
const GAP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many records of a shard may wait for their endpoints.
const WAITING_RECORDS: usize = 1024;
/// How many records of a shard may be unfinished or behind an unfinished one: those of 5 s.
const RECORDS_WITH_WEBHOOKS: usize = 20_000;

/// The settings of a reader of changes.
#[derive(Debug, Clone)]
pub struct ChangesConfig {
    pub endpoints: Endpoints,
    pub tables: ChangesTables,
    pub rules: Arc<Rules>,
    pub start: ReadFrom,
    /// The name of this instance in the lease table.
    pub instance: String,
    pub checkpoint_interval: Duration,
    pub failover: Duration,
    pub shutdown_grace: Duration,
    /// `None` if nobody is told of changes.
    pub webhooks: Option<WebhooksConfig>,
}

/// Who is told what the reader does.
#[derive(Clone)]
pub struct ChangesObservers {
    pub changes: Arc<dyn Observer>,
    pub reports: Arc<dyn dynamodb_streams::Observer>,
    pub webhooks: Arc<dyn subscriptions::ports::Observer>,
    pub watch: Arc<Watch>,
}

/// Where the first instance starts to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    TrimHorizon,
    Latest,
    /// Unix seconds.
    Time(u64),
}

/// A reader of changes that is connected to its tables.
pub struct ChangesReader {
    config: ChangesConfig,
    client: Client,
    streams: StreamsClient,
    history: HistoryTable,
    leases: DynamoDbLeaseTable,
}

/// Connects to the tables and the stream. Fails if one of them is missing or does not fit, or if the history is that of
/// another table.
pub async fn connect_changes(config: ChangesConfig) -> Result<ChangesReader, SetupError> {
    let ChangesConfig { endpoints, tables, .. } = &config;
    check_changes(endpoints, tables).await?;
    if let Some(webhooks) = &config.webhooks {
        check_webhooks(endpoints, &webhooks.tables).await?;
    }
    let of_table = |problem| setup_error::table(endpoints, &tables.scans, problem);
    let client = endpoints.dynamo().await.map_err(of_table)?;
    let streams = dynamo::connect_streams(endpoints.dynamo.as_deref()).await.map_err(of_table)?;
    let history = claim_history(&client, tables).await?;
    let leases = DynamoDbLeaseTable::new(&client, &tables.leases);
    Ok(ChangesReader { config, client, streams, history, leases })
}

/// Returns the history of the table of scans. Fails if it is that of another table.
pub(crate) async fn claim_history(client: &Client, tables: &ChangesTables) -> Result<HistoryTable, SetupError> {
    let history = HistoryTable::new(client.clone(), tables.history.clone());
    let claim = async { history.claim(&tables.scans).await.map_err(|error| error.detail) };
    match within(claim, |late| late).await {
        Ok(owner) if owner == tables.scans => Ok(history),
        Ok(owner) => Err(setup_error::another_history(tables, &owner)),
        Err(detail) => Err(setup_error::no_history(&tables.history, &detail)),
    }
}

impl ChangesReader {
    /// Reads until `stop`, and then finishes the records in progress. If the stream was disabled, reads it to its end, and
    /// then the next one.
    pub async fn run(&self, observers: &ChangesObservers, stop: &CancellationToken) -> Result<(), SetupError> {
        let Some(config) = &self.config.webhooks else { return self.read(Arc::new(()), observers, stop).await };
        let ChangesObservers { webhooks, watch, .. } = observers;
        let webhooks = Webhooks::new(config, &self.client, webhooks.clone(), watch)?;
        let load = async || webhooks.load().await.map_err(|error| error.detail);
        let loaded = stop.run_until_cancelled(until_ok(watch, Condition::Subscriptions, load)).await;
        if loaded.is_none() {
            return Ok(());
        }
        // The engine stops last, so that the records in progress still get their deliveries.
        let stop_engine = CancellationToken::new();
        let notifier = webhooks.notifier();
        let reading = async {
            let result = self.read(notifier, observers, stop).await;
            stop_engine.cancel();
            result
        };
        let end = async {
            stop.cancelled().await;
            let end = Instant::now() + self.config.shutdown_grace;
            stop_engine.cancelled().await;
            sleep_until(end).await;
        };
        tokio::join!(Box::pin(reading), Box::pin(webhooks.run(&stop_engine, end))).0
    }

    async fn read(
        &self,
        notifier: Arc<dyn Notifier>,
        observers: &ChangesObservers,
        stop: &CancellationToken,
    ) -> Result<(), SetupError> {
        let ChangesObservers { changes, reports, watch, .. } = observers;
        let mut ended = None;
        loop {
            let opened = stop.run_until_cancelled(self.open(ended.as_deref(), changes, watch)).await;
            let Some((stream, start)) = opened else { return Ok(()) };
            tracing::info!(stream = stream.label, masks = self.config.rules.masks.id(), "reading changes");
            let recorder = Recorder::new(
                self.history.clone(),
                notifier.clone(),
                self.config.rules.clone(),
                stream.label.clone(),
                changes.clone(),
                watch.clone(),
            );
            let images = dynamo::image_stream(&self.streams, &stream);
            let keys = images.lease_keys(APPLICATION);
            let (instance, settings) = (&self.config.instance, self.settings(start));
            let reader = Reader::new(instance, images, self.leases.clone(), keys, recorder, reports.clone(), settings);
            let reader = reader.map_err(|invalid| SetupError(invalid.to_string()))?;
            match Box::pin(reader.run(stop.cancelled())).await {
                Ended::StreamEnded => ended = Some(stream.label),
                _ => return Ok(()),
            }
        }
    }

    /// Shows that this process is alive, logs delayed conditions, and counts the open gaps. Runs until it is dropped.
    pub async fn follow(&self, liveness: &Liveness, watch: &Watch, set_open_gaps: impl Fn(u64)) {
        follow(liveness, watch, async || self.history.open_gaps().await, set_open_gaps).await;
    }

    /// Waits for a stream after the one that ended. Returns it with the position from which to read it.
    async fn open(&self, ended: Option<&str>, observer: &Arc<dyn Observer>, watch: &Watch) -> (StreamName, Start) {
        let stream = loop {
            let find = async || match dynamo::stream_name(&self.client, &self.config.tables.scans).await {
                Ok(found) => Ok(found),
                Err(problem) => Err(problem.to_string()),
            };
            match until_ok(watch, Condition::Stream, find).await {
                Some(stream) if ended != Some(stream.label.as_str()) => break stream,
                _ => {
                    watch.health.raise(Condition::Disabled, "Disabled", "it is disabled: run `mini-scan setup changes`")
                }
            }
            sleep(RETRY_INTERVAL).await;
        };
        watch.health.clear(Condition::Disabled);
        let labels =
            until_ok(watch, Condition::Leases, async || self.labels().await.map_err(|error| error.to_string()));
        let labels = labels.await;
        let scans = &self.config.tables.scans;
        let last = async || self.history.last_stream(scans).await.map_err(|error| error.detail);
        let last = until_ok(watch, Condition::History, last).await;
        // Nothing tells what changed between two streams.
        let start = match earlier_stream(&labels, last.as_deref(), &stream.label) {
            Some(earlier) => {
                self.store_gap(&stream, earlier, observer, watch).await;
                Start::TrimHorizon
            }
            None => self.start(),
        };
        if last.as_ref() != Some(&stream.label) {
            let set = async || self.history.set_last_stream(scans, &stream.label).await.map_err(|error| error.detail);
            until_ok(watch, Condition::History, set).await;
        }
        (stream, start)
    }

    async fn store_gap(&self, stream: &StreamName, last: &str, observer: &Arc<dyn Observer>, watch: &Watch) {
        let gap = Gap {
            noticed: to_unix_seconds(now()),
            stream: stream.label.clone(),
            shard: "all".to_owned(),
            after: format!("stream {last}"),
            last_created: None,
            cause: "new_stream",
        };
        tracing::error!(
            stream = stream.label,
            last,
            "changes may be lost: the table has a new stream; repair the history with `mini-scan changes backfill`"
        );
        let store = async || self.history.put_gap(&gap).await.map_err(|error| error.detail);
        until_ok(watch, Condition::History, store).await;
        observer.gap_stored();
    }

    /// Returns the labels of the streams of the table that have leases.
    async fn labels(&self) -> Result<BTreeSet<String>, LeaseError> {
        let prefix = leases_prefix(&self.config.tables.scans);
        let (mut labels, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.leases.scan(&prefix, after.as_ref()).await?;
            let found = page.leases.iter().filter_map(|lease| lease.key.strip_prefix(&prefix)?.split('/').next());
            labels.extend(found.map(str::to_owned));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(labels),
            }
        }
    }

    fn start(&self) -> Start {
        match self.config.start {
            ReadFrom::TrimHorizon => Start::TrimHorizon,
            ReadFrom::Latest => Start::At(now()),
            ReadFrom::Time(seconds) => Start::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }

    fn settings(&self, start: Start) -> Settings {
        let ChangesConfig { checkpoint_interval, failover, shutdown_grace, .. } = self.config;
        let mut defaults = Settings::default();
        if self.config.webhooks.is_some() {
            // Records wait for their endpoints, and those that are done wait behind them.
            defaults.max_concurrency_per_shard = WAITING_RECORDS;
            defaults.max_records_per_shard = RECORDS_WITH_WEBHOOKS;
        }
        Settings {
            start,
            failover,
            checkpoint_interval,
            handover_timeout: shutdown_grace,
            discovery_interval: defaults.discovery_interval.min(3 * failover),
            // Only the recorder decides which records are dead: an outage must not fill the history with dead letters.
            retries: Retries { max_attempts: u32::MAX, max_time: Duration::MAX, ..defaults.retries },
            ..defaults
        }
    }
}

/// Returns the stream that was read before this one, if this one has no leases yet. The leases may be deleted, so the
/// history knows the last stream as well.
fn earlier_stream<'a>(leases: &'a BTreeSet<String>, last: Option<&'a str>, label: &str) -> Option<&'a str> {
    if leases.contains(label) {
        return None;
    }
    leases.last().map(String::as_str).or(last.filter(|last| *last != label))
}

/// Returns how the keys of all leases of a reader of this table begin.
pub(crate) fn leases_prefix(scans: &str) -> String {
    format!("{APPLICATION}/{scans}/")
}

/// Counts the gaps beside the heartbeat, because a hanging query must not end the process.
async fn follow(
    liveness: &Liveness,
    watch: &Watch,
    open_gaps: impl AsyncFn() -> Result<u64, StoreError>,
    set_open_gaps: impl Fn(u64),
) {
    let heartbeat = liveness.begin();
    let beat = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            heartbeat.beat();
        }
    };
    let count = async {
        loop {
            // Whether the history answers is seen by its writes.
            if let Ok(Ok(gaps)) = timeout(GAP_TIMEOUT, open_gaps()).await {
                set_open_gaps(gaps);
            }
            sleep(GAP_INTERVAL).await;
        }
    };
    tokio::join!(beat, count, watch.health.log_delayed());
}

/// Repeats a call until it succeeds. Meanwhile the instance is unready.
async fn until_ok<T>(watch: &Watch, condition: Condition, call: impl AsyncFn() -> Result<T, String>) -> T {
    loop {
        match within(call(), |late| late).await {
            Ok(value) => {
                watch.health.clear(condition);
                return value;
            }
            Err(detail) => watch.health.raise(condition, "Unavailable", &detail),
        }
        sleep(RETRY_INTERVAL).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the start for people, and when a gap was noticed; no decision depends on it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    #[test]
    fn a_stream_is_new_if_the_leases_or_the_history_know_another_one() {
        let leases = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
        let earlier = |labels: &[&str], last| earlier_stream(&leases(labels), last, "2").map(str::to_owned);
        assert_eq!(earlier(&[], None), None);
        assert_eq!(earlier(&["1"], None).as_deref(), Some("1"));
        assert_eq!(earlier(&[], Some("1")).as_deref(), Some("1"), "the leases were deleted");
        assert_eq!(earlier(&[], Some("2")), None);
        assert_eq!(earlier(&["1", "2"], Some("1")), None, "it was begun");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_count_of_the_gaps_neither_ends_the_process_nor_the_next_count() {
        let (liveness, watch) = (Liveness::default(), Watch::default());
        let (calls, open) = (Cell::new(0), Cell::new(None));
        let open_gaps = async || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 { pending().await } else { Ok(3) }
        };
        let mut following = std::pin::pin!(follow(&liveness, &watch, open_gaps, |gaps| open.set(Some(gaps))));
        assert!(timeout(Duration::from_secs(65), &mut following).await.is_err());
        assert!(liveness.is_alive() && open.get().is_none());
        assert!(timeout(Duration::from_secs(65), following).await.is_err());
        assert_eq!(open.get(), Some(3));
    }
}
