//! Shares the broker between requests: the lock, the clock, the timer and long polls.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::broker::Broker;
use super::error::{ApiError, Code};
use super::faults::Faults;
use super::names::Receipt;
use super::queue::{Message, Time};
use super::settings::Number;

pub(crate) struct Service {
    broker: Mutex<Broker>,
    pub(crate) faults: Faults,
    /// When the timer wakes.
    timer: watch::Sender<Option<Time>>,
    shutdown: watch::Sender<bool>,
    started: Instant,
    /// The time of `started`. Later times follow the clock of the runtime, which a test can pause.
    started_at: Time,
}

/// The parameters of a receive that are not those of the queue.
pub(crate) struct Poll {
    pub(crate) max: usize,
    pub(crate) visibility: Option<Duration>,
    pub(crate) wait: Option<Duration>,
}

impl Service {
    pub(crate) fn new() -> Service {
        Service {
            broker: Mutex::new(Broker::new(rand::random())),
            faults: Faults::default(),
            timer: watch::Sender::new(None),
            shutdown: watch::Sender::new(false),
            started: Instant::now(),
            started_at: wall_clock(),
        }
    }

    /// Runs an operation on the queues as they are now.
    pub(crate) fn apply<T>(&self, operation: impl FnOnce(&mut Broker, Time) -> T) -> T {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        broker.advance(now);
        let result = operation(&mut broker, now);
        if let Some(next) = broker.next_event() {
            self.timer.send_if_modified(|wakes| {
                let earlier = wakes.is_none_or(|wakes| next < wakes);
                if earlier {
                    *wakes = Some(next);
                }
                earlier
            });
        }
        result
    }

    /// Receives messages, and waits for the first one if there is none.
    pub(crate) async fn receive(&self, queue: &str, poll: Poll) -> Result<Vec<(Receipt, Message)>, ApiError> {
        let mut shutdown = self.shutdown.subscribe();
        let (arrivals, default_wait) = self.apply(|broker, _| {
            broker.queue(queue).map(|queue| (queue.arrivals.clone(), queue.seconds(Number::Wait)))
        })?;
        let wait = poll.wait.unwrap_or(default_wait);
        let deadline = Instant::now() + wait;
        loop {
            // Before the queue is read, so that a deletion in between is noticed.
            let arrival = arrivals.notified();
            match self.apply(|broker, now| broker.receive(queue, poll.max, poll.visibility, now)) {
                Ok(received) if received.is_empty() => {}
                // Only a short poll gets this error.
                Err(error) if error.code == Code::OverLimit && !wait.is_zero() => {}
                result => return result,
            }
            if Instant::now() >= deadline || *shutdown.borrow() {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = arrival => {}
                () = sleep_until(deadline) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Makes messages visible and moves messages when they are due, so that long polls get them. Never returns.
    pub(crate) async fn run_timer(&self) {
        let mut rescheduled = self.timer.subscribe();
        loop {
            let next = self.reschedule();
            let due = async {
                match next {
                    Some(next) => sleep_until(self.started + next.saturating_sub(self.started_at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // An error would mean that the sender was dropped, but `self` owns it.
                _ = rescheduled.changed() => {}
            }
        }
    }

    /// Does what is due, and returns when the timer must wake next.
    fn reschedule(&self) -> Option<Time> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        broker.advance(self.now());
        let next = broker.next_event();
        // The lock is held, so that no earlier event is overwritten. The timer need not wake for its own change.
        self.timer.send_if_modified(|wakes| {
            *wakes = next;
            false
        });
        next
    }

    /// Ends all long polls.
    pub(crate) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Returns a receiver that becomes true when the server shuts down.
    pub(crate) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    fn now(&self) -> Time {
        self.started_at + self.started.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "timestamps of messages; nothing is decided by this clock")]
fn wall_clock() -> Time {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::broker::Given;
    use super::super::message::Content;
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    /// A service on the paused clock, with the queue `events`.
    fn service() -> Service {
        let service = Service::new();
        service.apply(|broker, now| broker.create("events", &Given::new(), now)).unwrap();
        service
    }

    fn send(service: &Service, delay: u64) {
        let content = Content { body: "a".to_owned(), ..Content::default() };
        let delay = Duration::from_secs(delay);
        service.apply(|broker, now| broker.send("events", content, Some(delay), now)).unwrap();
    }

    /// Receives one message for `visibility` seconds. Returns the number of messages, and how long it took.
    async fn poll(service: &Service, visibility: u64) -> (Result<usize, Code>, Duration) {
        let start = Instant::now();
        let poll = Poll { max: 1, visibility: Some(Duration::from_secs(visibility)), wait: Some(WAIT) };
        let received = service.receive("events", poll).await;
        (received.map(|received| received.len()).map_err(|error| error.code), start.elapsed())
    }

    /// Runs `test` beside the timer.
    async fn with_timer<T>(service: &Service, test: impl Future<Output = T>) -> T {
        tokio::select! {
            result = test => result,
            () = service.run_timer() => unreachable!("the timer never ends"),
        }
    }

    async fn after<T>(seconds: u64, operation: impl FnOnce() -> T) -> T {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        operation()
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_gets_a_message_at_the_moment_when_it_becomes_visible() {
        let service = service();
        send(&service, 3);
        with_timer(&service, async {
            assert_eq!(poll(&service, 7).await, (Ok(1), Duration::from_secs(3)));
            assert_eq!(poll(&service, 7).await, (Ok(1), Duration::from_secs(7)));
            let (polled, ()) = tokio::join!(poll(&service, 7), after(1, || send(&service, 0)));
            assert_eq!(polled, (Ok(1), Duration::from_secs(1)));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_wakes_for_an_event_that_became_the_first_while_it_sleeps() {
        let service = service();
        send(&service, 15);
        let earlier = after(1, || send(&service, 2));
        let (polled, ()) = with_timer(&service, async { tokio::join!(poll(&service, 60), earlier) }).await;
        assert_eq!(polled, (Ok(1), Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_without_messages_waits_for_its_whole_time() {
        let service = service();
        assert_eq!(with_timer(&service, poll(&service, 1)).await, (Ok(0), WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn polls_end_at_once_when_their_queue_is_deleted_and_at_the_shutdown() {
        let service = service();
        let delete = || service.apply(|broker, _| broker.delete("events")).unwrap();
        let (first, second, ()) = tokio::join!(poll(&service, 1), poll(&service, 1), after(2, delete));
        assert_eq!(first, (Err(Code::QueueDoesNotExist), Duration::from_secs(2)));
        assert_eq!(second, first);

        let service = self::service();
        let (polled, ()) = tokio::join!(poll(&service, 1), after(2, || service.shut_down()));
        assert_eq!(polled, (Ok(0), Duration::from_secs(2)));
    }
}
