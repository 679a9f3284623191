//! Checks over a new connection whether Pub/Sub responds at all. Does not check whether this identity may read.
//!
//! The stream itself does not show that. On an idle subscription it receives nothing, and the client silently retries a
//! refused or broken connection forever.
//!
//! The probe cannot show that Pub/Sub opens streams. While a quota refuses them (RESOURCE_EXHAUSTED), the client retries
//! without an error, and the probe succeeds. Only Google's metrics show that.

use std::time::Duration;

use tokio::time::timeout;

use super::super::permissions::{CONSUME, has_permission};
use super::super::{Connection, Problem};

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for this identity's permissions on the subscription with this full name, because everyone may ask that. Every
/// response counts except UNAVAILABLE, DEADLINE_EXCEEDED and missing credentials.
///
/// A missing permission counts too: the stream reports that, and a missing subscription.
pub(super) async fn probe(connection: Connection, subscription: String) -> Result<(), Problem> {
    let response = timeout(RESPONSE_TIMEOUT, has_permission(&connection, &subscription, CONSUME)).await;
    let timed_out = || Err(Problem::Unreachable(format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs())));
    match response.unwrap_or_else(|_| timed_out()) {
        Err(problem @ (Problem::Unreachable(_) | Problem::NoCredentials(_))) => Err(problem),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_is_not_a_response() {
        // Nothing can listen on port 0.
        let connection = Connection::new(Some("127.0.0.1:0"));
        let result = probe(connection, "projects/p/subscriptions/s".to_owned()).await;
        assert!(matches!(result, Err(Problem::Unreachable(_))), "{result:?}");
    }
}
