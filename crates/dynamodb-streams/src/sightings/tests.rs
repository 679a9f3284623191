use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::lease::Checkpoint;

const FAILOVER: Duration = Duration::from_secs(10);
const HANDOVER: Duration = Duration::from_secs(15);

fn sightings() -> Sightings {
    Sightings::new(Owner::new("me"), FAILOVER, HANDOVER, 8)
}

fn shard(number: usize) -> ShardId {
    ShardId::new(format!("shard-{number:03}"))
}

/// Returns rows with these owners. An empty owner is none.
fn rows(owners: &[&str]) -> Rows {
    let row = |(number, owner): (usize, &&str)| {
        let owner = (!owner.is_empty()).then(|| Owner::new(*owner));
        (shard(number), Lease { owner, counter: 1, ..Lease::new(format!("s/{number}"), Checkpoint::TrimHorizon) })
    };
    owners.iter().enumerate().map(row).collect()
}

fn plan(sightings: &mut Sightings, rows: &Rows, owned: &BTreeSet<ShardId>, now: Instant) -> Plan {
    sightings.note(rows, now);
    let plan = sightings.plan(rows, owned, &BTreeSet::new(), now, &mut StdRng::seed_from_u64(1));
    plan.ask.iter().for_each(|(shard, _)| sightings.asked(shard, true, now));
    plan
}

#[test]
fn a_lease_expires_when_its_counter_stays_the_same_for_the_failover_time() {
    let start = Instant::now();
    let mut sightings = sightings();
    let mut rows = rows(&["other", "other"]);
    let nothing = BTreeSet::new();
    assert_eq!(plan(&mut sightings, &rows, &nothing, start).take, []);
    rows.get_mut(&shard(1)).unwrap().counter += 1;
    let late = start + FAILOVER + Duration::from_millis(1);
    assert_eq!(plan(&mut sightings, &rows, &nothing, late).take, [shard(0)]);
}

#[test]
fn a_row_seen_for_the_first_time_has_not_expired() {
    let start = Instant::now();
    let mut sightings = sightings();
    assert_eq!(plan(&mut sightings, &rows(&["other"]), &BTreeSet::new(), start).take, []);
}

#[test]
fn a_row_that_changed_since_the_last_scan_has_not_expired() {
    let start = Instant::now();
    let mut sightings = sightings();
    let mut rows = rows(&["other"]);
    sightings.note(&rows, start);
    rows.get_mut(&shard(0)).unwrap().counter += 1;
    let plan =
        sightings.plan(&rows, &BTreeSet::new(), &BTreeSet::new(), start + 2 * FAILOVER, &mut StdRng::seed_from_u64(1));
    assert_eq!(plan, Plan::default());
}

#[test]
fn takes_free_leases_up_to_its_share() {
    let mut sightings = sightings();
    let rows = rows(&["", "", "", "", "other", "other"]);
    let plan = plan(&mut sightings, &rows, &BTreeSet::new(), Instant::now());
    assert_eq!((plan.take.len(), plan.ask.len()), (3, 0));
}

#[test]
fn takes_leases_again_that_are_its_own() {
    let mut sightings = sightings();
    let rows = rows(&["me", "me", "other"]);
    let plan = plan(&mut sightings, &rows, &BTreeSet::from([shard(0)]), Instant::now());
    assert_eq!(plan.take, [shard(1)]);
}

#[test]
fn asks_the_owner_of_the_most_leases_for_the_excess() {
    let mut sightings = sightings();
    let rows = rows(&["rich", "rich", "rich", "rich", "poor"]);
    let now = Instant::now();
    let asked = plan(&mut sightings, &rows, &BTreeSet::new(), now).ask;
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|(_, owner)| *owner == Owner::new("rich")));
    assert_eq!(plan(&mut sightings, &rows, &BTreeSet::new(), now).ask, [], "asks once");
}

