//! `mini-scan changes`: what it stores for each change of the table, and how it starts, stops and fails.

mod history;

use mini_scan::changes::{Event, Reason};
use tokio::time::sleep;

use crate::support::dynamo::{item, number, text, time_to_live};
use crate::support::local_dynamo::LocalDynamo;
use crate::support::program::Signal;
use crate::support::{POLL_INTERVAL, unique, with_timeout};
use history::{Setup, scan};

/// The instance has the lease of the shard.
const READING: &str = "took a lease";

#[tokio::test]
async fn a_service_that_opens_changes_and_closes_has_three_entries() {
    let setup = Setup::new().await;
    let _changes = setup.start().await;
    setup.put(scan(100, "hello")).await;
    setup.put(scan(101, "HTTP/1.1 200 OK\r\nDate: today\r\n\r\nbye")).await;
    setup.put(scan(102, "HTTP/1.1 200 OK\r\nDate: tomorrow\r\n\r\nbye")).await;
    setup.delete().await;

    let entries = setup.entries(3).await;

    let found: Vec<_> = entries.iter().map(|entry| (entry.number, entry.event, entry.reason)).collect();
    let closed = (Some(3), Event::Closed, Some(Reason::Deleted));
    assert_eq!(found, [(Some(1), Event::Opened, None), (Some(2), Event::Changed, None), closed]);
    assert_eq!((entries[0].key.time, entries[1].key.time), (100, 101));
    assert!(entries[2].key.time > 102 && entries[2].old_timestamp == Some(102));
    let difference = entries[1].difference.clone().and_then(|difference| difference.text).expect("a difference");
    assert!(difference.contains("-hello") && difference.contains("+bye"), "{difference}");
    let summary = setup.summary().await;
    assert_eq!((summary.changes, summary.is_open, summary.first_seen()), (3, false, Some((100, true))));
}

#[tokio::test]
async fn a_record_that_is_removed_after_its_time_to_live_has_expired() {
    let setup = Setup::new().await;
    let _changes = setup.start().await;
    let mut row = scan(100, "hello");
    row.insert("expires_at".to_owned(), number(200));
    setup.put(row).await;
    setup.delete().await;

    let entries = setup.entries(2).await;

    assert_eq!((entries[1].reason, entries[1].record_expired_at), (Some(Reason::Expired), Some(200)));
}

#[tokio::test]
async fn the_history_shows_what_the_local_dynamodb_removes_after_its_time_to_live() {
    let local = LocalDynamo::start().await;
    let setup = Setup::on(local.dynamo.clone()).await;
    let ttl = local.dynamo.client.update_time_to_live().table_name(&setup.scans);
    ttl.time_to_live_specification(time_to_live("expires_at")).send().await.expect("items expire");
    let _changes = setup.start().await;
    let mut row = scan(100, "hello");
    row.insert("expires_at".to_owned(), number(200));
    setup.put(row).await;

    let entries = setup.entries(2).await;

    assert_eq!((entries[0].event, entries[1].reason), (Event::Opened, Some(Reason::Expired)));
}

#[tokio::test]
async fn only_hashes_are_kept_if_asked() {
    let setup = Setup::new().await;
    let _changes = setup.start_with(&["--responses", "hash"]).await;
    setup.put(scan(100, "hello")).await;

    let entries = setup.entries(1).await;

    assert_eq!((&entries[0].body, entries[0].response_size), (&None, Some(5)));
    assert!(entries[0].response_hash.is_some());
}

