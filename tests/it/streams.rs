//! Streams are supervised: what is silent, broken or away is replaced, told apart from what is idle or full, and counted.

mod frozen;
mod process;

use std::sync::Arc;
use std::time::Duration;

use mini_scan::consumer::Health;
use mini_scan::consumer::ports::{DeadLetter, DeadLetters, Delivery, Receipt, Restart, Source};
use mini_scan::observe::Metrics;
use mini_scan::pubsub::{Connection, StreamReceipt, StreamSettings, StreamSource, TopicDeadLetters};
use tokio::time::{Instant, sleep, timeout};

use crate::support::pubsub::Pubsub;
use crate::support::wire::Wire;
use crate::support::{LOOKING, QUIET, within_patience};

/// Short, so that the tests are; longer than a message takes on a loaded machine.
const MAX_IDLE: Duration = Duration::from_secs(2);
const LIMIT: usize = 8;

/// One supervised stream behind a wire, read by the test in place of a worker.
struct Reader {
    pubsub: Pubsub,
    topic: String,
    subscription: String,
    wire: Wire,
    source: StreamSource,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Reader {
    async fn open(max_idle: Duration) -> Reader {
        let (pubsub, _) = Pubsub::own().await;
        let (topic, subscription) = pubsub.pair().await;
        let wire = Wire::before(&pubsub.address);
        let settings = StreamSettings {
            subscription: subscription.clone(),
            max_messages: LIMIT as i64,
            max_bytes: 1 << 20,
            max_lease_extension: Duration::from_secs(10),
            max_retry_time: Duration::from_secs(600),
            max_idle,
        };
        let (health, metrics) = (Arc::<Health>::default(), Arc::<Metrics>::default());
        let connection = Connection::new(Some(&wire.address.to_string()));
        let source = StreamSource::open(connection, settings, health.clone(), metrics.clone(), 0);
        Reader { pubsub, topic, subscription, wire, source, health, metrics }
    }

    /// One that has given and settled a message.
    async fn reading(max_idle: Duration) -> Reader {
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
        let next = within_patience("a message of a supervised stream", self.source.next()).await;
        next.expect("a stream that can be read").expect("a stream that was not stopped")
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

    /// All causes that were counted, by name.
    fn counted(&self) -> Vec<(&'static str, u64)> {
        let all = Restart::ALL.into_iter().map(|cause| (cause.name(), self.restarts(cause)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn is_well(&self) -> bool {
        self.health.conditions().is_empty()
    }

    async fn becomes(&self, what: &str, is_so: impl Fn(&Reader) -> bool) {
        let so = async {
            while !is_so(self) {
                sleep(LOOKING).await;
            }
        };
        within_patience(what, so).await;
    }
}

#[tokio::test]
async fn an_idle_stream_is_replaced_as_routine() {
    let mut reader = Reader::reading(Duration::from_secs(1)).await;

    reader.becomes("three replacements", |reader| reader.restarts(Restart::Idle) >= 3).await;

    assert_eq!(reader.counted(), [("idle", reader.restarts(Restart::Idle))]);
    assert!(reader.is_well());
    reader.publish(1).await;
    reader.next().await.receipt.ack();
}

#[tokio::test]
async fn a_full_stream_is_not_replaced() {
    let mut reader = Reader::open(Duration::from_secs(1)).await;
    // No more, or the whole limit that the replaced one held would keep the next from being opened.
    reader.publish(LIMIT / 2).await;
    let held = reader.take(LIMIT / 2).await;
    let connections = reader.wire.opened();

    sleep(3 * Duration::from_secs(1)).await;

    assert_eq!((reader.counted(), reader.wire.opened()), (vec![], connections));
    assert!(reader.is_well());
    drop(held);
}

#[tokio::test]
async fn a_stream_whose_connection_is_dead_is_replaced_and_counted_as_silent() {
    let mut reader = Reader::reading(MAX_IDLE).await;

    reader.wire.freeze_open();
    reader.publish(2).await;

    // What the server gave to the dead stream comes again when its lease ends.
    reader.next().await.receipt.ack();
    assert_eq!(reader.restarts(Restart::Silent), 1, "{:?}", reader.counted());
    assert!(reader.is_well());
}

#[tokio::test]
async fn while_nothing_answers_it_is_unwell_and_afterwards_messages_flow() {
    let mut reader = Reader::reading(MAX_IDLE).await;

    reader.wire.freeze();
    reader.publish(3).await;
    reader.becomes("a condition", |reader| !reader.is_well()).await;
    let (_, detail) = reader.health.conditions().remove(0);
    assert!(detail.contains("Pub/Sub does not answer"), "{detail}");
    reader.becomes("more silent streams", |reader| reader.restarts(Restart::Silent) >= 2).await;
    reader.wire.thaw();

    for delivery in reader.take(3).await {
        delivery.receipt.ack();
    }
    assert!(reader.is_well());
}

#[tokio::test]
async fn while_connections_are_cut_and_refused_it_is_unwell_and_afterwards_messages_flow() {
    let mut reader = Reader::reading(MAX_IDLE).await;

    reader.wire.refuse().await;
    reader.wire.cut();
    reader.publish(3).await;
    reader.becomes("a condition", |reader| !reader.is_well()).await;
    sleep(MAX_IDLE).await;
    reader.wire.accept().await;

    for delivery in reader.take(3).await {
        delivery.receipt.ack();
    }
    assert!(reader.is_well());
    assert!(reader.restarts(Restart::Silent) > 0, "{:?}", reader.counted());
}

#[tokio::test]
async fn after_an_outage_an_idle_stream_becomes_well_without_a_message() {
    let reader = Reader::reading(Duration::from_secs(1)).await;
    reader.wire.freeze();
    reader.becomes("a condition", |reader| !reader.is_well()).await;

    reader.wire.thaw();

    reader.becomes("recovered", Reader::is_well).await;
}

#[tokio::test]
async fn a_worker_never_holds_more_than_twice_its_limit() {
    let mut reader = Reader::open(Duration::from_secs(600)).await;
    reader.publish(5 * LIMIT).await;

    let mut held = reader.take(LIMIT).await;
    // Each of these gives the client, which opens the stream again by itself, a whole limit more.
    for _ in 0..3 {
        reader.wire.cut();
        while let Ok(delivery) = timeout(2 * QUIET, reader.source.next()).await {
            held.extend(delivery.expect("a stream that can be read"));
        }
    }

    assert!((LIMIT + 1..=2 * LIMIT).contains(&held.len()), "it holds {}", held.len());
    for delivery in held {
        delivery.receipt.ack();
    }
    reader.next().await.receipt.ack();
    assert_eq!(reader.counted(), [("overfull", 1)]);
}

#[tokio::test]
async fn acks_that_a_dead_connection_swallows_are_counted() {
    let mut reader = Reader::open(MAX_IDLE).await;
    reader.publish(1).await;
    let delivery = reader.next().await;

    reader.wire.freeze_open();
    delivery.receipt.ack();

    reader.becomes("acks that were not delivered", |reader| reader.metrics.unflushed.get() == 1).await;
}

#[tokio::test]
async fn a_stop_during_an_outage_of_pubsub_is_not_delayed() {
    let mut reader = Reader::reading(MAX_IDLE).await;
    reader.wire.freeze();
    reader.becomes("a condition", |reader| !reader.is_well()).await;
    let asked = Instant::now();

    reader.source.stop();

    while reader.source.next().await.expect("a stream that can be read").is_some() {}
    reader.source.flushed().await;
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_dead_letter_that_finds_no_answer_lets_the_next_go_over_another_connection() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let wire = Wire::before(&pubsub.address);
    let connection = Connection::new(Some(&wire.address.to_string()));
    let letters = TopicDeadLetters::connect(&connection, &topic).await.expect("a publisher");
    let publish = || letters.publish(DeadLetter { payload: "poison".into(), attributes: Default::default() });
    within_patience("a letter", publish()).await.expect("the topic takes letters");

    wire.freeze_open();

    assert!(timeout(QUIET, publish()).await.is_err(), "a letter was published over a frozen connection");
    within_patience("a letter", publish()).await.expect("the topic takes letters");
}
