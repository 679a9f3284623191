//! The simulated lease table of one instance: late writes, lost answers, and checks of each applied write.

use std::time::Duration;

use rand::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::world::{State, World};
use crate::lease::{Checkpoint, Lease, Owner};
use crate::ports::{Expected, LeaseError, LeaseErrorKind, LeasePage, LeaseTable, LeaseUpdate, ScanPosition, Updated};
use crate::shard::ShardId;

/// The rows of one page of a scan.
const PAGE_ROWS: usize = 50;

pub(super) struct Table {
    pub(super) world: World,
    /// The name of the instance, which begins its owners.
    pub(super) instance: String,
}

impl Table {
    /// Waits for ever if the row gets no answers.
    async fn silence(&self, key: &str) {
        let is_silent = self.world.state().silent.as_deref() == Some(key);
        if is_silent {
            std::future::pending::<()>().await;
        }
    }

    /// Applies a write, maybe much later. A write that was sent is applied even if its caller gives up.
    async fn call<A: Send + 'static>(
        &self,
        write: impl FnOnce(&mut State) -> A + Send + 'static,
    ) -> Result<A, LeaseError> {
        if self.world.travel(&self.instance).await {
            return Err(unavailable("simulated"));
        }
        let (answer, answered) = oneshot::channel();
        let world = self.world.clone();
        let is_late = world.state().happens(|faults| faults.is_late, "late writes");
        let delay = Duration::from_millis(if is_late { world.state().random.random_range(1..40_000) } else { 0 });
        #[expect(clippy::disallowed_methods, reason = "a write on its way outlives the instance that sent it")]
        tokio::spawn(async move {
            sleep(delay).await;
            let applied = write(&mut world.state());
            let _ = answer.send(applied);
        });
        let applied = answered.await.map_err(|_| unavailable("a check failed"))?;
        if self.world.state().happens(|faults| faults.loses_answer, "lost answers") {
            return Err(unavailable("simulated loss of the answer"));
        }
        Ok(applied)
    }
}

fn unavailable(reason: &'static str) -> LeaseError {
    LeaseError::new(LeaseErrorKind::Unavailable, reason)
}

impl State {
    pub(super) fn is_invalid(&self, key: &str) -> bool {
        self.invalid.get(key).is_some_and(|until| Instant::now() < *until)
    }
}

impl LeaseTable for Table {
    async fn scan(&self, prefix: &str, after: Option<&ScanPosition>) -> Result<LeasePage, LeaseError> {
        let (prefix, after) = (prefix.to_owned(), after.map_or(String::new(), |position| position.0.clone()));
        self.call(move |state| {
            let is_valid = |row: &&Lease| !state.is_invalid(&row.key);
            let rows = state.rows.values().filter(|row| row.key.starts_with(&prefix) && row.key > after);
            let rows = rows.filter(is_valid);
            let leases: Vec<_> = rows.take(PAGE_ROWS).cloned().collect();
            let next = leases.last().filter(|_| leases.len() == PAGE_ROWS).map(|row| ScanPosition(row.key.clone()));
            LeasePage { leases, next }
        })
        .await
    }

    async fn create(&self, lease: &Lease) -> Result<Updated, LeaseError> {
        let lease = lease.clone();
        self.silence(&lease.key).await;
        self.call(move |state| {
            if state.is_invalid(&lease.key) {
                return Err(unavailable("the row is not valid"));
            }
            if let Some(row) = state.rows.get(&lease.key) {
                return Ok(Updated::Refused(Some(row.clone())));
            }
            check_checkpoint(state, &lease.key, &lease.checkpoint);
            state.forget_before_first_start(&lease.key);
            state.rows.insert(lease.key.clone(), lease.clone());
            state.written.insert(lease.key.clone(), Instant::now());
            Ok(Updated::Applied(lease))
        })
        .await?
    }

    async fn update(&self, key: &str, expected: &Expected, update: &LeaseUpdate) -> Result<Updated, LeaseError> {
        let (key, expected, update, instance) =
            (key.to_owned(), expected.clone(), update.clone(), self.instance.clone());
        self.call(move |state| {
            if state.is_invalid(&key) {
                return Err(unavailable("the row is not valid"));
            }
            let Some(row) = state.rows.get(&key).cloned() else { return Ok(Updated::Refused(None)) };
            if !is_met(&expected, &row) {
                return Ok(Updated::Refused(Some(row)));
            }
            check_writer(state, &row, &update, &instance);
            if is_start(&key) && row.counter == 0 {
                state.end_first_start();
            }
            let changed = changed(row, &update);
            if let Some(checkpoint) = &update.checkpoint {
                check_checkpoint(state, &key, checkpoint);
            }
            if update.counter.is_some() {
                state.written.insert(key.clone(), Instant::now());
            }
            state.rows.insert(key, changed.clone());
            Ok(Updated::Applied(changed))
        })
        .await?
    }

