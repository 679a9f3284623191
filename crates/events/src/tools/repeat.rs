//! Repeats requests to tables that may succeed later.

use std::time::Duration;

use dynamodb::{StoreError, StoreErrorKind};
use tokio::time::sleep;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// About a minute.
const MAX_ATTEMPTS: u32 = 16;

pub(super) async fn repeat<T>(mut request: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut backoff = FIRST_BACKOFF;
    for attempt in 1.. {
        match request().await {
            Err(error) if attempt < MAX_ATTEMPTS && is_transient(error.kind) => {}
            result => return result,
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    unreachable!("the last attempt returns")
}

fn is_transient(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Unavailable
            | StoreErrorKind::Throttled
            | StoreErrorKind::HotKey
            | StoreErrorKind::Conflict
            | StoreErrorKind::OpenFiles
            | StoreErrorKind::Clock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn only_errors_that_pass_are_repeated() {
        let mut attempts = 0;
        let result = repeat(async || {
            attempts += 1;
            if attempts < 3 { Err(error(StoreErrorKind::Throttled)) } else { Ok(attempts) }
        });
        assert_eq!(result.await, Ok(3));
        let mut attempts = 0;
        let result = repeat(async || -> Result<(), _> {
            attempts += 1;
            Err(error(StoreErrorKind::Permission))
        });
        assert_eq!(result.await, Err(error(StoreErrorKind::Permission)));
        assert_eq!(attempts, 1);
    }
}
