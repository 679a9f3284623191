//! Extends the visibility of what is in memory, forgets what became visible, and returns messages to the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{BATCH, FAILURE_DELAY, Shared, VISIBILITY_CALLS, propagate};
use crate::ports::{Call, DeadLetters, Dispatch, Entry, Events, Failure, Queue};
use crate::processor::flow::Ticket;

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Shared<Q, E, D, P> {
    /// Extends visibility until `stored`, and waits for the open requests.
    pub(super) async fn extend_until(self: &Arc<Self>, stored: &CancellationToken) {
        let mut calls = JoinSet::new();
        loop {
            let wakes_at = self.state().flow.wakes_at();
            let is_due = async {
                match wakes_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stored.cancelled() => break,
                () = self.due.notified() => {}
                () = is_due => {}
            }
            self.forget_lost();
            loop {
                while calls.len() >= VISIBILITY_CALLS {
                    join_next(&mut calls).await;
                }
                let due = self.state().flow.extend(Instant::now(), BATCH);
                if due.is_empty() {
                    break;
                }
                let shared = Arc::clone(self);
                calls.spawn(async move { shared.extend_batch(due).await });
            }
            while let Some(ended) = calls.try_join_next() {
                propagate(ended);
            }
        }
        while !calls.is_empty() {
            join_next(&mut calls).await;
        }
    }

    fn forget_lost(&self) {
        let mut state = self.state();
        let lost = state.flow.lost(Instant::now());
        if lost.is_empty() {
            return;
        }
        for ticket in &lost {
            // Those that are being stored go on.
            if !state.flow.holds(*ticket) {
                state.works.remove(ticket);
            }
            self.observer.lost();
        }
        self.memory_changed(state);
        self.start.notify_one();
    }

    async fn extend_batch(&self, tickets: Vec<Ticket>) {
        let asked = Instant::now();
        let results = self.set_visibility(&tickets, self.settings.limits.visibility).await;
        let now = Instant::now();
        let mut state = self.state();
        for (ticket, result) in results {
            match result {
                Entry::Done => state.flow.extended(ticket, asked),
                // A third of its visibility is left, so there is time for other attempts.
                Entry::Failed => state.flow.not_extended(ticket, now + FAILURE_DELAY),
                Entry::Gone => state.flow.expired(ticket, now),
            }
        }
        drop(state);
        self.due.notify_one();
    }

    /// Sets the visibility of those of up to ten messages that are in memory.
    async fn set_visibility(&self, tickets: &[Ticket], after: Duration) -> Vec<(Ticket, Entry)> {
        let works = self.works(tickets);
        if works.is_empty() {
            return Vec::new();
        }
        let receipts: Vec<&str> = works.iter().map(|(_, work)| work.message.receipt.as_str()).collect();
        let result = timeout(self.settings.call_timeout, self.ports.queue.set_visibility(&receipts, after)).await;
        let entries = self.entries(Call::SetVisibility, result.unwrap_or_else(|_| Err(self.late())), works.len());
        works.iter().map(|(ticket, _)| *ticket).zip(entries).collect()
    }

    /// Returns the result of each entry. A request that failed is a failure of each one.
    pub(super) fn entries(&self, call: Call, result: Result<Vec<Entry>, Failure>, count: usize) -> Vec<Entry> {
        match result {
            Ok(entries) => {
                self.observer.succeeded(call);
                entries
            }
            Err(failure) => {
                self.observer.failed(call, &failure);
                vec![Entry::Failed; count]
            }
        }
    }

    pub(super) fn late(&self) -> Failure {
        Failure::Unavailable(format!("no answer within {:?}", self.settings.call_timeout))
    }

    /// Makes messages visible to other instances, and forgets them. If a request fails, its messages become visible later.
    pub(super) async fn return_messages(self: &Arc<Self>, tickets: Vec<Ticket>) {
        let mut calls = JoinSet::new();
        for tickets in tickets.chunks(BATCH) {
            while calls.len() >= VISIBILITY_CALLS {
                join_next(&mut calls).await;
            }
            let (shared, tickets) = (Arc::clone(self), tickets.to_vec());
            calls.spawn(async move {
                let results = shared.set_visibility(&tickets, Duration::ZERO).await;
                shared.observer.returned(results.iter().filter(|(_, result)| *result == Entry::Done).count());
                shared.forget(&tickets);
            });
        }
        while !calls.is_empty() {
            join_next(&mut calls).await;
        }
    }
}

async fn join_next(calls: &mut JoinSet<()>) {
    if let Some(ended) = calls.join_next().await {
        propagate(ended);
    }
}
