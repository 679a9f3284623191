use super::*;
use crate::sequence_number::SequenceNumber;

const FAILOVER: Duration = Duration::from_secs(10);

fn number(number: u64) -> SequenceNumber {
    SequenceNumber::new(number.to_string())
}

fn me() -> Owner {
    Owner::new("me")
}

fn row(owner: &str, counter: u64, checkpoint: Checkpoint) -> Lease {
    Lease { owner: Some(Owner::new(owner)), counter, ..Lease::new("s/1".into(), checkpoint) }
}

fn owned(now: Instant) -> OwnedLease {
    let (checkpoint_interval, checkpoint_records) = (Duration::from_secs(1), 100);
    let settings = Settings { failover: FAILOVER, checkpoint_interval, checkpoint_records, ..Settings::default() };
    OwnedLease::new(row("me", 4, Checkpoint::TrimHorizon), me(), now, &settings)
}

/// One record is finished.
fn at(last: &SequenceNumber) -> Option<Finished<'_>> {
    Some(Finished { last, records: 1 })
}

fn update(request: Option<Request>) -> (Expected, LeaseUpdate) {
    match request {
        Some(Request::Update(expected, update)) => (expected, update),
        other => panic!("expected an update, got {other:?}"),
    }
}

/// Applies an update to the row, as the table does.
fn applied(owned: &OwnedLease, update: &LeaseUpdate) -> Updated {
    let mut row = owned.lease().clone();
    row.counter = update.counter.unwrap();
    row.checkpoint = update.checkpoint.clone().unwrap_or(row.checkpoint);
    row.owner = update.owner.clone().unwrap_or(row.owner);
    Updated::Applied(row)
}

#[test]
fn renews_three_times_per_failover_on_condition_of_owner_and_counter() {
    let start = Instant::now();
    let mut owned = owned(start);
    assert_eq!(owned.write(start + FAILOVER / 4, None, &Intent::Keep), None);
    let sent = start + FAILOVER / 3;
    let (expected, update) = update(owned.write(sent, None, &Intent::Keep));
    assert_eq!(expected, Expected { owner: Some(me()), counter: Some(4) });
    assert_eq!((update.counter, update.owner.clone(), update.checkpoint.clone()), (Some(5), None, None));
    assert_eq!(owned.next_write(None, &Intent::Keep), None, "one write at a time");
    let answer = applied(&owned, &update);
    assert_eq!(owned.answer(answer), Step::Kept { stored: None, is_restored: false });
    assert_eq!(owned.expires(), sent + FAILOVER, "the time of sending counts, not that of the answer");
}

#[test]
fn a_checkpoint_is_a_renewal() {
    let start = Instant::now();
    let mut owned = owned(start);
    let seven = number(7);
    assert_eq!(owned.write(start, at(&seven), &Intent::Keep), None);
    let sent = start + Duration::from_secs(1);
    let (_, update) = update(owned.write(sent, at(&seven), &Intent::Keep));
    assert_eq!((update.checkpoint.clone(), update.owner_switches), (Some(Checkpoint::After(number(7))), Some(0)));
    let answer = applied(&owned, &update);
    assert_eq!(owned.answer(answer), Step::Kept { stored: Some(Checkpoint::After(number(7))), is_restored: false });
    assert_eq!(owned.expires(), sent + FAILOVER);
    assert_eq!(owned.next_write(at(&seven), &Intent::Keep), Some(sent + FAILOVER / 3));
}

#[test]
fn a_checkpoint_that_many_records_wait_for_does_not_wait_for_its_interval() {
    let start = Instant::now();
    let mut owned = owned(start);
    let numbers = [99, 100, 199, 200].map(number);
    let finished = |index: usize, records| Some(Finished { last: &numbers[index], records });
    assert_eq!(owned.write(start, finished(0, 99), &Intent::Keep), None);
    let (_, first) = update(owned.write(start, finished(1, 100), &Intent::Keep));
    assert_eq!(first.checkpoint, Some(Checkpoint::After(number(100))));
    assert_eq!(owned.next_write(finished(3, 200), &Intent::Keep), None, "one write at a time");
    let answer = applied(&owned, &first);
    owned.answer(answer);
    assert_eq!(owned.next_write(finished(2, 199), &Intent::Keep), Some(start + Duration::from_secs(1)));
    let (_, second) = update(owned.write(start, finished(3, 200), &Intent::Keep));
    assert_eq!(second.checkpoint, Some(Checkpoint::After(number(200))));
    // A write that failed is repeated after a pause, and not at once.
    owned.fail(start, 0.0);
    assert!(owned.next_write(finished(3, 200), &Intent::Keep) > Some(start));
}