#[tokio::test]
async fn a_row_that_is_no_record_becomes_a_dead_letter_and_others_go_on() {
    let setup = Setup::new().await;
    let mut changes = setup.start().await;
    setup.put(item([("pk", text("1.1.1.1#80#HTTP")), ("more", text("unreadable"))])).await;
    setup.put(item([("pk", text("no key of a scan"))])).await;
    setup.put_other(scan(100, "hello")).await;

    changes.wait_for_line("its dead letter is stored").await;

    let dead = setup.items("dead").await;
    assert_eq!(dead.len(), 1);
    let images = dead[0]["images"].as_s().expect("a text");
    assert!(images.contains("unreadable") && dead[0].contains_key("reason"), "{dead:?}");
    setup.other_entries(1).await;
    assert_eq!(setup.entries(0).await, []);

    let listed = setup.dead(&["list"]).run().await;
    assert_eq!((listed.code, listed.output.stdout.len()), (Some(0), 2), "{listed:#?}");
    assert!(listed.output.stdout[1].starts_with("1.1.1.1#80#HTTP"), "{listed:#?}");
    let young = setup.dead(&["purge", "--older-than", "1h", "--yes"]).run().await;
    assert_eq!((young.code, &*young.output.stdout), (Some(0), &["Purge finished. Deleted: 0, left: 0".to_owned()][..]));
    let dry = setup.dead(&["purge", "--all", "--dry-run"]).run().await;
    assert_eq!((dry.code, &*dry.output.stdout), (Some(0), &["Dry run finished. Would be deleted: 1".to_owned()][..]));
    assert_eq!(setup.dead(&["purge", "--all"]).run().await.code, Some(2), "nobody can confirm it");
    assert_eq!(setup.items("dead").await.len(), 1);
    let purged = setup.dead(&["purge", "--all", "--yes"]).run().await;
    assert_eq!(
        (purged.code, &*purged.output.stdout),
        (Some(0), &["Purge finished. Deleted: 1, left: 0".to_owned()][..])
    );
    assert_eq!(setup.items("dead").await, []);
}

#[tokio::test]
async fn a_deleted_lease_is_restored_and_repeated_records_change_nothing() {
    let setup = Setup::new().await;
    let mut changes = setup.start().await;
    setup.put(scan(100, "a")).await;
    setup.put(scan(101, "b")).await;
    let before = setup.entries(2).await;
    changes.signal(Signal::Terminate).await;
    let exit = changes.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    setup.delete_leases().await;

    changes = setup.start().await;
    setup.put(scan(102, "c")).await;

    let entries = setup.entries(3).await;
    assert_eq!(entries[..2], before);
    assert_eq!(entries[2].number, Some(3));
    drop(changes);
}

#[tokio::test]
async fn a_stopped_instance_drains_and_the_next_one_continues() {
    let setup = Setup::new().await;
    let changes = setup.start().await;
    setup.put(scan(100, "a")).await;
    setup.entries(1).await;

    changes.signal(Signal::Terminate).await;
    let exit = changes.exit().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert!(exit.output.stdout.iter().any(|line| line.contains("Changes stopped")), "{exit:#?}");
    setup.put(scan(101, "b")).await;
    let _changes = setup.start().await;
    assert_eq!(setup.entries(2).await[1].number, Some(2));
}

