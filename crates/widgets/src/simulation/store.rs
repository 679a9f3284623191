//! The store of the registry: requests take time, arrive late, fail, or lose their answers.

use std::time::Duration;

use dynamodb::{StoreError, StoreErrorKind};
use rand::seq::SliceRandom;
use tokio::sync::oneshot;
use tokio::time::sleep;
use uuid::Uuid;

use super::world::{Arrived, CALL, World, error};
use crate::ports::{Commit, Page, Store};
use crate::transaction::Transaction;
use crate::widget::{Serial, Widget};

/// The latest arrival of a transaction. It is longer than an operation may take.
const LATEST: Duration = Duration::from_secs(4);

impl World {
    /// Waits for the answer to a read, which may be a failure.
    async fn read(&self) -> Result<(), StoreError> {
        sleep(self.delay(self.faults.latency)).await;
        self.fail_early()?;
        if self.happens(self.faults.lost) {
            self.state().count("reads without an answer");
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Fails before the service has done anything.
    fn fail_early(&self) -> Result<(), StoreError> {
        for (probability, kind, event) in [
            (self.faults.throttled, StoreErrorKind::Throttled, "throttled requests"),
            (self.faults.unavailable, StoreErrorKind::Unavailable, "failed requests"),
        ] {
            if self.happens(probability) {
                self.state().count(event);
                return error(kind, event);
            }
        }
        Ok(())
    }

    /// Applies a transaction or refuses it.
    async fn process(&self, call: usize, transaction: Transaction, token: Uuid) -> Result<Commit, StoreError> {
        self.fail_early()?;
        if self.happens(self.faults.conflict) {
            return error(StoreErrorKind::Conflict, "TransactionConflict");
        }
        let arrived = self.state().arrive(call, &transaction, token, &self.faults);
        let mut items = match arrived {
            Arrived::Answer(answer) => return answer,
            Arrived::Committed(items) => items,
        };
        items.shuffle(&mut self.state().random);
        for (number, (serial, item)) in items.into_iter().enumerate() {
            if number > 0 && !self.faults.spread.is_zero() {
                sleep(self.delay(self.faults.spread)).await;
            }
            self.state().show(&serial, item);
        }
        self.state().end(&transaction, token);
        Ok(Commit::Applied)
    }

    async fn receive(
        self,
        call: usize,
        transaction: Transaction,
        token: Uuid,
        mut answer: oneshot::Sender<Result<Commit, StoreError>>,
    ) {
        let is_late = self.happens(self.faults.late);
        sleep(self.delay(if is_late { LATEST } else { self.faults.latency })).await;
        let result = self.process(call, transaction, token).await;
        if is_late && answer.is_closed() && result == Ok(Commit::Applied) {
            self.state().count("attempts applied late");
        }
        sleep(self.delay(self.faults.latency)).await;
        let result = match self.happens(self.faults.lost) {
            false => result,
            true => {
                self.state().count("lost answers");
                if self.happens(0.5) {
                    // Nobody hears of it until the attempt times out.
                    answer.closed().await;
                    return;
                }
                error(StoreErrorKind::Unavailable, "InternalServerError")
            }
        };
        let _ = answer.send(result);
    }
}

impl Store for World {
    async fn get(&self, serial: &Serial) -> Result<Option<Widget>, StoreError> {
        self.read().await?;
        let mut state = self.state();
        if state.is_locked(serial) {
            state.count("reads during a commit");
        }
        Ok(state.visible.get(serial).cloned())
    }

    async fn get_two(&self, [first, second]: [&Serial; 2]) -> Result<[Option<Widget>; 2], StoreError> {
        let first = self.get(first).await?;
        Ok([first, self.get(second).await?])
    }

    async fn snapshot(&self, serials: &[Serial]) -> Result<Vec<Option<Widget>>, StoreError> {
        self.read().await?;
        let mut state = self.state();
        state.count("snapshots");
        if serials.iter().any(|serial| state.is_locked(serial)) {
            return error(StoreErrorKind::Conflict, "TransactionConflict");
        }
        Ok(serials.iter().map(|serial| state.visible.get(serial).cloned()).collect())
    }

    async fn commit(&self, transaction: &Transaction, token: Uuid) -> Result<Commit, StoreError> {
        let (answer, answered) = oneshot::channel();
        let receive = self.clone().receive(CALL.get(), transaction.clone(), token, answer);
        self.requests.lock().unwrap().spawn(receive);
        answered.await.expect("each request is answered, or waits for ever")
    }

    async fn page(&self, _: Option<&Serial>, _: u16) -> Result<Page, StoreError> {
        unreachable!("the simulation reads no pages")
    }
}