#[test]
fn a_write_without_an_answer_is_repeated_with_the_same_counter() {
    let start = Instant::now();
    let mut owned = owned(start);
    let (first_sent, second_sent) = (start + Duration::from_secs(4), start + Duration::from_secs(6));
    let (first, _) = update(owned.write(first_sent, None, &Intent::Keep));
    owned.fail(first_sent, 0.0);
    let (second, _) = update(owned.write(second_sent, at(&number(9)), &Intent::Keep));
    assert_eq!(first, second);
    // The first write was applied late. It is ours, and it renewed the lease when it was sent.
    let step = owned.answer(Updated::Refused(Some(row("me", 5, Checkpoint::TrimHorizon))));
    assert_eq!(step, Step::Kept { stored: None, is_restored: false });
    assert_eq!(owned.expires(), first_sent + FAILOVER);
    let (third, update) = update(owned.write(second_sent, at(&number(9)), &Intent::Keep));
    assert_eq!((third.counter, update.counter), (Some(5), Some(6)));
}

#[test]
fn a_lease_of_another_owner_is_lost() {
    let start = Instant::now();
    for taken in [row("other", 5, Checkpoint::TrimHorizon), row("me", 6, Checkpoint::TrimHorizon)] {
        let mut owned = owned(start);
        owned.write(start + FAILOVER / 3, None, &Intent::Keep).unwrap();
        assert_eq!(owned.answer(Updated::Refused(Some(taken))), Step::Lost(LostReason::Taken));
    }
}

#[test]
fn a_deleted_row_is_created_again_with_the_checkpoint() {
    let start = Instant::now();
    let mut owned = owned(start);
    let sent = start + FAILOVER / 3;
    owned.write(sent, None, &Intent::Keep).unwrap();
    assert_eq!(owned.answer(Updated::Refused(None)), Step::Kept { stored: None, is_restored: false });
    let Some(Request::Restore(restored)) = owned.write(sent, at(&number(3)), &Intent::Finish { children: vec![] })
    else {
        panic!("the row is created at once")
    };
    assert_eq!(restored, row("me", 5, Checkpoint::After(number(3))));
    let step = owned.answer(Updated::Applied(restored));
    assert_eq!(step, Step::Kept { stored: Some(Checkpoint::After(number(3))), is_restored: true });
}

#[test]
fn a_deleted_row_that_another_instance_created_is_lost() {
    let start = Instant::now();
    let mut owned = owned(start);
    owned.write(start + FAILOVER / 3, None, &Intent::Keep).unwrap();
    owned.answer(Updated::Refused(None));
    owned.write(start + FAILOVER / 3, None, &Intent::Keep).unwrap();
    let step = owned.answer(Updated::Refused(Some(row("other", 1, Checkpoint::TrimHorizon))));
    assert_eq!(step, Step::Lost(LostReason::Deleted));
}

#[test]
fn the_last_write_carries_the_checkpoint_and_the_next_owner() {
    let start = Instant::now();
    let mut owned = owned(start);
    let to = Some(Owner::new("other"));
    let (_, update) = update(owned.write(start, at(&number(8)), &Intent::Release { to: to.clone() }));
    assert_eq!((update.owner.clone(), update.handover_to.clone()), (Some(to), Some(None)));
    assert_eq!(update.checkpoint, Some(Checkpoint::After(number(8))));
    let answer = applied(&owned, &update);
    assert_eq!(owned.answer(answer), Step::Released);
}

#[test]
fn a_finished_shard_has_no_owner_and_names_its_children() {
    let start = Instant::now();
    let mut owned = owned(start);
    let children = vec![ShardId::new("child")];
    let finish = Intent::Finish { children: children.clone() };
    let (_, update) = update(owned.write(start, at(&number(8)), &finish));
    assert_eq!(
        (update.owner, update.children, update.checkpoint),
        (Some(None), Some(children), Some(Checkpoint::ShardEnd))
    );
    owned.fail(start, 0.0);
    owned.write(start + FAILOVER / 3, None, &finish).unwrap();
    let finished = Lease { owner: None, ..row("", 5, Checkpoint::ShardEnd) };
    assert_eq!(owned.answer(Updated::Refused(Some(finished))), Step::Finished, "the first write was applied");
}
