//! The harness: servers to test against, the real program in a process of its own, and what a test asks of both.

pub(crate) mod dynamo;
pub(crate) mod fork;
pub(crate) mod front;
pub(crate) mod inbox;
pub(crate) mod local_dynamo;
pub(crate) mod pipeline;
pub(crate) mod program;
pub(crate) mod pubsub;
pub(crate) mod servers;
pub(crate) mod store_front;
pub(crate) mod wire;

use std::future::Future;
use std::time::Duration;

/// How long a test waits for what must happen. Long, because a loaded machine is slow; a passing test never waits it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for what would go wrong at once to go wrong; spent in full by every test that says "nothing more comes".
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// How often a test looks at what cannot wake it.
pub(crate) const LOOKING: Duration = Duration::from_millis(20);

/// Awaits what must happen, and says what it was when it does not.
pub(crate) async fn within_patience<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting after {PATIENCE:?}: {what}"),
    }
}

/// A name that no other test, and no earlier run against the same server, has used.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:012x}", rand::random::<u64>() >> 16)
}

/// The name of the running test, as cargo prints it.
pub(crate) fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}
