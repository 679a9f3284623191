//! The table of routes is away while records of the stream are handled.

use std::collections::BTreeSet;

use super::world::World;
use crate::support::refusals::{Refusal, Refusals};

#[tokio::test]
async fn an_event_whose_route_cannot_be_read_waits_for_the_table() {
    let world = World::start(200).await;
    let table = Refusals::start(&world.servers.dynamo.endpoint).await;
    let allowed = world.receiver.host();
    let deliverer = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &allowed);
    let mut deliverer = deliverer.env("AWS_ENDPOINT_URL_DYNAMODB", &table.endpoint).start();
    deliverer.wait_for_line("reading events").await;
    for (client, refusal) in
        [("away", Refusal::Unavailable), ("missing", Refusal::Missing), ("denied", Refusal::Denied)]
    {
        let path = format!("/{client}");
        world.route(client, &path).await;
        table.refuse_all_of("routes", refusal);
        world.put(client, "1", &[]).await;
        // The record is handled more than once meanwhile.
        table.until_refused(3).await;
        assert!(world.receiver.received(&path).is_empty(), "{client}");
        assert!(world.servers.sqs.receive_all("deliver-dlq").await.is_empty(), "{client}");
        table.refuse_nothing();
        world.receiver.wait_for(&path, 1).await;
        world.put(client, "2", &[]).await;
        let received = world.receiver.wait_for(&path, 2).await;
        let ids: BTreeSet<_> = received.iter().map(|request| request.id()).collect();
        assert_eq!((received.len(), ids.len()), (2, 2), "{client}: each event arrives once");
    }
    assert!(world.servers.sqs.receive_all("deliver-dlq").await.is_empty());
    assert_eq!(world.count_waiting().await, 0);
}