#[tokio::test]
async fn nothing_is_lost_when_one_of_two_instances_is_killed() {
    let setup = Setup::new().await;
    let one = setup.start_with(&["--failover", "2s"]).await;
    let _other = setup.launch(&["--failover", "2s"]).start();
    setup.put(scan(100, "1")).await;
    setup.entries(1).await;

    one.signal(Signal::Kill).await;
    for n in 1..30 {
        setup.put(scan(100 + n, &n.to_string().repeat(2))).await;
    }

    let numbers: Vec<_> = setup.entries(30).await.into_iter().filter_map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_metrics_show_records_lag_and_leases() {
    let setup = Setup::new().await;
    let launch = setup.launch(&["--http-listen", "127.0.0.1:0"]).without_env("MINI_SCAN_HTTP_LISTEN");
    let mut changes = launch.start();
    let line = changes.wait_for_line("serving http://").await;
    let (_, rest) = line.split_once("http://").expect("an address");
    let address = rest.split_once('/').expect("a path").0.to_owned();
    setup.put(scan(100, "a")).await;
    setup.entries(1).await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://{address}{path}")).await.expect("the instance answers");
        (response.status().as_u16(), response.text().await.expect("a text"))
    };

    let lines = ["mini_scan_changes_records_total{result=\"opened\"} 1", "mini_scan_changes_leases{state=\"owned\"} 1"];
    let polling = async {
        loop {
            let (_, page) = get("/metrics").await;
            if lines.iter().all(|line| page.lines().any(|other| other == *line)) && page.contains("lag_seconds{shard=")
            {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout("the metrics", polling).await;
    assert_eq!(get("/readyz").await.0, 200);
    assert_eq!(get("/livez").await.0, 200);
}

#[tokio::test]
async fn an_outage_of_the_history_makes_the_instance_unready_and_loses_nothing() {
    let setup = Setup::new().await;
    let mut changes = setup.start().await;
    setup.put(scan(100, "a")).await;
    setup.entries(1).await;

    setup.dynamo.client.delete_table().table_name(&setup.history).send().await.expect("the table is deleted");
    setup.put(scan(101, "b")).await;
    changes.wait_for_line("unhealthy: history table").await;
    setup.create_history().await;

    changes.wait_for_line("recovered: history table").await;
    assert_eq!(setup.entries(1).await[0].event, Event::Changed);
}

#[tokio::test]
async fn a_new_stream_is_read_from_its_start_and_a_gap_is_stored() {
    let setup = Setup::new().await;
    let changes = setup.start().await;
    setup.put(scan(100, "a")).await;
    setup.entries(1).await;
    changes.signal(Signal::Terminate).await;
    changes.exit().await;
    // A stream of a table that was created again, as far as this one can tell.
    setup.rename_leases("2000-01-01T00:00:00.000").await;

    let mut changes = setup.launch(&["--start", "latest"]).start();
    changes.wait_for_line("the table has a new stream").await;

    changes.wait_for_line(READING).await;
    let gaps = setup.items("gaps").await;
    // DynamoDB Local shows another start of an empty shard after writes to other tables, which looks like a gap.
    let of_streams = gaps.iter().filter(|gap| gap["cause"] == text("new_stream"));
    assert_eq!(of_streams.count(), 1, "{gaps:?}");
    setup.put(scan(101, "b")).await;
    setup.entries(2).await;
}

#[tokio::test]
async fn a_new_stream_without_leases_of_the_one_before_leaves_a_gap() {
    let setup = Setup::new().await;
    let changes = setup.start().await;
    changes.signal(Signal::Terminate).await;
    changes.exit().await;
    setup.delete_leases().await;
    let update = setup.dynamo.client.update_item().table_name(&setup.history).key("ip", text("meta"));
    let update = update.key("entry", text("table")).update_expression("SET #stream = :stream");
    let update = update.expression_attribute_names("#stream", "stream");
    update.expression_attribute_values(":stream", text("2000")).send().await.expect("the label is stored");

    let mut changes = setup.launch(&[]).start();
    changes.wait_for_line("the table has a new stream").await;

    changes.wait_for_line(READING).await;
    let gaps = setup.items("gaps").await;
    assert!(gaps.iter().any(|gap| gap["after"] == text("stream 2000")), "{gaps:?}");
}

/// With the commands of the runbook, "Restoring from a backup".
#[tokio::test]
async fn a_history_is_continued_on_a_table_that_was_restored_under_another_name() {
    let setup = Setup::new().await;
    let changes = setup.start().await;
    setup.put(scan(100, "a")).await;
    setup.entries(1).await;
    changes.signal(Signal::Terminate).await;
    changes.exit().await;
    let restored = setup.dynamo.table().await;
    let update = setup.dynamo.client.update_item().table_name(&setup.history).key("ip", text("meta"));
    let update = update.key("entry", text("table")).update_expression("SET #table = :name");
    let update = update.expression_attribute_names("#table", "table");
    update.expression_attribute_values(":name", text(&restored)).send().await.expect("the owner is changed");

    let mut changes = setup.of_table(&restored).start();
    changes.wait_for_line("the table has a new stream").await;
    changes.wait_for_line(READING).await;

    setup.dynamo.put(&restored, scan(101, "b")).await;
    let entries = setup.entries(2).await;
    // A replay inserts rows that the backup lacks, so services open again.
    assert_eq!((entries[1].number, entries[1].event), (Some(2), Event::Opened));
}

#[tokio::test]
async fn the_start_is_refused_without_a_stream_or_with_the_history_of_another_table() {
    let setup = Setup::new().await;
    let other = unique("scans");
    setup.dynamo.create(&other).set_stream_specification(None).send().await.expect("the table is created");
    let exit = setup.of_table(&other).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.output.stderr.iter().any(|line| line.contains("has no stream")), "{exit:#?}");

    let changes = setup.start().await;
    drop(changes);
    let exit = setup.of_table(&setup.dynamo.table().await).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let text = exit.output.stderr.join(" ");
    assert!(text.contains("is the history of table") && text.contains("setup changes"), "{text}");
}
