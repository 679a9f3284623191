//! Outage of DynamoDB: it accepts connections but does not respond.

use std::mem::replace;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{WRITES_IN_FLIGHT, count_lines, stop};
use crate::support::dynamo_proxy::{Action, Barrier, DynamoProxy};
use crate::support::local_dynamo::LocalDynamo;
use crate::support::messages::{CONSUMING, NACKED, RECOVERED, UNHEALTHY};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Program, Signal};
use crate::support::pubsub::Pubsub;
use crate::support::with_timeout;

/// How often a consumer probes a store in an outage.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The writes after the outage that pass the proxy, each delayed. With one probe per second they would take longer than the
/// test waits.
const FIRST_WRITES: usize = 200;
const DELAY: Duration = Duration::from_millis(20);
/// The share of a core that a waiting consumer may use. A busy loop would use a whole core.
const MAX_IDLE_CPU: f64 = 0.6;

struct Outage {
    /// The number of messages published before the outage, and again during it.
    messages: usize,
    /// The outage ends after this many probes of a consumer that has noticed it.
    probes: usize,
}

#[tokio::test]
async fn an_outage_of_the_store_nacks_no_message_and_recovery_is_immediate() {
    test_outage(Outage { messages: 400, probes: 4 }).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn an_outage_of_a_minute_nacks_no_message_and_recovery_is_immediate() {
    test_outage(Outage { messages: 6_000, probes: 60 }).await;
}

async fn test_outage(outage: Outage) {
    const NEVER: usize = usize::MAX;
    let store = LocalDynamo::start().await;
    let (pubsub, _faults) = Pubsub::dedicated().await;
    let pipeline = Pipeline::on(pubsub, store.dynamo.clone()).await;
    let (writes, barrier) = (watch::Sender::new(0_usize), Barrier::new(WRITES_IN_FLIGHT));
    let held_from = Arc::new(AtomicUsize::new(NEVER));
    let proxy = DynamoProxy::before(store.address(), {
        let (writes, barrier, held_from) = (writes.clone(), barrier.clone(), held_from.clone());
        move |request| {
            if request.is_put() {
                writes.send_modify(|writes| *writes += 1);
                return match held_from.load(Ordering::SeqCst) {
                    NEVER => Action::Forward,
                    held_from if *writes.borrow() > held_from => Action::Hold(barrier.clone()),
                    _ => Action::Forward.after(DELAY),
                };
            }
            Action::Forward
        }
    });
    let proxy = proxy.await;
    let launch = pipeline.consumer().arguments(["--threads", "1"]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.publish(valid_scans(0..outage.messages)).await;
    pipeline.drained().await;

    store.signal(Signal::Stop).await;
    pipeline.publish(valid_scans(outage.messages..2 * outage.messages)).await;
    consumer.wait_for_line(&format!("{UNHEALTHY}: DynamoDB")).await;
    assert_idle(&consumer, &writes, outage.probes).await;
    held_from.store(*writes.borrow() + FIRST_WRITES, Ordering::SeqCst);
    store.signal(Signal::Continue).await;
    // As many writes are in flight as before the outage.
    barrier.opened().await;

    pipeline.drained().await;
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    assert_eq!(counts.delivered, counts.published, "{counts:?}");
    assert_eq!(pipeline.rows(2 * outage.messages).await.len(), 2 * outage.messages);
    let exit = stop(consumer).await;
    let counts = [UNHEALTHY, RECOVERED, NACKED].map(|text| count_lines(&exit.output.stderr, text));
    // Writes that wait for the proxy on a slow machine may exceed their time limit, which is an outage too.
    assert!(counts[0] >= 1 && counts[0] == counts[1] && counts[2] == 0, "{counts:?} {exit:#?}");
}

/// Waits until the consumer has probed the store this often, each time after a pause. Checks that it is not busy.
async fn assert_idle(consumer: &Program, writes: &watch::Sender<usize>, probes: usize) {
    let (began, used) = (Instant::now(), consumer.processor_time());
    let mut writes = writes.subscribe();
    // Until the circuit breaker opened, all writes in flight were retried.
    let most = *writes.borrow() + WRITES_IN_FLIGHT + probes;
    let (mut last, mut paused) = (began, 0);
    while paused < probes {
        with_timeout("a probe of the store", writes.changed()).await.expect("the proxy runs");
        let before = replace(&mut last, Instant::now());
        paused += usize::from(last - before >= PROBE_INTERVAL / 2);
        let written = *writes.borrow();
        assert!(written <= most, "{written} writes in {:?}; at most {most} with {probes} probes", began.elapsed());
    }
    let share = (consumer.processor_time() - used).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < MAX_IDLE_CPU, "a consumer that waited for the store used {share:.2} of a core");
}
