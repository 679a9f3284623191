//! Streams: their limits of messages and bytes, their errors, and acks that the server does not receive.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::faults::{AckFault, Answer, Script, StreamEvent};
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::policy::STARTUP;
use crate::consumer::ports::Restart;
use crate::consumer::settings::Settings;

const PERMANENT: [Restart; 4] = [Restart::NotFound, Restart::Refused, Restart::NoCredentials, Restart::Invalid];

/// Returns the number of messages that are delivered while the store does not answer.
async fn delivered_without_an_answer(settings: Settings, ignores_limits: bool) -> usize {
    let world = World::new();
    world.state().subscription.ignores_limits = ignores_limits;
    world.store(|_| Answer::Hang { written: false });
    world.publish((1..=4000).map(|port| scan(10_000 + port, 5)));
    let instance = Instance::new(&world, settings);
    instance
        .during(async {
            sleep(Duration::from_secs(10)).await;
            world.state().subscription.deliveries.len()
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_stream_delivers_its_share_of_max_outstanding_and_a_thousand_more() {
    let bounds = Settings { consumers: n(2), max_outstanding: n(20), ..settings() };
    assert_eq!(delivered_without_an_answer(bounds, false).await, 2 * 1010);
}

#[tokio::test(start_paused = true)]
async fn streams_deliver_at_most_max_outstanding_bytes_and_one_message_each() {
    for consumers in [1, 3] {
        let bounds = Settings { consumers: n(consumers), max_outstanding_bytes: 9000, ..settings() };
        let delivered = delivered_without_an_answer(bounds, false).await;
        let bytes = delivered * scan(10_001, 5).payload(1000).len();
        assert!((8000..9500).contains(&bytes), "{bytes} bytes on {consumers} streams");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_reads_at_most_twice_its_limit_from_a_server_that_ignores_limits() {
    let bounds = Settings { max_outstanding: n(10), ..settings() };
    let delivered = delivered_without_an_answer(bounds, true).await;
    assert!((2 * 1010..=2 * 1010 + 10).contains(&delivered), "{delivered} delivered");
}

/// Lets the streams of one worker end, each at its opening, and returns the error of the worker.
async fn error_of(stream_fault: impl FnMut(StreamEvent) -> Option<Restart> + Send + 'static) -> Option<String> {
    let world = World::new();
    world.state().subscription.stream_fault = Script::new(stream_fault);
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let stop = async {
        world.acked(1).await;
        instance.process.drain.request(Duration::ZERO);
        std::future::pending::<()>().await;
    };
    let ends = tokio::select! {
        ends = instance.work() => ends,
        () = stop => unreachable!("it never ends"),
    };
    ends.into_iter().find_map(Result::err).map(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_of_a_stream_ends_the_program_only_soon_after_its_start_and_before_any_message() {
    for cause in PERMANENT {
        assert_eq!(error_of(move |_| Some(cause)).await.as_deref(), Some(cause.name()));
        let late = move |stream: StreamEvent| match stream.at {
            at if at < STARTUP => Some(Restart::Unreachable),
            at if at < 2 * STARTUP => Some(cause),
            _ => None,
        };
        assert_eq!(error_of(late).await, None, "{cause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_errors_of_a_stream_never_end_the_program() {
    for cause in Restart::ALL.into_iter().filter(|cause| !PERMANENT.contains(cause)) {
        let for_a_minute = move |stream: StreamEvent| (stream.at < Duration::from_secs(60)).then_some(cause);
        assert_eq!(error_of(for_a_minute).await, None, "{cause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_revoked_for_a_minute_after_the_first_message_does_not_end_the_program() {
    let world = World::new();
    let revoked = Duration::from_secs(1)..Duration::from_secs(61);
    let fault =
        move |stream: StreamEvent| (stream.received > 0 && revoked.contains(&stream.at)).then_some(Restart::Refused);
    world.state().subscription.stream_fault = Script::new(fault);
    let script = async {
        for port in 1..=10 {
            world.publish([scan(port, 5)]);
            sleep(Duration::from_millis(300)).await;
        }
        assert!(world.state().subscription.acked() < 10);
        timeout(Duration::from_secs(60), world.acked(10)).await.expect("acked after the minute");
    };
    Instance::new(&world, settings()).during(script).await;
}

/// Lets the first ack of each message have a fault.
fn fail_first_acks(world: &World, fault: AckFault) {
    let mut failed = std::collections::BTreeSet::new();
    world.state().subscription.ack_fault =
        Script::new(move |message| if failed.insert(message) { fault } else { AckFault::None });
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_ack_is_lost_is_acked_again_and_changes_nothing() {
    for cache_entries in [0, 1000] {
        let world = World::new();
        fail_first_acks(&world, AckFault::Lost(Duration::from_secs(10)));
        world.publish([scan(1, 5), broken()]);
        let instance = Instance::new(&world, Settings { cache_entries, ..settings() });
        instance.during(world.acked(2)).await;
        let metrics = instance.metrics.snapshot();
        assert_eq!((metrics.stored, metrics.stale, metrics.dead_lettered), (1, 1, 2));
        let state = world.state();
        assert_eq!(state.subscription.settled(Settlement::Ack), 4);
        assert_eq!(state.table.rows[&1].response, "message 0");
        assert_eq!(state.topic.reasons(), ["malformed_json"; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_redelivered_after_its_ack_does_not_replace_a_newer_scan() {
    let world = World::new();
    fail_first_acks(&world, AckFault::RedeliverAfter(Duration::from_secs(10)));
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, Settings { cache_entries: 0, ..settings() });
    let script = async {
        world.acked(1).await;
        world.publish([scan(1, 6)]);
        world.until("both settled twice", |state| state.subscription.settled(Settlement::Ack) == 4).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.rows[&1].response, "message 1");
    assert!(world.state().topic.calls.is_empty());
}