    async fn delete(&self, key: &str, expected: &Expected) -> Result<Updated, LeaseError> {
        let (key, expected) = (key.to_owned(), expected.clone());
        self.call(move |state| {
            let Some(row) = state.rows.get(&key).cloned() else { return Updated::Refused(None) };
            if !is_met(&expected, &row) {
                return Updated::Refused(Some(row));
            }
            assert!(row.is_finished(), "the row of an unfinished shard was deleted: {row:?}");
            state.count("deleted rows of finished shards");
            state.rows.remove(&key);
            Updated::Applied(row)
        })
        .await
    }
}

/// Returns whether this is the row of the stream's start.
fn is_start(key: &str) -> bool {
    key.ends_with('/')
}

fn is_met(expected: &Expected, row: &Lease) -> bool {
    row.owner == expected.owner && expected.counter.is_none_or(|counter| counter == row.counter)
}

fn changed(mut row: Lease, update: &LeaseUpdate) -> Lease {
    let update = update.clone();
    row.owner = update.owner.unwrap_or(row.owner);
    row.counter = update.counter.unwrap_or(row.counter);
    row.owner_switches = update.owner_switches.unwrap_or(row.owner_switches);
    row.checkpoint = update.checkpoint.unwrap_or(row.checkpoint);
    row.children = update.children.unwrap_or(row.children);
    row.handover_to = update.handover_to.unwrap_or(row.handover_to);
    row
}

/// Checks that only the owner changes a row, that its counter grows, and that an active owner does not lose it.
fn check_writer(state: &mut State, row: &Lease, update: &LeaseUpdate, instance: &str) {
    let is_of = |owner: &Owner| owner.as_str().starts_with(&format!("{instance}/"));
    let is_request = *update == LeaseUpdate { handover_to: update.handover_to.clone(), ..LeaseUpdate::default() };
    if is_request {
        return;
    }
    assert_eq!(update.counter, Some(row.counter + 1), "the counter must grow: {row:?} {update:?}");
    let Some(owner) = &row.owner else {
        assert!(update.checkpoint.is_none(), "a checkpoint of a row without an owner");
        return;
    };
    if is_of(owner) {
        return;
    }
    assert!(update.checkpoint.is_none(), "{instance} wrote a checkpoint into the lease of {owner:?}: {update:?}");
    let silence = state.written.get(&row.key).map_or(Duration::MAX, |written| Instant::now() - *written);
    let was_ignored = row.handover_to.as_ref().is_some_and(is_of);
    assert!(silence >= state.failover || was_ignored, "{instance} took the lease of {owner:?}, silent for {silence:?}");
    if silence < state.failover {
        // The owner notices it with its next write, at the latest when its lease expires by its own clock.
        state.former.insert(row.key.clone(), (owner.clone(), Instant::now() + state.failover));
        state.count("leases that were taken from an owner that ignored a request");
    }
    state.count("expired leases that were taken");
}

/// Checks that a checkpoint passes no record that nobody finished, in its shard and in the ancestors.
fn check_checkpoint(state: &mut State, key: &str, checkpoint: &Checkpoint) {
    let shard = ShardId::new(key.rsplit('/').next().unwrap());
    if shard.as_str().is_empty() {
        return;
    }
    let unsettled = match checkpoint {
        Checkpoint::After(number) => state.unsettled(&shard, Some(number.as_str().parse().unwrap())),
        Checkpoint::ShardEnd => state.unsettled(&shard, None),
        Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_) => None,
    };
    if let Some(record) = unsettled {
        panic!("the checkpoint {checkpoint:?} of {shard} passes record {}, which nobody finished", record.number);
    }
    if !checkpoint.is_start()
        && let Some((ancestor, record)) = state.readable_of_ancestors(&shard)
    {
        panic!("{shard} is at {checkpoint:?}, but record {} of its ancestor {ancestor} is unfinished", record.number);
    }
}
