//! Outage of DynamoDB: it accepts connections but does not respond.

use std::time::Duration;

use super::{count_lines, stop, timed};
use crate::support::local_dynamo::LocalDynamo;
use crate::support::messages::{CONSUMING, NACKED, RECOVERED, UNHEALTHY};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Program, Signal};
use crate::support::pubsub::Pubsub;

/// How soon after an outage the consumers must be at their rate from before it.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(5);
/// The share of a core that a waiting consumer may use. A busy loop would use a whole core.
const MAX_IDLE_CPU: f64 = 0.1;

struct Outage {
    /// The number of messages published before the outage, and again during it.
    messages: usize,
    /// How long the outage lasts after the consumers have noticed it.
    lasts: Duration,
}

#[tokio::test]
async fn an_outage_of_the_store_nacks_no_message_and_recovery_is_immediate() {
    test_outage(Outage { messages: 600, lasts: Duration::from_secs(3) }).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn an_outage_of_a_minute_nacks_no_message_and_recovery_is_immediate() {
    test_outage(Outage { messages: 6_000, lasts: Duration::from_secs(60) }).await;
}

async fn test_outage(outage: Outage) {
    let store = LocalDynamo::start().await;
    let (pubsub, _faults) = Pubsub::dedicated().await;
    let pipeline = Pipeline::on(pubsub, store.dynamo.clone()).await;
    let mut consumers = [(); 3].map(|()| pipeline.consumer().start());
    for consumer in &mut consumers {
        consumer.wait_for_line(CONSUMING).await;
    }
    let before = timed(async {
        pipeline.publish(valid_scans(0..outage.messages)).await;
        pipeline.drained().await;
    });
    let before = before.await;

    store.signal(Signal::Stop).await;
    pipeline.publish(valid_scans(outage.messages..2 * outage.messages)).await;
    for consumer in &mut consumers {
        consumer.wait_for_line(&format!("{UNHEALTHY}: DynamoDB")).await;
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
        let exit = stop(consumer).await;
        let counts = [UNHEALTHY, RECOVERED, NACKED].map(|text| count_lines(&exit.output.stderr, text));
        assert_eq!(counts, [1, 1, 0], "{exit:#?}");
    }
}

/// Waits for `time` and checks that no consumer is busy meanwhile.
async fn assert_idle(consumers: &[Program], time: Duration) {
    let used = |consumers: &[Program]| consumers.iter().map(Program::processor_time).collect::<Vec<_>>();
    let before = used(consumers);
    tokio::time::sleep(time).await;
    for (before, after) in before.into_iter().zip(used(consumers)) {
        let share = (after - before).as_secs_f64() / time.as_secs_f64();
        assert!(share < MAX_IDLE_CPU, "a consumer that waited for the store used {share:.2} of a core");
    }
}
