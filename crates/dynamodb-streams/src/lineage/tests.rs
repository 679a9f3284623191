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
    let mut lineage = Lineage::new(TIMEOUT);
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
    Started { checkpoint: Checkpoint::TrimHorizon, is_complete, is_too_old: false }
}

fn created(plan: &Plan) -> Vec<(&str, &Checkpoint)> {
    plan.create.iter().map(|lease| (lease.shard.as_str(), &lease.checkpoint)).collect()
}

/// Lets the stream deny a shard for long enough, and lists all others again.
fn vanish(lineage: &mut Lineage, shard: &str, since: Instant) -> Instant {
    lineage.probed(&id(shard), false, since);
    let others: Vec<_> = lineage.shards.values().filter(|other| other.id != id(shard)).cloned().collect();
    lineage.learn_page(others.clone(), true);
    lineage.learn_page(others, true);
    since + TIMEOUT
}

const TIMEOUT: Duration = Duration::from_secs(120);
const HORIZON: Checkpoint = Checkpoint::TrimHorizon;
const END: Checkpoint = Checkpoint::ShardEnd;

#[test]
fn the_first_leases_are_those_of_shards_without_parents() {
    let mut lineage = lineage(&[("a", ""), ("b", "a"), ("c", "")]);
    let plan = lineage.plan(&Rows::new(), &started(false), Instant::now());
    assert_eq!(created(&plan), [("a", &HORIZON), ("c", &HORIZON)]);
}

#[test]
fn a_child_gets_a_lease_when_its_parent_is_finished() {
    let (mut lineage, now) = (lineage(&[("a", ""), ("b", "a"), ("c", "a")]), Instant::now());
    let unfinished = rows(&[("a", "", after(5))]);
    assert_eq!(created(&lineage.plan(&unfinished, &started(true), now)), []);
    assert_eq!(lineage.waiting(&unfinished), 2);
    let plan = lineage.plan(&rows(&[("a", "", END)]), &started(true), now);
    assert_eq!(created(&plan), [("b", &HORIZON), ("c", &HORIZON)]);
    assert!(plan.create.iter().all(|lease| lease.starting_sequence_number.is_some() && lease.must_be_complete));
}

#[test]
fn an_ancestor_of_a_lease_gets_no_lease_again() {
    let mut lineage = lineage(&[("a", ""), ("b", "a"), ("c", "b"), ("d", "a")]);
    let plan = lineage.plan(&rows(&[("c", "b", after(5))]), &started(true), Instant::now());
    // The sibling of an ancestor was missed so far. Its parent is finished, because the other child has a descendant.
    assert_eq!(created(&plan), [("d", &HORIZON)]);
}

#[test]
fn a_parent_that_no_listing_shows_gets_a_lease_before_its_child() {
    let mut lineage = lineage(&[("b", "a")]);
    let now = Instant::now();
    assert_eq!(lineage.plan(&Rows::new(), &started(true), now), Plan::default(), "a listing may still show it");
    lineage.learn_page(vec![shard("b", "a")], true);
    lineage.learn_page(vec![shard("b", "a")], true);
    let plan = lineage.plan(&Rows::new(), &started(true), now + TIMEOUT);
    assert_eq!(created(&plan), [("a", &HORIZON)]);
    assert!(plan.create[0].must_be_complete && plan.probe.is_empty(), "{plan:?}");
}

#[test]
fn at_the_first_start_a_parent_that_no_listing_shows_is_asked_for() {
    let (mut lineage, now) = (lineage(&[("b", "a")]), Instant::now());
    assert_eq!(lineage.plan(&Rows::new(), &started(false), now).probe, [id("a")]);
    lineage.learn_page(vec![shard("b", "a")], true);
    lineage.learn_page(vec![shard("b", "a")], true);
    lineage.probed(&id("a"), true, now + TIMEOUT);
    let plan = lineage.plan(&Rows::new(), &started(false), now + TIMEOUT);
    assert_eq!((created(&plan), &plan.probe), (vec![("a", &HORIZON)], &vec![]));
}

#[test]
fn at_the_first_start_a_child_does_not_wait_for_a_parent_that_is_gone() {
    let (mut lineage, now) = (lineage(&[("b", "a")]), Instant::now());
    lineage.plan(&Rows::new(), &started(false), now);
    lineage.probed(&id("a"), false, now);
    let later = now + TIMEOUT;
    assert_eq!(lineage.plan(&Rows::new(), &started(false), later), Plan::default(), "no newer listing");
    assert!(!lineage.is_started(&Rows::new(), &started(false)));
    let later = vanish(&mut lineage, "a", now);
    assert_eq!(created(&lineage.plan(&Rows::new(), &started(false), later - Duration::from_secs(1))), []);
    assert_eq!(created(&lineage.plan(&Rows::new(), &started(false), later)), [("b", &HORIZON)]);
}

#[test]
fn a_start_that_is_too_old_leaves_a_vanished_parent_to_its_session() {
    let (mut lineage, now) = (lineage(&[("b", "a")]), Instant::now());
    let started = Started { is_too_old: true, ..started(false) };
    lineage.plan(&Rows::new(), &started, now);
    let later = vanish(&mut lineage, "a", now);
    let plan = lineage.plan(&Rows::new(), &started, later);
    assert_eq!(created(&plan), [("a", &HORIZON)]);
}

