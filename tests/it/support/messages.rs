//! Log messages of the program that several tests wait for or count.

/// The consumer has started to read.
pub(crate) const CONSUMING: &str = "consuming";

/// The consumer has received a signal and drains.
pub(crate) const STOPPING: &str = "stopping";

/// The instance became unhealthy. The name of the condition follows.
pub(crate) const UNHEALTHY: &str = "unhealthy";

/// An unhealthy instance has another cause than the one that it logged before.
pub(crate) const STILL_UNHEALTHY: &str = "still unhealthy";

/// The instance recovered. The name of the condition follows.
pub(crate) const RECOVERED: &str = "recovered";

/// The consumer nacked a message that it could not write in time.
pub(crate) const NACKED: &str = "message nacked";

/// Pub/Sub does not answer.
pub(crate) const PUBSUB_SILENT: &str = "Pub/Sub does not answer";
