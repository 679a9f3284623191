//! A worker: one loop over a finished message, a free slot, the next delivery, a timer, and the request to stop.

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

use super::dedup::Keys;
use super::delivery::Message;
use super::message::{A_FREE_SLOT, A_NEWER_WRITE, Pipeline};
use super::ports::{Delivery, End, Ports, Receipt, ReceiptOf, Source, SourceError};
use super::process::Process;
use super::settings::{FLUSH_TIMEOUT, Settings, UNREAD_TIMEOUT, stream_messages};
use super::write::batch::Batches;

/// Runs one worker until the process is asked to stop and everything of the process is settled.
///
/// An error is the source's: it can never be read. Whatever is in hand then is given back.
pub async fn run<P: Ports>(
    process: &Arc<Process>,
    keys: &Keys<ReceiptOf<P>>,
    mut source: P::Source,
    store: &P::Store,
    batches: Option<&Batches>,
    dead_letters: Option<&P::DeadLetters>,
    random: StdRng,
) -> Result<(), SourceError> {
    let random = RefCell::new(random);
    let pipeline = Pipeline::<P>::new(process, keys, store, batches, dead_letters, &random);
    let reading = process.census.reading();
    let mut backlog = Backlog::new(process, &pipeline, &random);
    let mut messages = FuturesUnordered::new();
    let mut stop = pin!(process.drain.requested());
    // Kept across turns: a waiter that is dropped and made anew loses its place in the queue.
    let mut slot = pin!(Fuse::terminated());
    let sweep_every = sweep_interval(process.settings.max_retry_time);
    let mut sweep = interval(sweep_every);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let beat = process.liveness.begin();
    loop {
        if slot.is_terminated() && !backlog.is_empty() {
            slot.set(process.free_slot().fuse());
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Before all that may never pause.
            _ = sweep.tick() => {
                beat.turn();
                backlog.give_up_old();
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
    // From here on every wait has a bound, and a loop that turns no more is none that is stuck.
    drop(beat);
    slot.set(Fuse::terminated());
    source.stop();
    drop(backlog);
    let finish = async { while messages.next().await.is_some() {} };
    // Beyond the grace what is left is dropped, which nacks it.
    let finish = timeout_at(process.drain.deadline(), finish);
    // Bounded too, for a stream that does not end; what it read is then given back when its lease ends.
    let rest = timeout(UNREAD_TIMEOUT, hand_back_unread(process, &mut source));
    let _ = tokio::join!(finish, rest);
    drop(messages);
    drop(reading);
    // A stream's lease task lives on this thread's runtime, and any thread may settle its receipts.
    process.census.all_settled().await;
    if timeout(FLUSH_TIMEOUT, source.flushed()).await.is_err()
        && let Some(suppressed) = process.unflushed_log.due()
    {
        let waited = FLUSH_TIMEOUT.as_secs();
        warn!(
            suppressed,
            "the last acknowledgements were not confirmed within {waited} s; what they settle may come again"
        );
    }
    Ok(())
}

async fn hand_back_unread<S: Source>(process: &Process, source: &mut S) {
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

/// What was read and is not decoded: bounded by the stream's own limits.
struct Backlog<'a, P: Ports> {
    process: &'a Arc<Process>,
    pipeline: &'a Pipeline<'a, P>,
    random: &'a RefCell<StdRng>,
    /// Twice the stream's limit, for a server that does not keep to it.
    room: usize,
    messages: VecDeque<Box<Message<ReceiptOf<P>>>>,
}

impl<'a, P: Ports> Backlog<'a, P> {
    fn new(process: &'a Arc<Process>, pipeline: &'a Pipeline<'a, P>, random: &'a RefCell<StdRng>) -> Backlog<'a, P> {
        let Settings { max_outstanding, consumers, .. } = process.settings;
        let room = 2 * stream_messages(max_outstanding, consumers);
        Backlog { process, pipeline, random, room, messages: VecDeque::new() }
    }

    fn has_room(&self) -> bool {
        self.messages.len() < self.room
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

    /// Gives back what reached its age before it was decoded.
    fn give_up_old(&mut self) {
        let now = Instant::now();
        // Deadlines differ by up to a tenth, so the oldest is not always in front; this looks at all only when one is.
        while let Some(position) = self.messages.iter().position(|message| message.claim.deadline <= now) {
            if let Some(message) = self.messages.remove(position) {
                self.pipeline.settler.give_up_waiting(message.claim, A_FREE_SLOT);
            }
        }
    }
}
