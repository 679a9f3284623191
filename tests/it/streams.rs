//! Supervision of streams: silent and broken streams are replaced and counted, idle and full ones are recognized.

mod frozen;
mod process;

use std::sync::Arc;
use std::time::Duration;

use mini_scan::consumer::Health;
use mini_scan::consumer::ports::{DeadLetter, DeadLetters, Delivery, Receipt, Restart, Source};
use mini_scan::observe::Metrics;
use mini_scan::pubsub::{Activity, Connection, StreamReceipt, StreamSettings, StreamSource, TopicDeadLetters};
use tokio::time::{Instant, sleep, timeout};

use crate::support::messages::PUBSUB_SILENT;
use crate::support::pubsub::Pubsub;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{POLL_INTERVAL, QUIET_PERIOD, with_timeout};

/// Short, to keep the tests short, but longer than a delivery takes on a loaded machine.
const MAX_IDLE: Duration = Duration::from_secs(2);
const LIMIT: usize = 8;

/// One supervised stream behind a proxy. The test reads it instead of a worker.
struct Reader {
    pubsub: Pubsub,
    topic: String,
    subscription: String,
    proxy: TcpProxy,
    source: StreamSource,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Reader {
    async fn open(max_idle: Duration) -> Reader {
        Reader::open_as(0, max_idle).await
    }

    async fn open_as(worker: usize, max_idle: Duration) -> Reader {
        let (pubsub, _) = Pubsub::dedicated().await;
        let (topic, subscription) = pubsub.topic_with_subscription().await;
        let proxy = TcpProxy::before(&pubsub.address);
        let settings = StreamSettings {
            subscription: subscription.clone(),
            max_messages: LIMIT as i64,
            max_bytes: 1 << 20,
            max_lease_extension: Duration::from_secs(10),
            max_retry_time: Duration::from_secs(600),
            max_idle,
        };
        let (health, metrics) = (Arc::<Health>::default(), Arc::<Metrics>::default());
        let connection = Connection::new(Some(&proxy.address.to_string()));
        let activity = Arc::new(Activity::new(Instant::now()));
        let source = StreamSource::open(connection, settings, health.clone(), metrics.clone(), worker, activity);
        Reader { pubsub, topic, subscription, proxy, source, health, metrics }
    }

    /// Opens a stream and settles its first message.
    async fn active(max_idle: Duration) -> Reader {
        let mut reader = Reader::open(max_idle).await;
        reader.publish(1).await;
        reader.next().await.receipt.ack();
        reader.pubsub.drained(&reader.subscription).await;
        reader
    }

    async fn publish(&self, messages: usize) {
        self.pubsub.publish(&self.topic, (0..messages).map(|n| n.to_string())).await;
    }

    async fn next(&mut self) -> Delivery<StreamReceipt> {
        let next = with_timeout("a message of a supervised stream", self.source.next()).await;
        next.expect("the stream does not fail").expect("the stream was not stopped")
    }

    async fn take(&mut self, messages: usize) -> Vec<Delivery<StreamReceipt>> {
        let mut taken = Vec::new();
        while taken.len() < messages {
            taken.push(self.next().await);
        }
        taken
    }

    fn restarts(&self, cause: Restart) -> u64 {
        self.metrics.stream_restarts(cause).get()
    }

    /// Returns the counts of restarts by cause, without those that are 0.
    fn counted(&self) -> Vec<(&'static str, u64)> {
        let all = Restart::ALL.into_iter().map(|cause| (cause.name(), self.restarts(cause)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn is_healthy(&self) -> bool {
        self.health.conditions().is_empty()
    }

    async fn wait_until(&self, what: &str, condition: impl Fn(&Reader) -> bool) {
        let polling = async {
            while !condition(self) {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(what, polling).await;
    }
}

#[tokio::test]
async fn an_idle_stream_is_replaced_and_stays_healthy() {
    let mut reader = Reader::active(Duration::from_secs(3)).await;

    reader.wait_until("two replacements", |reader| reader.restarts(Restart::Idle) >= 2).await;

    assert_eq!(reader.counted(), [("idle", reader.restarts(Restart::Idle))]);
    assert!(reader.is_healthy());
    reader.publish(1).await;
    reader.next().await.receipt.ack();
}

#[tokio::test]
async fn the_pauses_of_other_workers_double_on_an_idle_subscription() {
    let (opened, max_idle) = (Instant::now(), Duration::from_secs(1));
    let reader = Reader::open_as(1, max_idle).await;

    // The first stream opens a connection, and each of its three successors opens one and another for its probe.
    reader.proxy.wait_for_opened(1 + 3 * 2).await;

    assert!(opened.elapsed() >= (1 + 2 + 4) * max_idle, "{:?}", opened.elapsed());
    assert!(reader.is_healthy());
}

#[tokio::test]
async fn a_parked_message_on_each_of_many_streams_does_not_stop_reading() {
    let max_idle = Duration::from_secs(1);
    let mut reader = Reader::open(max_idle).await;
    let mut parked = Vec::new();
    loop {
        reader.publish(1).await;
        parked.push(reader.next().await);
        let another = reader.proxy.wait_for_opened(reader.proxy.opened() + 1);
        if parked.len() <= 4 {
            another.await;
        } else if timeout(3 * max_idle, another).await.is_err() {
            break;
        }
        // Some of the connections are probes.
        assert!(parked.len() < 10, "streams are replaced without a bound");
    }

    reader.publish(1).await;
    reader.next().await.receipt.ack();
    assert!(reader.is_healthy());
    let connections = reader.proxy.opened();
    for delivery in parked {
        delivery.receipt.ack();
    }
    reader.proxy.wait_for_opened(connections + 1).await;
}

#[tokio::test]
async fn a_worker_whose_streams_all_ended_with_unsettled_messages_is_unhealthy_until_one_is_settled() {
    let mut reader = Reader::open(Duration::from_secs(600)).await;
    let mut unsettled = Vec::new();
    for ended in 1..=5 {
        reader.publish(1).await;
        unsettled.push(reader.next().await);
        let subscriptions = &reader.pubsub.subscriptions;
        let delete = subscriptions.delete_subscription().set_subscription(&reader.subscription).send();
        delete.await.expect("the subscription is deleted");
        reader.wait_until("an ended stream", |reader| reader.restarts(Restart::NotFound) == ended).await;
        let create = subscriptions.create_subscription().set_name(&reader.subscription).set_topic(&reader.topic);
        create.set_ack_deadline_seconds(10).send().await.expect("the subscription is created");
    }

    let has_no_capacity = |reader: &Reader| {
        reader.health.conditions().iter().any(|(_, detail)| detail.contains("replaced streams have unsettled messages"))
    };
    reader.wait_until("a condition", has_no_capacity).await;
    reader.publish(1).await;
    unsettled.remove(0).receipt.ack();

    reader.next().await.receipt.ack();
    assert!(reader.is_healthy());
}

#[tokio::test]
async fn a_full_stream_is_not_replaced_while_an_idle_one_is() {
    let mut reader = Reader::open(Duration::from_secs(1)).await;
    // Half of the limit: a replaced stream with a whole limit of unsettled messages would prevent the next one.
    reader.publish(LIMIT / 2).await;
    let unsettled = reader.take(LIMIT / 2).await;
    let connections = reader.proxy.opened();

    let idle = Reader::active(Duration::from_secs(1)).await;
    idle.wait_until("a replacement", |idle| idle.restarts(Restart::Idle) >= 1).await;

    assert_eq!((reader.counted(), reader.proxy.opened()), (vec![], connections));
    assert!(reader.is_healthy());
    drop(unsettled);
}

#[tokio::test]
async fn a_stream_whose_connection_is_dead_is_replaced_and_counted_as_silent() {
    let mut reader = Reader::active(MAX_IDLE).await;

    reader.proxy.freeze_open();
    reader.publish(2).await;

    // The messages that the server sent over the dead connection are redelivered when their leases end.
    reader.next().await.receipt.ack();
    assert_eq!(reader.restarts(Restart::Silent), 1, "{:?}", reader.counted());
    assert!(reader.is_healthy());
}

#[tokio::test]
async fn a_hanging_pubsub_makes_the_instance_unhealthy_and_reading_resumes_afterwards() {
    let mut reader = Reader::active(MAX_IDLE).await;

    reader.proxy.freeze();
    reader.publish(3).await;
    reader.wait_until("a condition", |reader| !reader.is_healthy()).await;
    let (_, detail) = reader.health.conditions().remove(0);
    assert!(detail.contains(PUBSUB_SILENT), "{detail}");
    reader.wait_until("more silent streams", |reader| reader.restarts(Restart::Silent) >= 2).await;
    reader.proxy.thaw();

    for delivery in reader.take(3).await {
        delivery.receipt.ack();
    }
    assert!(reader.is_healthy());
}

#[tokio::test]
async fn refused_connections_make_the_instance_unhealthy_and_reading_resumes_afterwards() {
    let mut reader = Reader::active(MAX_IDLE).await;

    reader.proxy.refuse().await;
    reader.proxy.close_open();
    reader.publish(3).await;
    reader.wait_until("a condition", |reader| !reader.is_healthy()).await;
    reader.wait_until("more streams without a response", |reader| reader.restarts(Restart::Silent) >= 2).await;
    reader.proxy.accept().await;

    for delivery in reader.take(3).await {
        delivery.receipt.ack();
    }
    assert!(reader.is_healthy());
}

#[tokio::test]
async fn an_idle_stream_recovers_after_an_outage_without_a_message() {
    let reader = Reader::active(Duration::from_secs(1)).await;
    reader.proxy.freeze();
    reader.wait_until("a condition", |reader| !reader.is_healthy()).await;

    reader.proxy.thaw();

    reader.wait_until("recovery", Reader::is_healthy).await;
}

#[tokio::test]
async fn a_worker_never_has_more_unsettled_messages_than_twice_its_limit() {
    let mut reader = Reader::open(Duration::from_secs(600)).await;
    reader.publish(5 * LIMIT).await;

    let mut unsettled = reader.take(LIMIT).await;
    // After a closed connection the client opens the stream again, and Pub/Sub sends up to the limit once more.
    reader.proxy.close_open();
    unsettled.extend(reader.take(LIMIT).await);
    reader.wait_until("an overfull stream", |reader| reader.restarts(Restart::Overfull) == 1).await;
    let closed = |reader: &Reader| reader.pubsub.counts(&reader.subscription).streams == 0;
    reader.wait_until("no open stream", closed).await;

    assert!(timeout(QUIET_PERIOD, reader.source.next()).await.is_err(), "another stream was opened");
    for delivery in unsettled {
        delivery.receipt.ack();
    }
    reader.next().await.receipt.ack();
    assert_eq!(reader.counted(), [("overfull", 1)]);
}

#[tokio::test]
async fn acks_that_a_dead_connection_loses_are_counted() {
    let mut reader = Reader::open(MAX_IDLE).await;
    reader.publish(1).await;
    let delivery = reader.next().await;

    reader.proxy.freeze_open();
    delivery.receipt.ack();

    reader.wait_until("a count of lost acks", |reader| reader.metrics.unflushed.get() == 1).await;
}

#[tokio::test]
async fn an_outage_of_pubsub_does_not_delay_a_stop() {
    // Without a message, so that no ack waits for its response when the connection freezes.
    let mut reader = Reader::open(MAX_IDLE).await;
    let is_open = |reader: &Reader| reader.pubsub.counts(&reader.subscription).streams == 1;
    reader.wait_until("an open stream", is_open).await;
    reader.proxy.freeze();
    reader.wait_until("a condition", |reader| !reader.is_healthy()).await;

    reader.source.stop();

    let ended = async { while reader.source.next().await.expect("the stream does not fail").is_some() {} };
    with_timeout("the end of the stream", ended).await;
    with_timeout("the flush of the stream", reader.source.flushed()).await;
    // A flush that waited for its timeout would be counted.
    assert_eq!(reader.metrics.unflushed.get(), 0);
}

#[tokio::test]
async fn after_a_dead_letter_without_a_response_the_next_one_uses_another_connection() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let proxy = TcpProxy::before(&pubsub.address);
    let connection = Connection::new(Some(&proxy.address.to_string()));
    let dead_letters = TopicDeadLetters::connect(&connection, &topic).await.expect("a publisher");
    let publish = || dead_letters.publish(DeadLetter { payload: "poison".into(), attributes: Default::default() });
    with_timeout("a dead letter", publish()).await.expect("the topic accepts dead letters");

    proxy.freeze_open();

    tokio::select! {
        () = proxy.wait_for_stalled(1) => {}
        _ = publish() => panic!("a publish over a frozen connection ended"),
    }
    with_timeout("a dead letter", publish()).await.expect("the topic accepts dead letters");
}
