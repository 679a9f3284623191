use super::*;

fn full() -> Lease {
    Lease {
        key: "scans/shardId-1".to_owned(),
        owner: Some(Owner::new("host-1/0a")),
        counter: 7,
        owner_switches: 2,
        checkpoint: Checkpoint::After(SequenceNumber::new("100000000000000000042")),
        parent: Some(ShardId::new("shardId-0")),
        children: vec![ShardId::new("shardId-2"), ShardId::new("shardId-3")],
        starting_sequence_number: Some(SequenceNumber::new("100000000000000000001")),
        handover_to: Some(Owner::new("host-2/0b")),
    }
}

#[test]
fn a_row_is_read_as_it_was_written() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let checkpoints = [
        Checkpoint::TrimHorizon,
        Checkpoint::AtTimestamp(start),
        Checkpoint::After(SequenceNumber::new("9".repeat(40))),
        Checkpoint::ShardEnd,
    ];
    for checkpoint in checkpoints {
        for lease_of in [full(), Lease::new("scans/".to_owned(), Checkpoint::TrimHorizon)] {
            let lease_of = Lease { checkpoint: checkpoint.clone(), ..lease_of };
            assert_eq!(lease(&item(&lease_of)).unwrap(), lease_of);
        }
    }
}

#[test]
fn a_row_has_the_names_and_types_of_kcl() {
    let item = item(&full());
    let strings = |name: &str| item[name].as_ss().unwrap().join(" ");
    assert_eq!(item["leaseKey"], text("scans/shardId-1"));
    assert_eq!(item["leaseOwner"], text("host-1/0a"));
    assert_eq!(item["leaseCounter"], number(7));
    assert_eq!(item["ownerSwitchesSinceCheckpoint"], number(2));
    assert_eq!(item["checkpoint"], text("100000000000000000042"));
    assert_eq!(item["checkpointSubSequenceNumber"], number(0));
    assert_eq!(strings("parentShardId"), "shardId-0");
    assert_eq!(strings("childShardIds"), "shardId-2 shardId-3");
}

#[test]
fn a_row_of_something_else_is_invalid() {
    for (name, value) in [
        ("leaseCounter", None),
        ("leaseCounter", Some(text("7"))),
        ("checkpoint", None),
        ("checkpoint", Some(text("LATEST"))),
        ("checkpoint", Some(text(""))),
        // Without `startTimestamp`.
        ("checkpoint", Some(text("AT_TIMESTAMP"))),
    ] {
        let mut item = item(&full());
        item.remove(name);
        item.extend(value.map(|value| (name.to_owned(), value)));
        let error = lease(&item).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the row scans/shardId-1 of the lease table is not valid, because {name}")));
    }
}

#[test]
fn each_change_is_conditional_on_owner_and_counter() {
    let owned = Expected { owner: Some(Owner::new("host-1/0a")), counter: Some(7) };
    let condition = "attribute_exists(#leaseKey) AND #leaseOwner = :expectedOwner AND #leaseCounter = :expectedCounter";
    assert_eq!(expected(&owned).condition(), condition);
    let free = Expected { owner: None, counter: Some(7) };
    let condition =
        "attribute_exists(#leaseKey) AND attribute_not_exists(#leaseOwner) AND #leaseCounter = :expectedCounter";
    assert_eq!(expected(&free).condition(), condition);
    assert_eq!(absent().condition(), "attribute_not_exists(#leaseKey)");
    assert_eq!(absent().some_values(), None);
}

#[test]
fn a_change_sets_and_removes_only_what_it_names() {
    let owned = Expected { owner: Some(Owner::new("host-1/0a")), counter: Some(7) };
    let update = LeaseUpdate {
        owner: Some(None),
        counter: Some(8),
        checkpoint: Some(Checkpoint::ShardEnd),
        children: Some(Vec::new()),
        handover_to: Some(None),
        ..LeaseUpdate::default()
    };
    let expression = change(&owned, &update);
    assert_eq!(
        expression.update().unwrap(),
        "SET #leaseCounter = :leaseCounter, #checkpoint = :checkpoint, \
         #checkpointSubSequenceNumber = :checkpointSubSequenceNumber \
         REMOVE #leaseOwner, #startTimestamp, #childShardIds, #handoverTo"
    );
    assert_eq!(change(&owned, &LeaseUpdate::default()).update(), None);
}
