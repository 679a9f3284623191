//! How many webhooks are repeated after a deliverer was killed.

use std::collections::BTreeSet;

use aws_sdk_dynamodbstreams::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{sleep, timeout};

use super::world::{POLL_INTERVAL, World};
use crate::support::program::Signal;
use crate::support::{TIMEOUT, with_timeout};

const CLIENTS: usize = 8;
const EVENTS: usize = 1_000;
/// A checkpoint is stored at least this often.
const CHECKPOINT_RECORDS: usize = 200;

#[tokio::test]
async fn a_killed_deliverer_repeats_only_the_records_after_its_last_checkpoint_which_are_few() {
    let world = World::start(200).await;
    for number in 0..CLIENTS {
        world.route(&format!("client-{number}"), "/all").await;
    }
    let put = async |number: usize| world.put(&format!("client-{}", number % CLIENTS), &number.to_string(), &[]).await;
    iter(0..EVENTS).map(put).buffer_unordered(32).collect::<Vec<()>>().await;
    let numbers = sequence_numbers(&world).await;
    assert_eq!(numbers.len(), EVENTS);
    // Neither the interval nor a renewal of the lease stores a checkpoint during this test.
    let killed = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host());
    let killed = killed.env("EVENT_PIPELINE_CHECKPOINT_INTERVAL", "1m").env("EVENT_PIPELINE_FAILOVER", "5m").start();
    timeout(4 * TIMEOUT, world.receiver.until("/all", EVENTS)).await.expect("webhooks");
    let left = with_timeout("a checkpoint near the end", left_after_checkpoint(&world, &numbers)).await;
    killed.signal(Signal::Kill).await;
    assert_eq!(killed.exit().await.code, None);

    world.put("client-0", "last", &[]).await;
    let _other = world.deliver();
    let received = timeout(4 * TIMEOUT, world.receiver.until("/all", EVENTS + left + 1)).await.expect("webhooks");
    let distinct: BTreeSet<_> = received.iter().map(|request| request.id()).collect();
    assert_eq!((distinct.len(), received.len()), (EVENTS + 1, EVENTS + 1 + left));
}

/// Waits until fewer records are after the checkpoint than make one due. Returns how many.
async fn left_after_checkpoint(world: &World, numbers: &[String]) -> usize {
    loop {
        let checkpoint = world.checkpoint().await;
        let position = numbers.iter().position(|number| Some(number) == checkpoint.as_ref());
        let left = EVENTS - position.map_or(0, |position| position + 1);
        if left < CHECKPOINT_RECORDS {
            return left;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns the sequence numbers of the records of the stream.
async fn sequence_numbers(world: &World) -> Vec<String> {
    let dynamo = &world.servers.dynamo;
    let table = dynamo.client.describe_table().table_name("Events").send().await.expect("the table exists");
    let arn = table.table.and_then(|table| table.latest_stream_arn).expect("the table has a stream");
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&dynamo.endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "tests"));
    let streams = aws_sdk_dynamodbstreams::Client::from_conf(config.build());
    let described = streams.describe_stream().stream_arn(&arn).send().await.expect("the stream exists");
    let shards = described.stream_description.and_then(|stream| stream.shards).unwrap_or_default();
    let [shard] = shards.as_slice() else { panic!("{} shards", shards.len()) };
    let iterator = streams.get_shard_iterator().stream_arn(&arn).set_shard_id(shard.shard_id.clone());
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
    let (mut numbers, mut next) = (Vec::new(), iterator.shard_iterator);
    while let Some(iterator) = next {
        let page = streams.get_records().shard_iterator(iterator).send().await.expect("a page");
        let records = page.records.unwrap_or_default();
        if records.is_empty() {
            break;
        }
        numbers.extend(records.into_iter().filter_map(|record| record.dynamodb?.sequence_number));
        next = page.next_shard_iterator;
    }
    numbers
}
