//! Keeps a request for credentials running when its caller gives up. Knows no specific provider.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_dynamodb::config::Credentials;
use tokio::sync::Mutex;
use tokio::time::timeout;

type PendingRequest = Pin<Box<dyn Future<Output = provider::Result> + Send>>;

/// A request to the provider is abandoned after this time, because it may hang forever.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(60);

/// A credentials provider whose request survives the cancellation of its caller.
///
/// A write attempt ends within seconds, but credentials may take longer, for example from a role in another region or
/// from a credential process. If each attempt started a new request, none would ever finish. So the next attempt
/// continues the request that the last one started.
pub(crate) struct CancelSafeCredentials {
    provider: SharedCredentialsProvider,
    pending: Mutex<Option<PendingRequest>>,
}

impl CancelSafeCredentials {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> CancelSafeCredentials {
        CancelSafeCredentials { provider, pending: Mutex::new(None) }
    }

    async fn request(&self) -> provider::Result {
        let mut pending = self.pending.lock().await;
        let start = || -> PendingRequest {
            let provider = self.provider.clone();
            let timed_out = || Err(CredentialsError::provider_timed_out(PROVIDER_TIMEOUT));
            Box::pin(async move {
                timeout(PROVIDER_TIMEOUT, provider.provide_credentials()).await.unwrap_or_else(|_| timed_out())
            })
        };
        let result = pending.get_or_insert_with(start).await;
        *pending = None;
        result
    }
}

impl ProvideCredentials for CancelSafeCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.request())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.as_ref().fallback_on_interrupt()
    }
}

impl fmt::Debug for CancelSafeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelSafeCredentials").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// Returns credentials after ten seconds.
    #[derive(Debug, Default)]
    struct Slow {
        requests: Arc<AtomicU32>,
    }

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                let number = self.requests.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(10)).await;
                Ok(Credentials::new(format!("id{number}"), "secret", None, None, "tests"))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_continues_the_request_of_a_cancelled_one() {
        let slow = Slow::default();
        let requests = slow.requests.clone();
        let credentials = CancelSafeCredentials::new(SharedCredentialsProvider::new(slow));
        let attempt = || timeout(Duration::from_secs(3), credentials.provide_credentials());

        for _ in 0..3 {
            assert!(attempt().await.is_err());
        }
        let received = attempt().await.expect("ten seconds have passed").expect("the provider succeeds");

        assert_eq!((received.access_key_id(), requests.load(Ordering::Relaxed)), ("id0", 1));
        assert!(attempt().await.is_err(), "the finished request must not be reused");
        assert_eq!(requests.load(Ordering::Relaxed), 2);
    }
}
