//! A worker: one loop that waits for the request to stop, a timer, a finished message, a free slot and the next delivery.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rand::rngs::StdRng;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{debug, warn};

use super::delivery::Message;
use super::message::{A_FREE_SLOT, A_NEWER_WRITE, Pipeline};
use super::ports::{Delivery, End, Ports, Receipt, ReceiptOf, Source, SourceError};
use super::process::Process;
use super::settings::{FLUSH_TIMEOUT, Settings, UNREAD_TIMEOUT, stream_messages};
use super::thread::Thread;

/// Runs a worker until the process is asked to stop and all messages of the process are settled.
///
/// Returns the error of a source that can never be read. Unsettled messages of the worker are nacked then.
pub async fn run<P: Ports>(thread: &Thread<'_, P>, mut source: P::Source, random: StdRng) -> Result<(), SourceError> {
    let Thread { process, keys, .. } = thread;
    let random = RefCell::new(random);
    let pipeline = Pipeline::new(thread, &random);
    let reading = process.census.begin_reading();
    let mut backlog = Backlog::new(process, &pipeline, &random);
    let mut messages = FuturesUnordered::new();
    let mut stop = pin!(process.drain.requested());
    // Kept across iterations, because a waiter that is dropped loses its place in the queue.
    let mut slot = pin!(Fuse::terminated());
    let sweep_every = sweep_interval(process.settings.max_retry_time);
    let mut sweep = interval(sweep_every);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let heartbeat = process.liveness.begin();
    loop {
        if slot.is_terminated() && !backlog.is_empty() {
            slot.set(process.free_slot().fuse());
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Before the branches that may always be ready.
            _ = sweep.tick() => {
                heartbeat.beat();
                backlog.nack_old();
                keys.take_old(sweep_every).into_iter().for_each(|claim| pipeline.settler.give_up_waiting(claim, A_NEWER_WRITE));
            }
            Some(()) = messages.next() => {}
            slot = &mut slot => {
                if let Some(message) = backlog.pop() {
                    messages.push(pipeline.handle(message, slot));
                }
            }
            delivery = source.next(), if backlog.has_room() => match delivery? {
                Some(delivery) => backlog.push(delivery),
                None => break,
            },
        }
    }
    // The loop ended, so it is not stuck. From here on every wait has a timeout.
    drop(heartbeat);
    slot.set(Fuse::terminated());
    source.stop();
    drop(backlog);
    let finish = async { while messages.next().await.is_some() {} };
    // After the grace period the remaining messages are dropped, which nacks them.
    let finish = timeout_at(process.drain.deadline(), finish);
    // With a timeout, because a stream may not end. Messages that it still holds are redelivered after their lease.
    let nack = timeout(UNREAD_TIMEOUT, nack_unread(process, &mut source));
    let _ = tokio::join!(finish, nack);
    drop(messages);
    drop(reading);
    // Any thread may settle receipts of this stream, and their leases are extended by a task on this thread's runtime.
    process.census.all_settled().await;
    flush(process, source).await;
    Ok(())
}

/// Waits until the source has sent its last acks and nacks.
async fn flush<S: Source>(process: &Process, source: S) {
    if timeout(FLUSH_TIMEOUT, source.flushed()).await.is_err()
        && let Some(suppressed) = process.logs.unflushed.due()
    {
        warn!(
            waited_s = FLUSH_TIMEOUT.as_secs(),
            suppressed, "the last acknowledgements were not sent in time; their messages may be redelivered"
        );
    }
}

/// Nacks the messages that the source has read already.
async fn nack_unread<S: Source>(process: &Process, source: &mut S) {
    while let Ok(Some(delivery)) = source.next().await {
        process.observer.delivered(&delivery.envelope);
        process.observer.released_unread();
        debug!(message_id = delivery.envelope.message_id, outcome = End::Released.name(), latency_ms = 0, "settled");
        delivery.receipt.nack();
    }
}

fn sweep_interval(max_retry_time: Duration) -> Duration {
    (max_retry_time / 20).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

/// Messages that were received and not decoded. The stream's own limit bounds them.
struct Backlog<'a, P: Ports> {
    process: &'a Arc<Process>,
    pipeline: &'a Pipeline<'a, P>,
    random: &'a RefCell<StdRng>,
    /// Twice the stream's limit, because the server may exceed it.
    max_messages: usize,
    messages: VecDeque<Box<Message<ReceiptOf<P>>>>,
}

impl<'a, P: Ports> Backlog<'a, P> {
    fn new(process: &'a Arc<Process>, pipeline: &'a Pipeline<'a, P>, random: &'a RefCell<StdRng>) -> Backlog<'a, P> {
        let Settings { max_outstanding, consumers, .. } = process.settings;
        let max_messages = 2 * stream_messages(max_outstanding, consumers);
        Backlog { process, pipeline, random, max_messages, messages: VecDeque::new() }
    }

    fn has_room(&self) -> bool {
        self.messages.len() < self.max_messages
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, delivery: Delivery<ReceiptOf<P>>) {
        self.messages.push_back(Message::take(delivery, self.process, &mut self.random.borrow_mut()));
    }

    fn pop(&mut self) -> Option<Box<Message<ReceiptOf<P>>>> {
        self.messages.pop_front()
    }

    /// Nacks the messages that reached their deadline before they were decoded.
    fn nack_old(&mut self) {
        let now = Instant::now();
        // Deadlines are jittered, so an expired message is not always the first.
        while let Some(position) = self.messages.iter().position(|message| message.claim.deadline <= now) {
            if let Some(message) = self.messages.remove(position) {
                self.pipeline.settler.give_up_waiting(message.claim, A_FREE_SLOT);
            }
        }
    }
}
