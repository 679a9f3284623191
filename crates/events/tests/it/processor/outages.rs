//! The table or the program is away.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::world::{World, attribute, get, http_address, metric, text, until_ready};
use super::{TIME, event};
use crate::support::program::Signal;
use crate::support::with_timeout;

/// As long as the visibility of the processors in [`World`].
const VISIBILITY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_outage_of_the_table_costs_no_receives_and_a_stop_in_it_returns_the_messages() {
    const EVENTS: usize = 25;
    let world = World::start().await;
    let flags = ["--http-listen", "127.0.0.1:0", "--shutdown-grace", "1s"];
    let mut processor = world.processor(&flags).start();
    let address = http_address(&mut processor).await;
    until_ready(&address, true).await;
    let began = Instant::now();
    world.proxy.set_open(false);
    for number in 0..EVENTS {
        world.send(&event(&number.to_string()), &[]).await;
    }
    world.until_count(0, EVENTS).await;
    until_ready(&address, false).await;
    let (_, page) = get(&address, "/readyz").await;
    assert!(page.contains("storing events"), "{page}");
    // The visibility is extended meanwhile, or else the messages come again.
    sleep((began + VISIBILITY + Duration::from_secs(2)).saturating_duration_since(Instant::now())).await;
    world.proxy.set_open(true);
    world.until_empty().await;
    until_ready(&address, true).await;
    assert_eq!(world.items().await.len(), EVENTS);
    let count = async |name| metric(&address, name).await;
    assert_eq!(count("event_pipeline_received_total").await, EVENTS as f64);
    assert_eq!(count("event_pipeline_redelivered_total").await, 0.0);
    assert_eq!(count("event_pipeline_visibility_lost_total").await, 0.0);

    world.proxy.set_open(false);
    for number in 0..EVENTS {
        world.send(&event(&format!("second-{number}")), &[]).await;
    }
    world.until_count(0, EVENTS).await;
    processor.signal(Signal::Terminate).await;
    let exit = processor.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(world.count().await, (EVENTS, 0));
    let expected = format!("Stored: {EVENTS}, duplicates: 0, dead letters: 0, returned: {EVENTS}");
    assert!(exit.output.stdout.join("\n").contains(&expected), "{exit:#?}");
}

#[tokio::test]
async fn an_event_whose_processor_was_killed_before_its_dispatch_is_dispatched_by_another_one() {
    let world = World::start().await;
    // It accepts connections, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = silent.local_addr().expect("a bound listener").to_string();
    world.set_route("acme", &format!("http://{target}/")).await;
    let flags = ["--direct-dispatch", "--allow-http", "--allow-target", &target];
    let direct = world.processor(&flags).start();
    world.send(&event("1"), &[]).await;
    let items = world.until_stored(1).await;
    assert_eq!(text(&items[0], "dispatch"), "direct");
    direct.signal(Signal::Kill).await;
    assert_eq!(direct.exit().await.code, None);
    assert_eq!(world.count().await, (0, 1), "the message waits for its visibility");
    world.remove_route("acme").await;

    let _other = world.processor(&[]).start();

    let dead = async {
        loop {
            let dead = world.servers.sqs.receive_all("deliver-dlq").await;
            if let Some(dead) = dead.into_iter().next() {
                return dead;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let dead = with_timeout("a dead letter without a route", dead).await;
    assert_eq!(attribute(&dead, "reason"), Some("no_route"));
    assert_eq!((attribute(&dead, "event_id"), attribute(&dead, "event_time")), (Some("1"), Some(TIME)));
    world.until_empty().await;
    assert_eq!(world.items().await.len(), 1);
}

#[tokio::test]
async fn a_killed_processor_loses_no_event() {
    const EVENTS: usize = 200;
    let world = World::start().await;
    let killed = world.processor(&[]).start();
    for number in 0..EVENTS {
        world.send(&event(&number.to_string()), &[]).await;
    }
    world.until_stored(20).await;
    killed.signal(Signal::Kill).await;
    assert_eq!(killed.exit().await.code, None);
    let _other = world.processor(&[]).start();
    world.until_empty().await;
    assert_eq!(world.items().await.len(), EVENTS);
    assert!(world.dead_letters().await.is_empty());
}
