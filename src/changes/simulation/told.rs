//! Somebody who is told of changes: notifications fail, hang, and lose their answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::table::Table;
use crate::changes::ports::Notifier;
use crate::changes::{Entry, EntryKey};
use crate::consumer::ports::{StoreError, StoreErrorKind};

#[derive(Clone)]
pub(super) struct Told {
    table: Table,
    state: Arc<Mutex<State>>,
}

struct State {
    random: StdRng,
    entries: BTreeMap<String, Entry>,
    repeated: u64,
}

fn text(key: &EntryKey) -> String {
    format!("{} {}", key.service.ip(), key.sort_key())
}

impl Told {
    pub(super) fn new(seed: u64, table: Table) -> Told {
        let random = StdRng::seed_from_u64(seed ^ 0x701d);
        Told { table, state: Arc::new(Mutex::new(State { random, entries: BTreeMap::new(), repeated: 0 })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it has the lock")
    }

    pub(super) fn knows(&self, key: &EntryKey) -> bool {
        self.state().entries.contains_key(&text(key))
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.state().entries.values().cloned().collect()
    }

    /// Returns how often an entry came again.
    pub(super) fn repeated(&self) -> u64 {
        self.state().repeated
    }
}

impl Notifier for Told {
    fn notify(&self, entry: Entry, _: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        assert!(self.table.entries().contains(&entry), "nobody is told of an entry that is not stored: {entry:?}");
        Box::pin(async move {
            let (fate, hangs, delay) = {
                let random = &mut self.state().random;
                (random.random_range(0..5), random.random_bool(0.1), random.random_range(0..5_000))
            };
            sleep(Duration::from_millis(delay)).await;
            if fate > 0 {
                let mut state = self.state();
                let is_new = state.entries.insert(text(&entry.key), entry).is_none();
                state.repeated += u64::from(!is_new);
            }
            if hangs {
                sleep(Duration::from_secs(3600)).await;
            }
            // With the second fate, the answer is lost.
            if fate > 1 {
                return Ok(());
            }
            Err(StoreError { kind: StoreErrorKind::Unavailable, detail: "nobody can be told".to_owned() })
        })
    }
}
