//! Readers of one stream: order, takeover, handover, starts, and what goes wrong.

use std::time::{Duration, SystemTime};

use dynamodb_streams::{Checkpoint, Ended, GapCause, SequenceNumber, Settings, Start};
use tokio::time::sleep;

use super::source::{Source, settings};
use crate::support::QUIET_PERIOD;
use crate::support::dynamo::text;
use crate::support::servers::DynamoServer;

/// A position before the first record. The servers refuse it in different ways.
const TOO_OLD: &str = "000000000000000000001";
/// DynamoDB Local notes the times of records in minutes.
const TWO_MINUTES: Duration = Duration::from_secs(120);

#[expect(clippy::disallowed_methods, reason = "a start is compared with times of the server, which is on this machine")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[tokio::test]
async fn one_reader_handles_each_record_once_and_in_order() {
    let source = Source::new().await;
    source.write(0..50).await;

    let reader = source.start("a").await;
    source.events.handled(0..50).await;
    source.write(50..100).await;
    source.events.handled(50..100).await;
    reader.stop().await;

    assert_eq!(source.gaps(), []);
    let noted = source.events.noted();
    assert_eq!(noted.handled.len(), 100);
    noted.assert_order();
}

#[tokio::test]
async fn when_one_of_three_readers_is_killed_another_repeats_its_unfinished_records() {
    let source = Source::new().await;
    let mut readers = [("a", source.start("a").await), ("b", source.start("b").await), ("c", source.start("c").await)]
        .into_iter()
        .collect::<Vec<_>>();
    source.events.noted().stuck = Some(40);
    source.write(0..50).await;
    source.events.wait_until("all records that are not stuck", |noted| noted.handled.len() == 48).await;
    source.checkpoint_at(39).await;

    let owner = source.events.noted().handled[0].0.clone();
    let killed = readers.iter().position(|(name, _)| *name == owner).expect("a reader of this test");
    readers.remove(killed).1.kill();
    source.events.handled(0..50).await;

    for (_, reader) in readers {
        reader.stop().await;
    }
    let noted = source.events.noted();
    noted.assert_order();
    assert_eq!(noted.taken.len(), 2, "{:?}", noted.taken);
    assert_ne!(noted.taken[1], owner);
    assert!((0..40).all(|number| noted.times(number) == 1), "a finished record was repeated: {:?}", noted.handled);
}

#[tokio::test]
async fn a_stopped_reader_hands_over_without_a_repeated_record() {
    let source = Source::new().await;
    let first = source.start("a").await;
    source.write(0..20).await;
    source.events.handled(0..20).await;
    let second = source.start("b").await;

    first.stop().await;
    source.write(20..40).await;
    source.events.handled(20..40).await;
    second.stop().await;

    let noted = source.events.noted();
    assert_eq!(noted.taken, ["a", "b"]);
    assert_eq!(noted.handled.len(), 40);
    noted.assert_order();
}

#[tokio::test]
async fn an_owner_hands_over_to_the_instance_that_asks() {
    let source = Source::new().await;
    let reader = source.start("a").await;
    source.write(0..20).await;
    source.events.handled(0..20).await;

    source.set("handoverTo", "another").await;
    source.events.wait_until("a released lease", |noted| !noted.released.is_empty()).await;
    let row = source.row().await.expect("the shard has a row");
    assert_eq!((&row["leaseOwner"], row.get("handoverTo")), (&text("another"), None));

    // The other instance does not exist, so its lease expires.
    source.write(20..40).await;
    source.events.handled(20..40).await;
    reader.stop().await;
    let noted = source.events.noted();
    assert_eq!(noted.released, [Some("another".to_owned()), None]);
    assert_eq!(noted.handled.len(), 40, "the last write contained the checkpoint");
}

#[tokio::test]
async fn a_restarted_reader_continues_at_its_checkpoint() {
    let source = Source::new().await;
    let reader = source.start("a").await;
    source.write(0..10).await;
    source.events.handled(0..10).await;
    reader.stop().await;
    source.write(10..20).await;

    let reader = source.start("a").await;
    source.events.handled(10..20).await;
    reader.stop().await;

    assert_eq!(source.events.noted().handled.len(), 20);
    assert_eq!(source.gaps(), []);
}

