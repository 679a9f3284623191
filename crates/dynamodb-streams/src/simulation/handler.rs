//! The simulated handler: slow, failing, panicking, and unable to handle records of one key.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use super::stream::Data;
use super::world::{Finished, POISON, World};
use crate::ports::{BoxError, Gap, Handler, Outcome};
use crate::record::{DeadRecord, Record};

/// The handler of one instance.
pub(super) struct SimHandler {
    pub(super) world: World,
    pub(super) instance: String,
}

impl Handler<Data> for SimHandler {
    async fn handle(&self, record: &Record<Data>, _attempt: u32) -> Outcome {
        let (time, fails, panics) = {
            let mut state = self.world.state();
            let is_slow = state.happens(|faults| faults.handler_fails, "slow records");
            let longest = if is_slow { 20_000 } else { 60 };
            let time = Duration::from_millis(state.random.random_range(0..longest));
            let fails = state.happens(|faults| faults.handler_fails, "failed attempts");
            (time, fails, fails && state.random.random_bool(0.2))
        };
        if !time.is_zero() {
            sleep(time).await;
        }
        self.world.thawed(&self.instance).await;
        if panics {
            // A panic without a message on the console.
            std::panic::resume_unwind(Box::new("simulated"));
        }
        if fails {
            return match self.world.state().random.random() {
                true => Outcome::RetryLater { after: None, reason: "simulated".into() },
                false => Outcome::Unavailable { after: None, reason: "simulated".into() },
            };
        }
        if record.key == POISON && record.data.number.is_multiple_of(3) {
            return match record.data.number.is_multiple_of(2) {
                true => Outcome::Dead { reason: "poison".into() },
                false => Outcome::RetryLater { after: None, reason: "poison".into() },
            };
        }
        self.world.state().finish(&self.instance, &record.data.shard, record.data.number, Finished::Done);
        Outcome::Done
    }

    async fn store_dead(&self, dead: DeadRecord<'_, Data>) -> Result<(), BoxError> {
        sleep(Duration::from_millis(5)).await;
        if self.world.state().happens(|faults| faults.fails, "failed dead letters") {
            return Err("simulated".into());
        }
        self.world.state().finish(&self.instance, dead.shard, dead.record.data.number, Finished::Dead);
        Ok(())
    }

    async fn store_gap(&self, gap: &Gap) -> Result<(), BoxError> {
        let is_slow = self.world.state().happens(|faults| faults.handler_fails, "gaps that were stored slowly");
        sleep(Duration::from_millis(if is_slow { 5_000 } else { 5 })).await;
        let mut state = self.world.state();
        if state.happens(|faults| faults.fails, "gaps that were not stored") {
            return Err("simulated".into());
        }
        state.store_gap(&self.instance, gap);
        Ok(())
    }
}
