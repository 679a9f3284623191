//! Calls of the registry with what they were answered, for the checks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout};

use super::world::{CALL, World};
use crate::operation::Operation;
use crate::registry::{Answered, Failure, Registry, RequestKey};

/// An operation that a client asked an instance for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) key: Option<String>,
    /// When it began, in steps.
    pub(super) began: u64,
    pub(super) ended: Option<Ended>,
}

/// The answer to a call. There is none if its instance crashed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    /// In steps.
    pub(super) at: u64,
    pub(super) answer: Result<Answered, Failure>,
    /// How long after its deadline it ended.
    pub(super) late: Duration,
}

/// Calls an instance, which crashes after some time if it has no answer by then. Returns the answer.
pub(super) async fn call(
    world: &World,
    registry: &Registry<World>,
    operation: &Operation,
    key: Option<&str>,
    crash_after: Duration,
) -> Option<Result<Answered, Failure>> {
    let id = {
        let mut state = world.state();
        let began = state.step();
        state.calls.push(Call { operation: operation.clone(), key: key.map(str::to_owned), began, ended: None });
        state.calls.len() - 1
    };
    let deadline = registry.deadline();
    let key = key.map(|key| RequestKey::new("caller", key, None));
    let run = CALL.scope(id, registry.run(operation, key.as_ref(), deadline));
    let answer = timeout(crash_after, run).await;
    let mut state = world.state();
    let Ok(answer) = answer else {
        state.count("crashes");
        return None;
    };
    let at = state.step();
    let late = Instant::now().saturating_duration_since(deadline);
    state.calls[id].ended = Some(Ended { at, answer: answer.clone(), late });
    Some(answer)
}

thread_local! {
    static START: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Starts the wall clock of this thread, which follows its paused clock.
pub(super) fn start_clock() {
    START.set(Some(Instant::now()));
}

pub(super) fn clock() -> SystemTime {
    let start = START.get().expect("the clock is started");
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + (Instant::now() - start)
}
