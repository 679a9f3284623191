//! One timer for all subscriptions: sleeps until the first of their events, and is moved when an earlier one arises.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

#[derive(Default)]
pub(super) struct Alarm {
    set_for: Mutex<Option<Instant>>,
    moved: Notify,
}

impl Alarm {
    /// Something is to be done at `event`; wakes the sleeper when it would sleep longer.
    pub(super) fn bring_forward(&self, event: Instant) {
        let mut set_for = self.set_for();
        if set_for.is_none_or(|current| event < current) {
            *set_for = Some(event);
            self.moved.notify_one();
        }
    }

    /// From here on every event wakes the sleeper: to be called before looking for the next event, so that none that
    /// arises while looking is slept through.
    pub(super) fn clear(&self) {
        *self.set_for() = None;
    }

    /// Returns at `next` or when an earlier event has arisen.
    pub(super) async fn sleep(&self, next: Option<Instant>) {
        if let Some(next) = next {
            let mut set_for = self.set_for();
            *set_for = Some(set_for.map_or(next, |current| current.min(next)));
        }
        let ring = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ring => {}
            () = self.moved.notified() => {}
        }
    }

    fn set_for(&self) -> MutexGuard<'_, Option<Instant>> {
        self.set_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_rings_at_the_first_event() {
        let alarm = Alarm::default();
        let event = Instant::now() + Duration::from_millis(10);
        alarm.sleep(Some(event)).await;
        assert!(Instant::now() >= event);
    }

    #[tokio::test]
    async fn an_earlier_event_wakes_it_and_a_later_one_does_not() {
        let alarm = Alarm::default();
        let event = Instant::now() + Duration::from_secs(3600);
        let mut sleep = std::pin::pin!(alarm.sleep(Some(event)));
        assert_eq!((&mut sleep).now_or_never(), None);
        alarm.bring_forward(event + Duration::from_secs(1));
        assert_eq!((&mut sleep).now_or_never(), None);
        alarm.bring_forward(event - Duration::from_secs(1));
        assert_eq!(sleep.now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn an_event_between_looking_and_sleeping_is_not_slept_through() {
        let alarm = Alarm::default();
        alarm.clear();
        alarm.bring_forward(Instant::now() + Duration::from_secs(3600));
        assert_eq!(alarm.sleep(None).now_or_never(), Some(()));
    }
}
