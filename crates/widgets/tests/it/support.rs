//! The real program as a child process, how long a test waits, and the comparison of answers with the table.

#[path = "../../../../tests/it/support/process.rs"]
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod truth;

use std::future::Future;
use std::time::Duration;

/// How long a test waits for an event. It is long because a loaded machine is slow; a passing test rarely comes near.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Awaits `future`, and panics with `what` if it takes longer than [`TIMEOUT`].
pub(crate) async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(TIMEOUT, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting after {TIMEOUT:?}: {what}"),
    }
}
