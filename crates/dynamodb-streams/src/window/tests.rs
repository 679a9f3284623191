use std::collections::BTreeMap;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::memory::Budget;
use crate::settings::Settings;

fn number(number: u64) -> SequenceNumber {
    SequenceNumber::new(number.to_string())
}

/// Returns a window with one record per key. The records are their own sequence numbers.
fn window(keys: &[u64]) -> Window<u64> {
    let mut window = Window::new(Settings::default().retries);
    for (index, key) in keys.iter().enumerate() {
        window.push(number(index as u64), *key, index as u64, None);
    }
    window
}

fn done() -> Ended {
    Ended::Handled(Outcome::Done)
}

fn retry() -> Ended {
    Ended::Handled(Outcome::RetryLater { after: None, reason: "busy".into() })
}

fn started(window: &mut Window<u64>, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| window.start(now, false)).map(|task| task.index).collect()
}

fn checkpoint<T: Clone>(window: &Window<T>) -> Option<&SequenceNumber> {
    window.finished().map(|finished| finished.last)
}

#[test]
fn the_checkpoint_does_not_pass_an_unfinished_record() {
    let now = Instant::now();
    let mut window = window(&[1, 2, 3]);
    assert_eq!(started(&mut window, now), [0, 1, 2]);
    window.end(2, done(), now, 0.0);
    window.end(1, done(), now, 0.0);
    assert_eq!((checkpoint(&window), window.len()), (None, 3));
    window.end(0, done(), now, 0.0);
    assert_eq!((checkpoint(&window), window.len()), (Some(&number(2)), 0));
}

#[test]
fn records_of_one_key_are_handled_one_after_the_other() {
    let now = Instant::now();
    let mut window = window(&[1, 1, 2, 1]);
    assert_eq!(started(&mut window, now), [0, 2]);
    window.end(0, done(), now, 0.0);
    assert_eq!(started(&mut window, now), [1]);
    window.end(1, done(), now, 0.0);
    assert_eq!(started(&mut window, now), [3]);
}

#[test]
fn a_retry_keeps_its_key_waiting_but_no_other() {
    let now = Instant::now();
    let mut window = window(&[1, 1, 2]);
    assert_eq!(started(&mut window, now), [0, 2]);
    let Decision::Retry { delay, attempt: 1, .. } = window.end(0, retry(), now, 1.0) else { panic!() };
    window.end(2, done(), now, 0.0);
    assert_eq!(started(&mut window, now), []);
    assert_eq!(window.next_retry(), Some(now + delay));
    assert_eq!(started(&mut window, now + delay), [0]);
}

#[test]
fn a_record_that_fails_too_often_is_dead_and_its_dead_letter_is_stored_before_the_checkpoint_moves() {
    let mut now = Instant::now();
    let mut window = window(&[1]);
    for attempt in 1..=10 {
        let task = window.start(now, false).unwrap();
        assert_eq!((task.attempt, task.dead), (attempt, None));
        window.end(0, retry(), now, 1.0);
        now = window.next_retry().unwrap_or(now);
    }
    let task = window.start(now, false).unwrap();
    assert_eq!((task.attempt, task.dead.as_deref()), (10, Some("gave up after 10 attempts: busy")));
    let failed = window.end(0, Ended::DeadStored(Err("no table".into())), now, 1.0);
    assert_eq!(failed, Decision::DeadLetterFailed { error: "no table".into() });
    assert_eq!(checkpoint(&window), None);
    now = window.next_retry().unwrap();
    assert!(window.start(now, false).unwrap().dead.is_some());
    let Decision::DeadFinished { attempts: 10, .. } = window.end(0, Ended::DeadStored(Ok(())), now, 1.0) else {
        panic!()
    };
    assert_eq!(checkpoint(&window), Some(&number(0)));
}

#[test]
fn a_record_is_dead_when_its_next_retry_would_be_too_late() {
    let now = Instant::now();
    let mut window = window(&[1]);
    window.start(now, false).unwrap();
    let late = Outcome::RetryLater { after: Some(Duration::from_secs(601)), reason: "later".into() };
    assert_eq!(window.end(0, Ended::Handled(late), now, 1.0), Decision::StoreDead);
}

#[test]
fn before_a_handover_only_records_start_that_the_next_owner_would_repeat() {
    let now = Instant::now();
    let mut window = window(&[1, 1, 2, 3]);
    assert_eq!([0, 2], [0, 1].map(|_| window.start(now, false).unwrap().index));
    window.end(0, done(), now, 0.0);
    window.end(2, done(), now, 0.0);
    assert_eq!(window.start(now, true).map(|task| task.index), Some(1));
    window.end(1, done(), now, 0.0);
    assert_eq!(window.start(now, true), None);
    assert_eq!((checkpoint(&window), window.len()), (Some(&number(2)), 1));
}