#[test]
fn one_answer_that_a_shard_is_missing_does_not_count_when_a_listing_shows_it() {
    let (mut lineage, now) = (lineage(&[("a", ""), ("b", "a")]), Instant::now());
    let later = vanish(&mut lineage, "a", now);
    assert!(lineage.is_gone(&id("a"), later));
    lineage.learn(shard("a", ""));
    assert!(!lineage.is_gone(&id("a"), later));
    let later = vanish(&mut lineage, "a", later);
    lineage.probed(&id("a"), true, later);
    assert!(!lineage.is_gone(&id("a"), later + TIMEOUT));
}

#[test]
fn a_child_that_is_known_by_name_only_waits_for_its_description() {
    let (mut lineage, now) = (lineage(&[("a", "")]), Instant::now());
    let mut rows = rows(&[("a", "", END)]);
    rows.get_mut(&id("a")).unwrap().children = vec![id("b")];
    let plan = lineage.plan(&rows, &started(true), now);
    assert_eq!((created(&plan), &plan.describe), (vec![], &vec![id("a")]));
    lineage.learn_page(vec![shard("a", "")], true);
    lineage.learn_page(vec![shard("a", "")], true);
    let plan = lineage.plan(&rows, &started(true), now + TIMEOUT);
    assert_eq!((created(&plan), &plan.describe), (vec![("b", &HORIZON)], &vec![]), "nobody describes it");
    lineage.learn(shard("b", "a"));
    let plan = lineage.plan(&rows, &started(true), now);
    assert!(plan.create[0].starting_sequence_number.is_some(), "{plan:?}");
}

#[test]
fn shards_that_ended_before_the_start_get_no_lease() {
    let at = |seconds: u64| format!("shardId-{:020}-a", seconds * 1000);
    let (old, middle, new) = (at(100), at(1000), at(2000));
    let mut lineage = lineage(&[(&old, ""), (&middle, &old), (&new, &middle)]);
    let checkpoint = Checkpoint::AtTimestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1500));
    let started = Started { checkpoint: checkpoint.clone(), ..started(false) };
    let plan = lineage.plan(&Rows::new(), &started, Instant::now());
    assert_eq!(created(&plan), [(middle.as_str(), &checkpoint)]);
}

#[test]
fn a_row_is_deleted_when_its_shard_is_gone_and_its_children_moved() {
    let (mut lineage, now) = (lineage(&[("b", "a"), ("c", "a")]), Instant::now());
    let waiting = rows(&[("a", "", END), ("b", "a", after(3)), ("c", "a", HORIZON)]);
    let moved = rows(&[("a", "", END), ("b", "a", after(3)), ("c", "a", after(4))]);
    assert_eq!(lineage.plan(&waiting, &started(true), now).probe, [id("a")]);
    lineage.probed(&id("a"), false, now);
    assert_eq!(lineage.plan(&moved, &started(true), now).delete, [], "the answer may be false");
    let later = vanish(&mut lineage, "a", now);
    assert_eq!(lineage.plan(&waiting, &started(true), later).delete, []);
    assert_eq!(lineage.plan(&moved, &started(true), later).delete, [id("a")]);
}

#[test]
fn a_child_that_only_its_row_knows_must_have_moved_too() {
    let (mut lineage, now) = (lineage(&[("b", "a")]), Instant::now());
    let later = vanish(&mut lineage, "a", now);
    let waiting = rows(&[("a", "", END), ("b", "a", after(3)), ("c", "a", HORIZON)]);
    assert_eq!(lineage.plan(&waiting, &started(true), later).delete, []);
}

#[test]
fn parents_are_deleted_before_their_children() {
    let (mut lineage, now) = (lineage(&[("b", "a"), ("c", "b")]), Instant::now());
    vanish(&mut lineage, "a", now);
    let later = vanish(&mut lineage, "b", now);
    let rows = rows(&[("a", "", END), ("b", "a", END), ("c", "b", after(4))]);
    assert_eq!(lineage.plan(&rows, &started(true), later).delete, [id("a")]);
}

#[test]
fn shards_that_are_passed_and_listed_no_more_are_forgotten() {
    let mut lineage = lineage(&[("a", ""), ("b", "a"), ("c", "b")]);
    lineage.learn_page(vec![shard("c", "b")], true);
    let with_parent = rows(&[("b", "a", END), ("c", "b", after(4))]);
    lineage.forget(&with_parent, &started(true));
    assert_eq!(lineage.shards.keys().cloned().collect::<Vec<_>>(), [id("b"), id("c")]);
    lineage.forget(&rows(&[("c", "b", after(4))]), &started(true));
    assert_eq!(lineage.shards.keys().cloned().collect::<Vec<_>>(), [id("c")]);
}

#[test]
fn a_finished_shard_without_children_asks_for_another_listing() {
    let (mut lineage, now) = (lineage(&[("a", "")]), Instant::now());
    let rows = rows(&[("a", "", END)]);
    assert!(lineage.misses_children(&rows, now));
    lineage.learn(shard("b", "a"));
    assert!(!lineage.misses_children(&rows, now));
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
        let (mut lineage, now) = (Lineage::new(TIMEOUT), Instant::now());
        let mut rows = Rows::new();
        for omitted in omissions.into_iter().chain([0; 30]) {
            let shown = all.iter().enumerate().filter(|(number, _)| omitted & (1 << number) == 0);
            lineage.learn_page(shown.map(|(_, shard)| shard.clone()).collect(), true);
            let plan = lineage.plan(&rows, &started(true), now);
            for probed in plan.probe {
                lineage.probed(&probed, true, now);
            }
            prop_assert_eq!(plan.delete, vec![]);
            for new in plan.create {
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
