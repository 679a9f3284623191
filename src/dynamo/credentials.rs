//! Credentials that come although the one who asks for them gives up sooner. Knows no provider by name.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_dynamodb::config::Credentials;
use tokio::sync::Mutex;
use tokio::time::timeout;

type Asking = Pin<Box<dyn Future<Output = provider::Result> + Send>>;

/// A provider that has not answered for so long is begun anew: it may hang for ever.
const BEGUN_ANEW_AFTER: Duration = Duration::from_secs(60);

/// A provider whose answer outlives a cancelled request.
///
/// An attempt to write ends within seconds, and credentials may take longer: a role in another region, a process that
/// asks a session. Begun anew by each attempt they would never come, so the next attempt goes on with what the last
/// one began.
pub(super) struct CancelSafeCredentials {
    provider: SharedCredentialsProvider,
    asking: Mutex<Option<Asking>>,
}

impl CancelSafeCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> CancelSafeCredentials {
        CancelSafeCredentials { provider, asking: Mutex::new(None) }
    }

    async fn ask(&self) -> provider::Result {
        let mut asking = self.asking.lock().await;
        let begin = || -> Asking {
            let provider = self.provider.clone();
            let late = || Err(CredentialsError::provider_timed_out(BEGUN_ANEW_AFTER));
            Box::pin(async move {
                timeout(BEGUN_ANEW_AFTER, provider.provide_credentials()).await.unwrap_or_else(|_| late())
            })
        };
        let answer = asking.get_or_insert_with(begin).await;
        *asking = None;
        answer
    }
}

impl ProvideCredentials for CancelSafeCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
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

    /// Answers after ten seconds.
    #[derive(Debug, Default)]
    struct Slow {
        asked: Arc<AtomicU32>,
    }

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                let asked = self.asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(10)).await;
                Ok(Credentials::new(format!("id{asked}"), "secret", None, None, "tests"))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_gives_up_has_not_asked_in_vain() {
        let slow = Slow::default();
        let asked = slow.asked.clone();
        let lasting = CancelSafeCredentials::new(SharedCredentialsProvider::new(slow));
        let attempt = || timeout(Duration::from_secs(3), lasting.provide_credentials());

        for _ in 0..3 {
            assert!(attempt().await.is_err());
        }
        let credentials = attempt().await.expect("ten seconds are over").expect("they came");

        assert_eq!((credentials.access_key_id(), asked.load(Ordering::Relaxed)), ("id0", 1));
        assert!(attempt().await.is_err(), "an answer that was given is not given again");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