#[tokio::test]
async fn records_before_the_start_are_skipped() {
    let source = Source::new().await;
    source.write(0..10).await;

    let reader = source.start_with("a", Settings { start: Start::At(now() + TWO_MINUTES), ..settings() }).await;
    source.checkpoint_after_start().await;
    reader.stop().await;
    assert_eq!(source.events.noted().handled, []);

    let reader = source.start("b").await;
    source.write(10..20).await;
    source.events.handled(10..20).await;
    reader.stop().await;
    assert_eq!(source.events.noted().handled.len(), 10);
}

#[tokio::test]
async fn records_after_the_start_are_handled() {
    let source = Source::new().await;
    source.write(0..10).await;

    let reader = source.start_with("a", Settings { start: Start::At(now() - TWO_MINUTES), ..settings() }).await;
    source.events.handled(0..10).await;
    reader.stop().await;

    assert_eq!(source.events.noted().handled.len(), 10);
}

#[tokio::test]
async fn a_disabled_stream_is_read_to_its_end() {
    let source = Source::new().await;
    if source.dynamo.skips(DynamoServer::Dynoxide, "the records of a disabled stream stay readable") {
        return;
    }
    let reader = source.start("a").await;
    source.write(0..10).await;
    source.events.handled(0..10).await;

    source.disable().await;
    source.events.wait_until("a finished shard", |noted| noted.disabled && noted.finished == 1).await;
    assert_eq!(reader.end().await, Ended::StreamEnded);

    assert_eq!(source.row().await.expect("the shard has a row")["checkpoint"], text("SHARD_END"));
    assert_eq!(source.events.noted().handled.len(), 10);
}

#[tokio::test]
async fn an_owner_restores_a_row_that_was_deleted_by_hand() {
    let source = Source::new().await;
    let reader = source.start("a").await;
    source.write(0..10).await;
    source.events.handled(0..10).await;
    source.checkpoint_at(9).await;

    source.delete_row().await;
    source.events.wait_until("a restored row", |noted| noted.restored == 1).await;
    source.checkpoint_at(9).await;
    source.write(10..20).await;
    source.events.handled(10..20).await;
    reader.stop().await;

    assert_eq!(source.events.noted().handled.len(), 20);
}

#[tokio::test]
async fn a_shard_whose_row_was_deleted_without_an_owner_is_read_from_its_start_again() {
    let source = Source::new().await;
    let reader = source.start("a").await;
    source.write(0..10).await;
    source.events.handled(0..10).await;
    reader.stop().await;
    source.delete_row().await;

    let reader = source.start("b").await;
    let all_twice = |noted: &super::source::Noted| (0..10).all(|number| noted.times(number) == 2);
    source.events.wait_until("all records again", all_twice).await;
    reader.stop().await;

    assert_eq!(source.gaps(), []);
}

#[tokio::test]
async fn a_record_that_fails_for_ever_is_dead_and_holds_up_no_other() {
    let source = Source::new().await;
    source.events.noted().poison = Some(3);
    source.write(0..20).await;

    let reader = source.start("a").await;
    source.events.wait_until("a dead record", |noted| noted.dead == [3]).await;
    source.events.wait_until("the other records", |noted| noted.handled.len() == 19).await;
    source.checkpoint_at(19).await;
    reader.stop().await;

    source.events.noted().assert_order();
}

#[tokio::test]
async fn a_checkpoint_that_the_stream_lacks_is_reported_as_a_gap() {
    let source = Source::new().await;
    let reader = source.start("a").await;
    source.write(0..10).await;
    source.events.handled(0..10).await;
    reader.stop().await;
    source.set("checkpoint", TOO_OLD).await;

    let reader = source.start("b").await;
    source.events.wait_until("all records again", |noted| noted.handled.len() >= 20).await;
    sleep(QUIET_PERIOD).await;
    reader.stop().await;

    let gaps = source.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].after, Checkpoint::After(SequenceNumber::new(TOO_OLD)));
    assert_eq!(gaps[0].cause, GapCause::Trimmed);
    let noted = source.events.noted();
    assert_eq!(noted.numbers()[10..], (0..10).collect::<Vec<_>>());
}
