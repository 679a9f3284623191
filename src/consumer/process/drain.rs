//! The request to stop, seen by every thread.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub struct Drain {
    requested: CancellationToken,
    deadline: OnceLock<Instant>,
}

impl Drain {
    /// Asks every worker to stop, with `grace` for the writes in hand. Only the first request counts.
    pub fn request(&self, grace: Duration) {
        self.deadline.get_or_init(|| Instant::now() + grace);
        self.requested.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Resolves once a stop was asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// When what is still in hand is given back; now, if no stop was asked for.
    pub fn deadline(&self) -> Instant {
        self.deadline.get().copied().unwrap_or_else(Instant::now)
    }
}
