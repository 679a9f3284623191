use proptest::prelude::*;

use super::*;

fn id(name: &str) -> ShardId {
    ShardId::new(name)
}

fn shard(name: &str, parent: &str) -> Shard {
    let parent = (!parent.is_empty()).then(|| id(parent));
    Shard { id: id(name), parent, starting_sequence_number: Some(SequenceNumber::new("1")) }
}

/// Returns what a complete listing of these shards and parents teaches.
fn lineage(shards: &[(&str, &str)]) -> Lineage {
    let mut lineage = Lineage::default();
    lineage.learn_page(shards.iter().map(|(name, parent)| shard(name, parent)).collect(), true);
    lineage
}

fn row(parent: &str, checkpoint: Checkpoint) -> Lease {
    Lease { parent: (!parent.is_empty()).then(|| id(parent)), ..Lease::new(String::new(), checkpoint) }
}

fn rows(rows: &[(&str, &str, Checkpoint)]) -> Rows {
    rows.iter().map(|(name, parent, checkpoint)| (id(name), row(parent, checkpoint.clone()))).collect()
}

fn after(number: u64) -> Checkpoint {
    Checkpoint::After(SequenceNumber::new(number.to_string()))
}

fn started(is_complete: bool) -> Started {
    Started { checkpoint: Checkpoint::TrimHorizon, is_complete }
}

fn created(plan: &Plan) -> Vec<(&str, &Checkpoint)> {
    plan.create.iter().map(|lease| (lease.shard.as_str(), &lease.checkpoint)).collect()
}

fn gaps(plan: &Plan) -> Vec<ShardId> {
    plan.create.iter().filter_map(|lease| lease.gap.clone()).collect()
}

const HORIZON: Checkpoint = Checkpoint::TrimHorizon;
const END: Checkpoint = Checkpoint::ShardEnd;

#[test]
fn the_first_leases_are_those_of_shards_without_parents() {
    let lineage = lineage(&[("a", ""), ("b", "a"), ("c", "")]);
    let plan = lineage.plan(&Rows::new(), &started(false));
    assert_eq!(created(&plan), [("a", &HORIZON), ("c", &HORIZON)]);
}

#[test]
fn a_child_gets_a_lease_when_its_parent_is_finished() {
    let lineage = lineage(&[("a", ""), ("b", "a"), ("c", "a")]);
    let unfinished = rows(&[("a", "", after(5))]);
    assert_eq!(created(&lineage.plan(&unfinished, &started(true))), []);
    let plan = lineage.plan(&rows(&[("a", "", END)]), &started(true));
    assert_eq!(created(&plan), [("b", &HORIZON), ("c", &HORIZON)]);
    assert!(plan.create.iter().all(|lease| lease.starting_sequence_number.is_some() && lease.gap.is_none()));
}

#[test]
fn an_ancestor_of_a_lease_gets_no_lease_again() {
    let lineage = lineage(&[("a", ""), ("b", "a"), ("c", "b"), ("d", "a")]);
    let plan = lineage.plan(&rows(&[("c", "b", after(5))]), &started(true));
    // The sibling of an ancestor was missed so far. Its parent is finished, because the other child has a descendant.
    assert_eq!(created(&plan), [("d", &HORIZON)]);
}

#[test]
fn a_child_waits_for_a_parent_that_the_listing_omits() {
    let mut lineage = lineage(&[("b", "a")]);
    assert_eq!(lineage.plan(&Rows::new(), &started(false)).probe, [id("a")]);
    lineage.probed(&id("a"), true);
    assert_eq!(lineage.plan(&Rows::new(), &started(false)), Plan::default());
    lineage.learn_page(vec![shard("a", ""), shard("b", "a")], true);
    assert_eq!(created(&lineage.plan(&Rows::new(), &started(false))), [("a", &HORIZON)]);
}

#[test]
fn a_parent_that_is_present_is_asked_for_again_after_the_next_listing() {
    let mut lineage = lineage(&[("b", "a")]);
    lineage.probed(&id("a"), true);
    lineage.learn_page(vec![shard("b", "a")], true);
    assert_eq!(lineage.plan(&Rows::new(), &started(false)).probe, [id("a")]);
}

#[test]
fn a_child_does_not_wait_for_a_parent_that_is_gone() {
    let mut lineage = lineage(&[("b", "a")]);
    lineage.probed(&id("a"), false);
    let first = lineage.plan(&Rows::new(), &started(false));
    assert_eq!((created(&first), gaps(&first)), (vec![("b", &HORIZON)], vec![]), "history before the first start");
    let later = lineage.plan(&Rows::new(), &started(true));
    assert_eq!((created(&later), gaps(&later)), (vec![("b", &HORIZON)], vec![id("a")]));
}

