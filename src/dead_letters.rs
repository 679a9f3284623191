//! The operator's commands on dead letters: list them, redrive them to the topic that they came from, or delete them.
//! Does not know why a message is rejected, nor any vendor's client.

mod dead_letter;
mod list;
mod purge;
mod reader;
mod redrive;
mod report;
mod selection;
mod table;

use std::time::{Duration, SystemTime};

use crate::pubsub::{Admin, Connection, LEASE_EXTENSION, Problem, grant_subscriber};
use crate::service::{Endpoints, SetupError, pubsub_advice, within};

pub use dead_letter::{EXHAUSTED, UNKNOWN};
pub use list::{List, list};
pub use purge::{MAX_CONFIRMED, Purge, purge};
pub use redrive::{MAX_LIMIT, Redrive, redrive};
pub use selection::Selection;

/// A run ends after this time without a new dead letter.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The idle timeout if the run must not miss dead letters that another run has just leased. They are redelivered when
/// their leases end, or sooner.
const LONG_IDLE_TIMEOUT: Duration = IDLE_TIMEOUT.saturating_add(LEASE_EXTENSION);

/// The hint that follows if a run found no dead letter.
const HIDDEN_HINT: &str = " Dead letters that another reader has leased or just released are not visible.";

/// How a run on dead letters ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A redrive or purge left selected dead letters, or stopped before it had read them all.
    Partly,
    /// A list was stopped before its end, or the answer to the question of a purge was no.
    Stopped,
}

/// The dead-letter subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub endpoints: Endpoints,
    /// Full name.
    pub name: String,
    /// The idle timeout. By default some seconds, plus the minimum backoff of the subscription.
    pub wait: Option<Duration>,
}

/// What is known of the dead-letter subscription.
#[derive(Debug)]
struct Details {
    connection: Connection,
    /// Whether this identity may view the subscription.
    is_visible: bool,
    /// Full name of its topic. `None` if the subscription is not visible or the topic was deleted.
    topic: Option<String>,
    /// The minimum backoff of its retry policy, if it has one and this identity may view it.
    minimum_backoff: Option<Duration>,
}

impl Subscription {
    /// Requests the subscription's details, as far as this identity may view them.
    async fn details(&self) -> Result<Details, SetupError> {
        let connection = self.endpoints.pubsub();
        let details = async { Admin::connect(&connection).await?.subscription(&self.name).await };
        let (is_visible, topic, minimum_backoff) = match within(details, Problem::Unreachable).await {
            Ok(details) => (true, details.topic, details.minimum_backoff),
            // `roles/pubsub.subscriber` may not view it. The stream shows whether this identity may read it.
            Err(Problem::Refused(_)) => (false, None, None),
            Err(problem) => return Err(self.setup_error(&problem)),
        };
        Ok(Details { connection, is_visible, topic, minimum_backoff })
    }

    /// Returns the idle timeout: the chosen one, or the default plus the minimum backoff.
    fn idle_timeout(&self, default: Duration, minimum_backoff: Option<Duration>) -> Duration {
        self.wait.unwrap_or(default + minimum_backoff.unwrap_or_default())
    }

    /// Names the subscription, the problem, and the fix.
    fn setup_error(&self, problem: &Problem) -> SetupError {
        let name = &self.name;
        let thing = format!("dead-letter subscription {name} (--subscription, --project)");
        SetupError(match problem {
            Problem::NotFound => format!(
                "{thing} does not exist.\nCreate it and a topic with the same id: \
                 mini-scan setup pubsub --dead-letter-topic TOPIC"
            ),
            Problem::Refused(detail) => {
                format!("Pub/Sub denied reading {thing}: {detail}\nGrant it: {}", grant_subscriber(name))
            }
            problem => format!("{thing} cannot be read: {problem}\n{}", pubsub_advice(&self.endpoints, problem)),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "only the ages that an operator sees or chooses depend on it")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