#[test]
fn does_not_ask_when_the_shares_are_fair() {
    let mut sightings = sightings();
    let rows = rows(&["me", "other", "other"]);
    assert_eq!(plan(&mut sightings, &rows, &BTreeSet::from([shard(0)]), Instant::now()), Plan::default());
}

#[test]
fn takes_a_lease_whose_owner_ignores_the_request() {
    let mut sightings = sightings();
    let mut rows = rows(&["other", "other"]);
    let start = Instant::now();
    let (shard, _) = plan(&mut sightings, &rows, &BTreeSet::new(), start).ask.remove(0);
    rows.get_mut(&shard).unwrap().handover_to = Some(Owner::new("me"));
    let mut now = start;
    while now - start <= 2 * HANDOVER + FAILOVER {
        assert_eq!(plan(&mut sightings, &rows, &BTreeSet::new(), now).take, []);
        rows.values_mut().for_each(|row| row.counter += 1);
        now += FAILOVER / 3;
    }
    assert_eq!(plan(&mut sightings, &rows, &BTreeSet::new(), now).force, [shard]);
}

#[test]
fn an_owner_has_time_from_when_the_request_is_in_the_row() {
    let mut sightings = sightings();
    let mut rows = rows(&["other", "other"]);
    let start = Instant::now();
    sightings.note(&rows, start);
    let nothing = BTreeSet::new();
    let at = |sightings: &mut Sightings, rows: &Rows, now| {
        sightings.note(rows, now);
        sightings.plan(rows, &nothing, &nothing, now, &mut StdRng::seed_from_u64(1))
    };
    let (shard, _) = at(&mut sightings, &rows, start).ask.remove(0);
    rows.get_mut(&shard).unwrap().handover_to = Some(Owner::new("me"));
    let patience = 2 * HANDOVER + FAILOVER;
    let renewed = |rows: &mut Rows| rows.values_mut().for_each(|row| row.counter += 1);
    renewed(&mut rows);
    assert_eq!(at(&mut sightings, &rows, start + 2 * patience).force, [], "the answer did not come");
    sightings.asked(&shard, true, start + 2 * patience);
    renewed(&mut rows);
    assert_eq!(at(&mut sightings, &rows, start + 3 * patience).force, []);
    renewed(&mut rows);
    assert_eq!(at(&mut sightings, &rows, start + 3 * patience + FAILOVER).force, [shard]);
}

#[test]
fn a_shard_that_this_instance_cannot_read_is_left_to_others() {
    let mut sightings = sightings();
    let rows = rows(&["", "me", ""]);
    let unreadable = BTreeSet::from([shard(0), shard(1)]);
    let now = Instant::now();
    sightings.note(&rows, now);
    let plan = sightings.plan(&rows, &BTreeSet::new(), &unreadable, now, &mut StdRng::seed_from_u64(1));
    assert_eq!((plan.take, plan.ask), (vec![shard(2)], vec![]));
}

#[test]
fn counts_the_leases_that_nobody_renews() {
    let mut sightings = sightings();
    let rows = rows(&["", "other", "other"]);
    let start = Instant::now();
    sightings.note(&rows, start);
    assert_eq!(sightings.unowned(&rows, start), 1);
    assert_eq!(sightings.unowned(&rows, start + FAILOVER + Duration::from_millis(1)), 3);
}

#[test]
fn asks_again_when_the_request_did_not_arrive() {
    let mut sightings = sightings();
    let mut rows = rows(&["other", "other"]);
    let start = Instant::now();
    assert_eq!(plan(&mut sightings, &rows, &BTreeSet::new(), start).ask.len(), 1);
    rows.values_mut().for_each(|row| row.counter += 1);
    let late = start + 2 * HANDOVER + FAILOVER + Duration::from_millis(1);
    let plan = plan(&mut sightings, &rows, &BTreeSet::new(), late);
    assert_eq!((plan.take.len(), plan.ask.len()), (0, 1));
}

