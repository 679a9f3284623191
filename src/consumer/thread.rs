//! What the workers of one thread share, and the work beside them that belongs to no single message.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use super::dedup::Keys;
use super::ports::{Ports, ReceiptOf};
use super::process::Process;
use super::settings::WriteMode;
use super::write::batch::Batches;
use super::write::describe::describe;

/// A thread of an instance.
pub struct Thread<'a, P: Ports> {
    /// Counts from 0. The first thread describes the table for all.
    pub(super) number: usize,
    pub(super) process: &'a Arc<Process>,
    pub(super) keys: &'a Keys<ReceiptOf<P>>,
    pub(super) store: P::Store,
    /// `None` if each scan is written in a call of its own.
    pub(super) batches: Option<Batches>,
    /// `None` without `--dead-letter-topic`.
    pub(super) dead_letters: Option<P::DeadLetters>,
}

impl<'a, P: Ports> Thread<'a, P> {
    pub fn new(
        number: usize,
        process: &'a Arc<Process>,
        keys: &'a Keys<ReceiptOf<P>>,
        store: P::Store,
        dead_letters: Option<P::DeadLetters>,
    ) -> Thread<'a, P> {
        let batches = match process.settings.write_mode {
            WriteMode::Put => None,
            WriteMode::Batch { linger } => Some(Batches::new(linger)),
        };
        Thread { number, process, keys, store, batches, dead_letters }
    }

    /// Sends the batches of the thread, and on the first thread describes the table. Poll it after the workers, so that a batch
    /// contains everything that they have read by then.
    pub async fn serve(&self) -> Infallible {
        let send = async {
            match &self.batches {
                Some(batches) => batches.send(self.number, self.process, self.keys, &self.store).await,
                None => pending().await,
            }
        };
        let describe = async {
            match self.number {
                0 => describe(self.process, &self.store).await,
                _ => pending().await,
            }
        };
        tokio::select! {
            never = send => never,
            never = describe => never,
        }
    }
}
