//! What must be true of each schedule: every answer was true, and each operation has exactly the effect of its answer.

use std::collections::BTreeMap;

use dynamodb::StoreErrorKind;

use super::calls::{Call, Ended};
use super::world::{Applied, State, are_connected};
use crate::operation::{IfMatch, Operation, Outcome, Refusal};
use crate::registry::{Answered, Failure};
use crate::widget::{Serial, Widget};

/// Checks all calls, after the last attempt has arrived.
pub(super) fn check(state: &State) {
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (id, call) in state.calls.iter().enumerate() {
        match &call.key {
            Some(key) => by_key.entry(key).or_default().push(id),
            None => check_request(state, &[id]),
        }
    }
    for calls in by_key.values() {
        check_request(state, calls);
    }
}

/// Checks the calls of one request: a call without a key, or all calls with the same key.
fn check_request(state: &State, ids: &[usize]) {
    let effects: Vec<_> = state
        .history
        .iter()
        .filter(|applied| ids.contains(&applied.call) && !applied.transaction.actions.is_empty())
        .collect();
    assert!(effects.len() <= 1, "{:#?} had several effects: {effects:#?}", state.calls[ids[0]]);
    let effect = effects.first().copied();
    let began = state.calls[ids[0]].began;
    let mut first_answer = None;
    for id in ids {
        let call = &state.calls[*id];
        let Some(ended) = &call.ended else { continue };
        assert!(ended.late.is_zero(), "{call:#?} ended after its deadline");
        match &ended.answer {
            Ok(Answered { answer: Err(Refusal::KeyReused), .. }) => {
                let is_other = |id: &usize| state.calls[*id].operation != call.operation;
                assert!(ids.iter().any(is_other), "{call:#?} is the only operation with its key");
                assert!(effect.is_none_or(|effect| is_other(&effect.call)), "{call:#?} was done: {effect:#?}");
            }
            Ok(answered) => {
                let (first, answer) = first_answer.get_or_insert((call, &answered.answer));
                assert_eq!(
                    (&first.operation, *answer),
                    (&call.operation, &answered.answer),
                    "{call:#?} and {first:#?}"
                );
                let since = if answered.is_repeat { began } else { call.began };
                check_answer(state, call, answered, since..=ended.at, effect);
            }
            Err(Failure::Store(error)) => {
                let own = effect.filter(|effect| effect.call == *id);
                assert_eq!(own, None, "{call:#?} has changed something");
                assert!(is_temporary(error.kind), "{call:#?}");
            }
            Err(Failure::Unknown(error)) => assert!(is_temporary(error.kind), "{call:#?}"),
        }
    }
    if let (Some(effect), Some((call, _))) = (effect, first_answer) {
        assert_eq!(state.calls[effect.call].operation, call.operation, "another operation with the key was done");
    }
}

fn is_temporary(kind: StoreErrorKind) -> bool {
    use StoreErrorKind::{Conflict, Throttled, Unavailable};
    matches!(kind, Conflict | Throttled | Unavailable)
}

type Steps = std::ops::RangeInclusive<u64>;

fn check_answer(state: &State, call: &Call, answered: &Answered, steps: Steps, effect: Option<&Applied>) {
    let wrote = match &answered.answer {
        Ok(Outcome::Created(_) | Outcome::Changed(_) | Outcome::Deleted | Outcome::Connected(_)) => true,
        Ok(Outcome::Disconnected) => true,
        Ok(Outcome::Exists(_) | Outcome::Unchanged(_) | Outcome::AlreadyConnected(_)) | Err(_) => false,
    };
    match (wrote, effect) {
        (true, Some(effect)) => {
            assert!(steps.contains(&effect.at) || answered.is_repeat, "{call:#?} was done at {}", effect.at);
            assert!(effect.at <= *steps.end(), "{call:#?} was done after its answer");
            assert!(is_done(effect, answered), "{call:#?} was not done by {effect:#?}");
        }
        (true, None) => panic!("{call:#?} was not done"),
        (false, Some(effect)) => panic!("{call:#?} was done: {effect:#?}"),
        (false, None) => {
            assert!(was_true(state, call, answered, &steps), "{call:#?} was never true: {:#?}", state.timeline)
        }
    }
}