#[test]
fn a_row_that_vanished_is_not_created_before_its_owner_can_restore_it() {
    let start = Instant::now();
    let mut sightings = sightings();
    let rows = rows(&["other"]);
    sightings.note(&rows, start);
    let seen = start + FAILOVER + Duration::from_millis(1);
    assert!(!sightings.may_create(&shard(0), false, start), "it may have vanished before");
    assert!(sightings.may_create(&shard(0), true, start), "the stream is new");
    assert!(sightings.may_create(&shard(0), false, seen));
    sightings.note(&Rows::new(), seen);
    assert!(!sightings.may_create(&shard(0), false, seen + FAILOVER));
    assert!(sightings.may_create(&shard(0), false, seen + FAILOVER + Duration::from_millis(1)));
    sightings.note(&rows, seen);
    assert!(sightings.may_create(&shard(0), false, seen));
}

#[test]
fn forgets_a_request_for_a_lease_whose_row_is_gone() {
    let mut sightings = sightings();
    let start = Instant::now();
    assert_eq!(plan(&mut sightings, &rows(&["other", "other"]), &BTreeSet::new(), start).ask.len(), 1);
    let late = start + 2 * HANDOVER + FAILOVER + Duration::from_millis(1);
    let plan = sightings.plan(&Rows::new(), &BTreeSet::new(), &BTreeSet::new(), late, &mut StdRng::seed_from_u64(1));
    assert_eq!(plan, Plan::default());
}

#[test]
fn finished_leases_are_left_alone() {
    let mut sightings = sightings();
    let mut rows = rows(&["", ""]);
    rows.get_mut(&shard(0)).unwrap().checkpoint = Checkpoint::ShardEnd;
    assert_eq!(plan(&mut sightings, &rows, &BTreeSet::new(), Instant::now()).take, [shard(1)]);
}

proptest! {
    /// Instances that take and hand over by these plans reach fair shares, and then nothing moves.
    #[test]
    fn instances_reach_fair_shares(leases in 1usize..40, instances in 1usize..6, seed: u64) {
        let names: Vec<_> = (0..instances).map(|number| format!("instance-{number}")).collect();
        let mut random = StdRng::seed_from_u64(seed);
        let mut all: Vec<_> = names.iter().map(|name| Sightings::new(Owner::new(name.as_str()), FAILOVER, HANDOVER, 8)).collect();
        let mut rows = rows(&vec![""; leases]);
        let mut now = Instant::now();
        let mut last_move = 0;
        for round in 0..60 {
            for (sightings, name) in all.iter_mut().zip(&names) {
                let me = Owner::new(name.as_str());
                let owned: BTreeSet<_> = rows.iter().filter(|(_, row)| row.owner.as_ref() == Some(&me)).map(|(shard, _)| shard.clone()).collect();
                sightings.note(&rows, now);
                let plan = sightings.plan(&rows, &owned, &BTreeSet::new(), now, &mut random);
                plan.ask.iter().for_each(|(shard, _)| sightings.asked(shard, true, now));
                let moved = plan.take.into_iter().chain(plan.ask.into_iter().map(|(shard, _)| shard));
                for shard in moved {
                    let row = rows.get_mut(&shard).unwrap();
                    row.owner = Some(me.clone());
                    row.counter += 1;
                    last_move = round;
                }
            }
            rows.values_mut().for_each(|row| row.counter += 1);
            now += FAILOVER / 3;
        }
        let mut shares: BTreeMap<_, usize> = BTreeMap::new();
        for row in rows.values() {
            *shares.entry(row.owner.clone().expect("each lease has an owner")).or_default() += 1;
        }
        let most = leases.div_ceil(shares.len());
        prop_assert!(shares.values().all(|share| *share <= most), "{shares:?}");
        prop_assert_eq!(shares.len(), instances.min(leases));
        prop_assert!(last_move < 50, "leases moved until round {last_move}");
    }
}
