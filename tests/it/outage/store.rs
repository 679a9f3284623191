//! A DynamoDB that is there and does not answer.

use std::time::Duration;

use super::{lines, stopped, timed};
use crate::support::local_dynamo::LocalDynamo;
use crate::support::pipeline::{Pipeline, good};
use crate::support::program::{Program, Signal};
use crate::support::pubsub::Pubsub;

/// How soon after an outage the consumers are as fast as before it.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(5);
/// Beyond the first attempts: the processor time of a consumer that waits. A loop that turns without waiting uses all.
const MOST_OF_A_CORE: f64 = 0.1;

/// How much, and how long.
struct Outage {
    /// Published before it, and as many in it.
    messages: usize,
    /// After the consumers have noticed it.
    lasts: Duration,
}

#[tokio::test]
async fn an_outage_of_the_store_nacks_nothing_loses_nothing_and_is_over_at_once() {
    an_outage(Outage { messages: 600, lasts: Duration::from_secs(3) }).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn a_minute_without_the_store_nacks_nothing_loses_nothing_and_is_over_at_once() {
    an_outage(Outage { messages: 6_000, lasts: Duration::from_secs(60) }).await;
}

async fn an_outage(outage: Outage) {
    let store = LocalDynamo::start().await;
    let (pubsub, _faults) = Pubsub::own().await;
    let pipeline = Pipeline::on(pubsub, store.dynamo.clone()).await;
    let mut consumers = [(); 3].map(|()| pipeline.consumer().start());
    for consumer in &mut consumers {
        consumer.line("consuming").await;
    }
    let before = timed(async {
        pipeline.publish(good(0..outage.messages)).await;
        pipeline.drained().await;
    });
    let before = before.await;

    store.signal(Signal::Stop).await;
    pipeline.publish(good(outage.messages..2 * outage.messages)).await;
    for consumer in &mut consumers {
        consumer.line("unhealthy: DynamoDB").await;
    }
    assert_idle(&consumers, outage.lasts).await;
    store.signal(Signal::Continue).await;
    let after = timed(pipeline.drained()).await;

    assert!(after < before + AT_FULL_RATE_WITHIN, "{before:?} before the outage, {after:?} after it");
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    assert_eq!(counts.delivered, counts.published, "{counts:?}");
    assert_eq!(pipeline.rows(2 * outage.messages).await.len(), 2 * outage.messages);
    for consumer in consumers {
        let exit = stopped(consumer).await;
        let said = ["unhealthy", "recovered", "message nacked"].map(|text| lines(&exit.said.stderr, text));
        assert_eq!(said, [1, 1, 0], "{exit:#?}");
    }
}

/// Waits as long, in which no consumer may do more than wait.
async fn assert_idle(consumers: &[Program], time: Duration) {
    let used = |consumers: &[Program]| consumers.iter().map(Program::processor_time).collect::<Vec<_>>();
    let before = used(consumers);
    tokio::time::sleep(time).await;
    for (before, after) in before.into_iter().zip(used(consumers)) {
        let share = (after - before).as_secs_f64() / time.as_secs_f64();
        assert!(share < MOST_OF_A_CORE, "a consumer used {share:.2} of a core to wait for the store");
    }
}
