//! The request to stop, visible to every thread.

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
    /// Asks every worker to stop, with this grace period for writes in flight. Only the first request counts.
    pub fn request(&self, grace: Duration) {
        self.deadline.get_or_init(|| Instant::now() + grace);
        self.requested.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Waits for the request to stop.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Returns the end of the grace period, when unfinished messages are nacked; now, without a request.
    pub fn deadline(&self) -> Instant {
        self.deadline.get().copied().unwrap_or_else(Instant::now)
    }
}
