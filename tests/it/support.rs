//! The test harness: servers to test against, the real program as a child process, and what tests read from both.

pub(crate) mod collector;
pub(crate) mod dynamo;
pub(crate) mod dynamo_proxy;
pub(crate) mod http_proxy;
pub(crate) mod inbox;
pub(crate) mod local_dynamo;
pub(crate) mod messages;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod publish_router;
pub(crate) mod pubsub;
pub(crate) mod servers;
pub(crate) mod tcp_proxy;
pub(crate) mod webhook_receiver;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for an event. It is long because a loaded machine is slow; a passing test rarely comes near.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a test waits to show that nothing more happens, where no event shows it. A passing test spends it in full.
pub(crate) const QUIET_PERIOD: Duration = Duration::from_millis(700);

/// How often a test polls a state that cannot wake it.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// An address that refuses connections, because nothing can listen on port 0.
pub(crate) const REFUSING: &str = "127.0.0.1:0";

/// Awaits `future`, and panics with `what` if it takes longer than [`TIMEOUT`].
pub(crate) async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(TIMEOUT, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting after {TIMEOUT:?}: {what}"),
    }
}

/// Polls until `poll` returns a result. Until then it returns a measure of progress. Panics with `what` if the progress does
/// not change for [`TIMEOUT`], so a slow server is no failure.
///
/// Polling takes at most a fifth of the time, so it does not slow down the server.
pub(crate) async fn with_progress<T, P: Copy + Debug + PartialEq>(
    what: &str,
    mut poll: impl AsyncFnMut() -> Result<T, P>,
) -> T {
    let mut last: Option<(P, Instant)> = None;
    loop {
        let began = Instant::now();
        let progress = match with_timeout(what, poll()).await {
            Ok(result) => return result,
            Err(progress) => progress,
        };
        match last {
            Some((same, since)) if same == progress => {
                assert!(since.elapsed() < TIMEOUT, "no progress for {TIMEOUT:?} at {progress:?}: {what}");
            }
            _ => last = Some((progress, Instant::now())),
        }
        sleep(POLL_INTERVAL.max(4 * began.elapsed())).await;
    }
}

/// Returns a name that no other test, and no earlier run against the same server, has used.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:012x}", rand::random::<u64>() >> 16)
}

/// Returns the name of the running test, as cargo prints it.
pub(crate) fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}