#[test]
fn an_attempt_does_not_count_while_a_store_of_the_handler_is_away() {
    let start = Instant::now();
    let mut now = start;
    let mut window = window(&[1]);
    let away = || Ended::Handled(Outcome::Unavailable { after: None, reason: "throttled".into() });
    while now < start + 3 * Settings::default().retries.max_time {
        assert_eq!(window.start(now, false).map(|task| (task.attempt, task.dead)), Some((1, None)));
        let Decision::Unavailable { delay, .. } = window.end(0, away(), now, 1.0) else { panic!() };
        assert!(delay <= Settings::default().retries.max_delay);
        now = window.next_retry().unwrap();
    }
    assert_eq!(window.start(now, false).map(|task| task.attempt), Some(1));
    let Decision::Retry { delay, attempt: 1, .. } = window.end(0, retry(), now, 1.0) else { panic!() };
    assert_eq!(delay, Settings::default().retries.first_delay, "the time of the outage does not count");
}

#[test]
fn a_delay_without_an_end_is_cut() {
    let now = Instant::now();
    let mut window = Window::new(Retries { max_time: Duration::MAX, ..Settings::default().retries });
    window.push(number(0), 1, 0u64, None);
    for outcome in [
        Outcome::RetryLater { after: Some(Duration::MAX), reason: "later".into() },
        Outcome::Unavailable { after: Some(Duration::MAX), reason: "away".into() },
    ] {
        window.start(window.next_retry().unwrap_or(now), false).unwrap();
        window.end(0, Ended::Handled(outcome), now, 0.0);
        assert_eq!(window.next_retry(), Some(now + LONGEST_DELAY));
    }
}

#[test]
fn a_finished_record_behind_an_unfinished_one_still_counts_in_the_budget() {
    let (now, budget) = (Instant::now(), Budget::new(10, 1000));
    let mut page = budget.reserve(2, 1000).now_or_never().unwrap();
    let mut window = Window::new(Settings::default().retries);
    for key in 0..2 {
        window.push(number(key), key, key, page.split(0, ENTRY_BYTES));
        window.start(now, false).unwrap();
    }
    drop(page);
    window.end(1, done(), now, 0.0);
    assert!(budget.reserve(1, 1000).now_or_never().is_none());
    window.end(0, done(), now, 0.0);
    assert!(budget.reserve(1, 1000).now_or_never().is_some());
}

#[test]
fn skipped_records_move_the_checkpoint_in_their_order() {
    let now = Instant::now();
    let mut window = window(&[1]);
    window.push_skipped(number(1), None);
    assert_eq!(checkpoint(&window), None);
    window.start(now, false).unwrap();
    window.end(0, done(), now, 0.0);
    assert_eq!(checkpoint(&window), Some(&number(1)));
}

proptest! {
    /// Runs tasks in a random order with random outcomes, beside a model that is a list.
    #[test]
    fn order_and_checkpoint_are_right_for_each_order_of_outcomes(
        keys in prop::collection::vec(0u64..4, 1..40),
        choices in prop::collection::vec((0usize..8, 0u8..6), 400),
    ) {
        let mut now = Instant::now();
        let mut window = window(&keys);
        let mut running: Vec<Task<u64>> = Vec::new();
        let mut finished = vec![false; keys.len()];
        for (pick, outcome) in choices {
            while let Some(task) = window.start(now, false) {
                let same_key = |other: &Task<u64>| keys[other.index as usize] == keys[task.index as usize];
                prop_assert!(!running.iter().any(same_key), "two records of a key in progress");
                let before = (0..task.index as usize).filter(|i| keys[*i] == keys[task.index as usize]);
                prop_assert!(before.into_iter().all(|i| finished[i]), "out of order");
                running.push(task);
            }
            prop_assert_eq!(window.in_progress(), running.len());
            if running.is_empty() {
                match window.next_retry() {
                    Some(due) => now = due,
                    None => break,
                }
                continue;
            }
            let task = running.swap_remove(pick % running.len());
            let ended = match (&task.dead, outcome) {
                (Some(_), 0) => Ended::DeadStored(Err("no".into())),
                (Some(_), _) => Ended::DeadStored(Ok(())),
                (None, 0) => retry(),
                (None, 1) => Ended::Handled(Outcome::Dead { reason: "bad".into() }),
                (None, 2) => Ended::Handled(Outcome::Unavailable { after: None, reason: "away".into() }),
                (None, _) => done(),
            };
            let decision = window.end(task.index, ended, now, 0.5);
            finished[task.index as usize] = matches!(decision, Decision::Finished | Decision::DeadFinished { .. });
            let contiguous = finished.iter().take_while(|finished| **finished).count();
            let expected = contiguous.checked_sub(1).map(|last| number(last as u64));
            prop_assert_eq!(checkpoint(&window), expected.as_ref());
            prop_assert_eq!(window.len(), keys.len() - contiguous);
        }
        let unfinished: BTreeMap<_, _> = keys.iter().enumerate().filter(|(i, _)| !finished[*i]).collect();
        prop_assert!(unfinished.is_empty() || window.len() > 0);
    }
}
