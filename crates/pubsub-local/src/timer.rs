//! One timer for all subscriptions. It sleeps until their next event, and an earlier event wakes it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[derive(Default)]
pub(super) struct Timer {
    /// When the sleeper wakes. `None` while it looks for the next event, and while there is none.
    deadline: Mutex<Option<Instant>>,
    rescheduled: Notify,
}

impl Timer {
    /// Wakes the sleeper at `event` if it would sleep longer.
    pub(super) fn schedule(&self, event: Instant) {
        let mut deadline = self.deadline();
        if deadline.is_none_or(|current| event < current) {
            *deadline = Some(event);
            self.rescheduled.notify_one();
        }
    }

    /// Lets every event wake the sleeper from now on. Call it before looking for the next event: otherwise the sleeper
    /// would miss an event that is scheduled during the search.
    pub(super) fn clear(&self) {
        *self.deadline() = None;
    }

    /// Sleeps until `next`, or until an earlier event is scheduled.
    pub(super) async fn sleep(&self, next: Option<Instant>) {
        if let Some(next) = next {
            let mut deadline = self.deadline();
            *deadline = Some(deadline.map_or(next, |current| current.min(next)));
        }
        let elapsed = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = elapsed => {}
            () = self.rescheduled.notified() => {}
        }
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn sleeps_until_the_next_event() {
        let timer = Timer::default();
        let event = Instant::now() + Duration::from_millis(10);
        timer.sleep(Some(event)).await;
        assert!(Instant::now() >= event);
    }

    #[tokio::test]
    async fn an_earlier_event_wakes_the_sleeper_and_a_later_one_does_not() {
        let timer = Timer::default();
        let event = Instant::now() + Duration::from_secs(3600);
        let mut sleep = std::pin::pin!(timer.sleep(Some(event)));
        assert_eq!((&mut sleep).now_or_never(), None);
        timer.schedule(event + Duration::from_secs(1));
        assert_eq!((&mut sleep).now_or_never(), None);
        timer.schedule(event - Duration::from_secs(1));
        assert_eq!(sleep.now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn an_event_that_is_scheduled_before_the_sleep_is_not_missed() {
        let timer = Timer::default();
        timer.clear();
        timer.schedule(Instant::now() + Duration::from_secs(3600));
        assert_eq!(timer.sleep(None).now_or_never(), Some(()));
    }
}
