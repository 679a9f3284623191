//! The lease table: every change is conditional, and a refusal contains the row.

use dynamodb_streams::{
    Checkpoint, DynamoDbLeaseTable, Expected, Lease, LeaseTable, LeaseUpdate, Owner, SequenceNumber, ShardId, Updated,
};

use crate::support::dynamo::{Dynamo, item, number, text};
use crate::support::{unique, with_timeout};

async fn lease_table() -> (Dynamo, String, DynamoDbLeaseTable) {
    let (dynamo, name) = (Dynamo::connect(), unique("leases"));
    let table = DynamoDbLeaseTable::new(&dynamo.client, &name);
    with_timeout("a lease table", table.create_if_missing()).await.expect("the lease table is created");
    (dynamo, name, table)
}

fn free(key: &str) -> Lease {
    Lease {
        key: key.to_owned(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::TrimHorizon,
        parent: Some(ShardId::new("shardId-0")),
        children: Vec::new(),
        starting_sequence_number: None,
        handover_to: None,
    }
}

async fn all(table: &DynamoDbLeaseTable) -> Vec<Lease> {
    let (mut leases, mut after) = (Vec::new(), None);
    loop {
        let page = table.scan("s/", after.as_ref()).await.expect("the rows are read");
        leases.extend(page.leases);
        after = page.next;
        if after.is_none() {
            return leases;
        }
    }
}

fn expected(owner: Option<&str>, counter: impl Into<Option<u64>>) -> Expected {
    Expected { owner: owner.map(Owner::new), counter: counter.into() }
}

#[tokio::test]
async fn a_lease_table_that_exists_is_used() {
    let (_, _, table) = lease_table().await;
    table.create_if_missing().await.expect("the table exists");
}

#[tokio::test]
async fn a_row_is_created_once() {
    let (_, _, table) = lease_table().await;
    let first = free("s/1");
    assert_eq!(table.create(&first).await.unwrap(), Updated::Applied(first.clone()));

    let second = Lease { counter: 9, ..first.clone() };
    assert_eq!(table.create(&second).await.unwrap(), Updated::Refused(Some(first)));
}

#[tokio::test]
async fn of_two_changes_with_one_condition_one_is_applied() {
    let (_, _, table) = lease_table().await;
    table.create(&free("s/1")).await.unwrap();
    let take = |owner: &str| LeaseUpdate {
        owner: Some(Some(Owner::new(owner))),
        counter: Some(1),
        handover_to: Some(None),
        ..LeaseUpdate::default()
    };
    let (one, two) = (take("a"), take("b"));
    let is_free = expected(None, 0);
    let (one, two) = tokio::join!(table.update("s/1", &is_free, &one), table.update("s/1", &is_free, &two));
    let rows: Vec<_> = [one.unwrap(), two.unwrap()]
        .into_iter()
        .map(|updated| match updated {
            Updated::Applied(row) => (true, row),
            Updated::Refused(row) => (false, row.expect("the row exists")),
        })
        .collect();
    assert_ne!(rows[0].0, rows[1].0, "{rows:?}");
    assert_eq!(rows[0].1, rows[1].1, "both see the row of the winner");
}

#[tokio::test]
async fn a_change_needs_the_owner_and_the_counter() {
    let (_, _, table) = lease_table().await;
    let row = Lease { owner: Some(Owner::new("a")), counter: 5, ..free("s/1") };
    table.create(&row).await.unwrap();
    let renewal = LeaseUpdate { counter: Some(6), ..LeaseUpdate::default() };

    for other in [expected(Some("b"), 5), expected(Some("a"), 4), expected(None, 5), expected(None, None)] {
        let refused = Updated::Refused(Some(row.clone()));
        assert_eq!(table.update("s/1", &other, &renewal).await.unwrap(), refused, "{other:?}");
        assert_eq!(table.delete("s/1", &other).await.unwrap(), refused, "{other:?}");
    }
    let renewed = Lease { counter: 6, ..row };
    let updated = table.update("s/1", &expected(Some("a"), 5), &renewal).await.unwrap();
    assert_eq!(updated, Updated::Applied(renewed.clone()));
    assert_eq!(table.delete("s/1", &expected(Some("a"), 6)).await.unwrap(), Updated::Applied(renewed));
    assert_eq!(table.scan("s/", None).await.unwrap().leases, []);
}

#[tokio::test]
async fn a_missing_row_is_neither_created_nor_deleted_by_a_change() {
    let (_, _, table) = lease_table().await;
    let renewal = LeaseUpdate { counter: Some(6), ..LeaseUpdate::default() };
    for condition in [expected(Some("a"), 5), expected(None, 0), expected(None, None)] {
        let updated = table.update("s/1", &condition, &renewal).await.unwrap();
        assert_eq!(updated, Updated::Refused(None), "{condition:?}");
        assert_eq!(table.delete("s/1", &condition).await.unwrap(), Updated::Refused(None), "{condition:?}");
    }
    assert_eq!(table.scan("s/", None).await.unwrap().leases, []);
}

#[tokio::test]
async fn a_finished_shard_has_children_and_no_owner() {
    let (_, _, table) = lease_table().await;
    let row = Lease { owner: Some(Owner::new("a")), handover_to: Some(Owner::new("b")), ..free("s/1") };
    table.create(&row).await.unwrap();
    let children = vec![ShardId::new("shardId-2"), ShardId::new("shardId-3")];
    let finish = LeaseUpdate {
        owner: Some(None),
        counter: Some(1),
        owner_switches: Some(0),
        checkpoint: Some(Checkpoint::ShardEnd),
        children: Some(children.clone()),
        handover_to: Some(None),
    };

    let updated = table.update("s/1", &expected(Some("a"), 0), &finish).await.unwrap();

    let finished = Lease { counter: 1, checkpoint: Checkpoint::ShardEnd, children, ..free("s/1") };
    assert_eq!(updated, Updated::Applied(finished.clone()));
    assert_eq!(table.scan("s/", None).await.unwrap().leases, [finished]);
}

#[tokio::test]
async fn attributes_of_other_programs_stay() {
    let (dynamo, name, table) = lease_table().await;
    let row = [("leaseKey", text("s/1")), ("leaseCounter", number(3)), ("checkpoint", text("42"))];
    let mut row = item(row);
    row.insert("throughputKBps".to_owned(), number(7));
    dynamo.put(&name, row).await;

    let update = LeaseUpdate { counter: Some(4), ..LeaseUpdate::default() };
    let updated = table.update("s/1", &expected(None, 3), &update).await.unwrap();

    let Updated::Applied(lease) = updated else { panic!("{updated:?}") };
    assert_eq!(lease.checkpoint, Checkpoint::After(SequenceNumber::new("42")));
    let get = dynamo.client.get_item().table_name(&name).consistent_read(true).key("leaseKey", text("s/1"));
    let stored = get.send().await.expect("the row is read").item.expect("the row exists");
    assert_eq!(stored["throughputKBps"], number(7));
}

#[tokio::test]
async fn a_scan_returns_all_pages_of_one_stream() {
    let (dynamo, name, table) = lease_table().await;
    // A page ends after 1 MB.
    let filler = "x".repeat(390_000);
    for n in 0..4 {
        table.create(&free(&format!("s/shardId-{n}"))).await.unwrap();
        let other = item([("leaseKey", text(format!("other/{n}"))), ("filler", text(&filler))]);
        dynamo.put(&name, other).await;
    }

    let mut keys: Vec<_> = all(&table).await.into_iter().map(|lease| lease.key).collect();

    keys.sort();
    assert_eq!(keys, ["s/shardId-0", "s/shardId-1", "s/shardId-2", "s/shardId-3"]);
}

#[tokio::test]
async fn an_invalid_row_hides_no_other_and_names_its_fault() {
    let (dynamo, name, table) = lease_table().await;
    table.create(&free("s/1")).await.unwrap();
    dynamo.put(&name, item([("leaseKey", text("s/2")), ("leaseCounter", number(1))])).await;

    let keys: Vec<_> = table.scan("s/", None).await.unwrap().leases.into_iter().map(|lease| lease.key).collect();
    assert_eq!(keys, ["s/1"]);
    let error = table.create(&free("s/2")).await.expect_err("the row is not valid").to_string();
    assert!(error.contains("the row s/2") && error.contains("checkpoint"), "{error}");
}

#[tokio::test]
async fn a_missing_table_is_an_error_with_its_code() {
    let dynamo = Dynamo::connect();
    let table = DynamoDbLeaseTable::new(&dynamo.client, unique("leases"));

    let error = table.scan("s/", None).await.expect_err("there is no table").to_string();
    assert!(error.contains("ResourceNotFoundException"), "{error}");
    let create = table.create(&free("s/1")).await.expect_err("there is no table").to_string();
    assert!(create.contains("ResourceNotFoundException"), "{create}");
}
