//! A receipt in hand: counted from the moment the client handed it over until it is settled, once.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::port::{Envelope, Receipt};
use super::tally::Tally;

/// A delivery that is ours until its receipt is settled.
#[derive(Debug)]
pub(super) struct Message<R: Receipt> {
    pub(super) envelope: Envelope,
    pub(super) claim: Claim<R>,
}

/// A receipt, the census it is counted in, and the time by which it is given back. Dropping it nacks.
#[derive(Debug)]
pub(super) struct Claim<R: Receipt> {
    receipt: Option<R>,
    tally: Arc<Tally>,
    /// When the receipt reaches its age: `--max-retry-time` less up to 10 % at random, so that what arrived together
    /// is not given back together.
    pub(super) deadline: Instant,
    pub(super) received: Instant,
}

impl<R: Receipt> Claim<R> {
    pub(super) fn new(receipt: R, tally: Arc<Tally>, max_retry_time: Duration, random: &mut StdRng) -> Claim<R> {
        tally.received.add_one();
        tally.take_in_hand();
        let received = Instant::now();
        let age = max_retry_time.mul_f64(random.random_range(0.9..=1.0));
        Claim { receipt: Some(receipt), tally, deadline: received + age, received }
    }

    pub(super) fn ack(mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.ack();
            self.tally.let_go();
        }
    }

    /// Gives the message back; what it counts as is the caller's to say.
    pub(super) fn nack(mut self) {
        self.settle_with_nack();
    }

    fn settle_with_nack(&mut self) -> bool {
        let Some(receipt) = self.receipt.take() else { return false };
        receipt.nack();
        self.tally.let_go();
        true
    }
}

impl<R: Receipt> Drop for Claim<R> {
    fn drop(&mut self) {
        if self.settle_with_nack() {
            self.tally.handed_back.add_one();
        }
    }
}