#[test]
fn a_child_that_vanished_before_it_was_read_is_a_gap() {
    let mut lineage = lineage(&[("c", "b")]);
    let mut rows = rows(&[("a", "", END)]);
    rows.get_mut(&id("a")).unwrap().children = vec![id("b")];
    assert_eq!(lineage.plan(&rows, &started(true)).probe, [id("a"), id("b")]);
    lineage.probed(&id("b"), true);
    assert_eq!(created(&lineage.plan(&rows, &started(true))), [], "it waits for the description of the shard");
    lineage.probed(&id("b"), false);
    let plan = lineage.plan(&rows, &started(true));
    assert!(created(&plan).contains(&("b", &END)), "{plan:?}");
    assert!(gaps(&plan).contains(&id("b")));
}

#[test]
fn shards_that_ended_before_the_start_get_no_lease() {
    let at = |seconds: u64| format!("shardId-{:020}-a", seconds * 1000);
    let (old, middle, new) = (at(100), at(1000), at(2000));
    let lineage = lineage(&[(&old, ""), (&middle, &old), (&new, &middle)]);
    let checkpoint = Checkpoint::AtTimestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1500));
    let started = Started { checkpoint: checkpoint.clone(), is_complete: false };
    let plan = lineage.plan(&Rows::new(), &started);
    assert_eq!(created(&plan), [(middle.as_str(), &checkpoint)]);
}

#[test]
fn a_row_is_deleted_when_its_shard_is_gone_and_its_children_moved() {
    let mut lineage = lineage(&[("b", "a"), ("c", "a")]);
    let waiting = rows(&[("a", "", END), ("b", "a", after(3)), ("c", "a", HORIZON)]);
    assert_eq!(lineage.plan(&waiting, &started(true)).probe, [id("a")]);
    lineage.probed(&id("a"), false);
    assert_eq!(lineage.plan(&waiting, &started(true)).delete, []);
    let moved = rows(&[("a", "", END), ("b", "a", after(3)), ("c", "a", after(4))]);
    assert_eq!(lineage.plan(&moved, &started(true)).delete, [id("a")]);
}

#[test]
fn parents_are_deleted_before_their_children() {
    let mut lineage = lineage(&[("c", "b")]);
    lineage.probed(&id("a"), false);
    lineage.probed(&id("b"), false);
    let rows = rows(&[("a", "", END), ("b", "a", END), ("c", "b", after(4))]);
    assert_eq!(lineage.plan(&rows, &started(true)).delete, []);
    lineage.learn(shard("b", "a"));
    assert_eq!(lineage.plan(&rows, &started(true)).delete, [id("a")]);
}

#[test]
fn a_finished_shard_without_children_asks_for_another_listing() {
    let mut lineage = lineage(&[("a", "")]);
    let rows = rows(&[("a", "", END)]);
    assert!(lineage.misses_children(&rows));
    lineage.learn(shard("b", "a"));
    assert!(!lineage.misses_children(&rows));
}

proptest! {
    /// Reads random trees whose listings omit shards. The order must be right, and all shards must be read in the end.
    #[test]
    fn each_shard_is_read_after_its_parent_in_spite_of_omissions(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        omissions in prop::collection::vec(any::<u32>(), 60),
    ) {
        let name = |number: usize| id(&format!("shard-{number:02}"));
        let parent = |number: usize| match number {
            0 | 1 => None,
            _ => Some(name(parents[number].index(number))),
        };
        let all: Vec<Shard> = (0..parents.len())
            .map(|number| Shard { id: name(number), parent: parent(number), starting_sequence_number: None })
            .collect();
        let mut lineage = Lineage::default();
        let mut rows = Rows::new();
        for omitted in omissions.into_iter().chain([0; 30]) {
            let shown = all.iter().enumerate().filter(|(number, _)| omitted & (1 << number) == 0);
            lineage.learn_page(shown.map(|(_, shard)| shard.clone()).collect(), true);
            let plan = lineage.plan(&rows, &started(true));
            for probed in plan.probe {
                lineage.probed(&probed, true);
            }
            prop_assert_eq!(plan.delete, vec![]);
            for new in plan.create {
                prop_assert_eq!(new.gap, None);
                if let Some(parent) = &new.parent {
                    let is_finished = rows.get(parent).is_some_and(Lease::is_finished);
                    prop_assert!(is_finished, "{} before {parent}", new.shard);
                }
                let created = rows.insert(new.shard, Lease { parent: new.parent, ..Lease::new(String::new(), new.checkpoint) });
                prop_assert_eq!(created, None);
            }
            // One shard of those that are read comes to its end.
            if let Some(row) = rows.values_mut().find(|row| !row.is_finished()) {
                row.checkpoint = Checkpoint::ShardEnd;
            }
        }
        prop_assert_eq!(rows.len(), all.len());
    }
}