/// Returns whether a transaction did what its answer reports.
fn is_done(effect: &Applied, answered: &Answered) -> bool {
    let (before, after) = (&effect.before, &effect.after);
    match &answered.answer {
        Ok(Outcome::Created(widget)) => !before.contains_key(&widget.serial) && after[&widget.serial] == *widget,
        Ok(Outcome::Changed(widget)) => before.contains_key(&widget.serial) && after[&widget.serial] == *widget,
        Ok(Outcome::Deleted) => after.len() + 1 == before.len(),
        Ok(Outcome::Connected(association)) => {
            let connected = |table: &super::world::Table| {
                are_connected(table.get(&association.serial), table.get(&association.peer), association.port)
            };
            !connected(before) && connected(after)
        }
        Ok(Outcome::Disconnected) => {
            let connections = |table: &super::world::Table| -> usize {
                table.values().map(|widget| widget.peers.iter().count()).sum()
            };
            connections(after) + 2 == connections(before)
        }
        Ok(Outcome::Exists(_) | Outcome::Unchanged(_) | Outcome::AlreadyConnected(_)) | Err(_) => false,
    }
}

/// Returns whether an answer without a write was true at some moment of these steps.
fn was_true(state: &State, call: &Call, answered: &Answered, steps: &Steps) -> bool {
    let was = |serial: &Serial, is: &dyn Fn(Option<&Widget>) -> bool| {
        moments(state, steps).any(|step| is(item_at(state, serial, step)))
    };
    match &answered.answer {
        Ok(Outcome::Exists(widget) | Outcome::Unchanged(widget)) => was(&widget.serial, &|item| item == Some(widget)),
        Ok(Outcome::AlreadyConnected(association)) => moments(state, steps).any(|step| {
            let item = |serial| item_at(state, serial, step);
            are_connected(item(&association.serial), item(&association.peer), association.port)
        }),
        Ok(_) => false,
        Err(Refusal::MissingWidget(serial)) => was(serial, &|item| item.is_none()),
        Err(Refusal::OtherContent { serial }) => {
            let Operation::Create { name, ports, .. } = &call.operation else { return false };
            was(serial, &|item| item.is_some_and(|widget| (&widget.name, &widget.ports) != (name, ports)))
        }
        Err(Refusal::NoSuchPort { serial, port }) => {
            was(serial, &|item| item.is_some_and(|widget| !widget.ports.contains(*port)))
        }
        Err(Refusal::SameWidget) => {
            matches!(&call.operation, Operation::Connect(association, _) if association.serial == association.peer)
        }
        Err(Refusal::PortTaken { serial, port, by }) => {
            was(serial, &|item| item.is_some_and(|widget| widget.peers.get(*port) == Some(by)))
        }
        Err(Refusal::NotConnected { serial, port }) => was(serial, &|item| {
            item.is_some_and(|widget| widget.ports.contains(*port) && widget.peers.get(*port).is_none())
        }),
        Err(Refusal::Changed { serial }) => {
            let (Operation::Change { if_match, .. } | Operation::Delete { if_match, .. }) = &call.operation else {
                return false;
            };
            let Some(IfMatch::Revisions(revisions)) = if_match else { return false };
            was(serial, &|item| item.is_none_or(|widget| !revisions.contains(&widget.revision)))
        }
        // No transaction of the registry contradicts another one, and the key is checked before.
        Err(Refusal::Contradiction { .. } | Refusal::KeyReused) => false,
    }
}

/// Returns the first of these steps, and each one that changed a widget.
fn moments<'a>(state: &'a State, steps: &'a Steps) -> impl Iterator<Item = u64> + 'a {
    let changes = state.timeline.values().flatten().map(|(at, _)| *at);
    std::iter::once(*steps.start()).chain(changes.filter(|at| steps.contains(at)))
}

fn item_at<'a>(state: &'a State, serial: &Serial, step: u64) -> Option<&'a Widget> {
    let timeline = state.timeline.get(serial)?;
    timeline.iter().rev().find(|(at, _)| *at <= step)?.1.as_ref()
}

/// Returns how many calls have which kind of answer.
pub(super) fn answers(state: &State) -> BTreeMap<&'static str, usize> {
    let mut answers = BTreeMap::new();
    for Ended { answer, .. } in state.calls.iter().filter_map(|call| call.ended.as_ref()) {
        let kind = match answer {
            Ok(Answered { is_repeat: true, .. }) => "repeated answers",
            Ok(Answered { answer: Ok(Outcome::AlreadyConnected(_)), .. }) => "answers without a write",
            Ok(Answered { answer: Ok(Outcome::Exists(_) | Outcome::Unchanged(_)), .. }) => "answers without a write",
            Ok(Answered { answer: Ok(_), .. }) => "writes",
            Ok(Answered { answer: Err(Refusal::KeyReused), .. }) => "reused keys",
            Ok(Answered { answer: Err(_), .. }) => "refusals",
            Err(Failure::Unknown(_)) => "unknown outcomes",
            Err(Failure::Store(_)) => "operations without a change",
        };
        *answers.entry(kind).or_default() += 1;
    }
    answers
}
