//! Dead letters by hand: looking at them, and bringing them back to where they came from. Must not know why a message is
//! rejected, nor any vendor's client.

mod dead_letter;
mod list;
mod redrive;
mod report;
mod sources;
mod table;
mod text;

use std::time::Duration;

use crate::pubsub::{Admin, Connection, DeadLetterStream, LEASE_EXTENSION, Leased, Problem, grant_subscriber};
use crate::service::{Endpoints, SetupError, pubsub_advice, within};

pub use dead_letter::{EXHAUSTED, UNKNOWN};
pub use list::{List, list};
pub use redrive::{MOST_LIMIT, Redrive, redrive};

/// How long nothing may come before it is taken that nothing more will.
const QUIET: Duration = Duration::from_secs(5);
/// The same where a letter may be missed that another run had a moment ago: what was given back at its end, or not at all,
/// comes again when the lease ends, if not sooner.
const SURE: Duration = QUIET.saturating_add(LEASE_EXTENSION);

/// What is said where no letter came.
const UNSEEN: &str = " Those that another reader has, or gave back a moment ago, cannot be seen.";

/// The dead-letter subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub endpoints: Endpoints,
    /// Full name.
    pub name: String,
    /// How long nothing may come; by default some seconds, and what the subscription itself delays.
    pub wait: Option<Duration>,
}

/// The dead-letter subscription, as it was found.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    stream: DeadLetterStream,
    /// Its topic, where this identity may look and it was not deleted.
    topic: Option<String>,
    /// How long it keeps back what was nacked, where that is known.
    least_delay: Option<Duration>,
}

impl Subscription {
    /// Looks at the subscription and starts to read it.
    async fn open(&self, most: Leased) -> Result<Opened, SetupError> {
        let connection = self.endpoints.pubsub();
        let look = async { Admin::connect(&connection).await?.subscription(&self.name).await };
        let (topic, least_delay) = match within(look, Problem::Unreachable).await {
            Ok(found) => (found.topic, found.least_delay),
            // `roles/pubsub.subscriber` may not look; the stream's first answer shows whether it may read.
            Err(Problem::Refused(_)) => (None, None),
            Err(problem) => return Err(self.wrong(&problem)),
        };
        let stream =
            DeadLetterStream::open(&connection, &self.name, most).await.map_err(|problem| self.wrong(&problem))?;
        Ok(Opened { connection, stream, topic, least_delay })
    }

    /// How long nothing may come, where that is `usual`: longer by what the subscription keeps back.
    fn patience(&self, usual: Duration, least_delay: Option<Duration>) -> Duration {
        self.wait.unwrap_or(usual + least_delay.unwrap_or_default())
    }

    fn wrong(&self, problem: &Problem) -> SetupError {
        let name = &self.name;
        let thing = format!("dead-letter subscription {name} (--subscription, --project)");
        SetupError(match problem {
            Problem::NotFound => format!(
                "{thing} does not exist.\nCreate it with its topic, whose id it bears: \
                 mini-scan setup pubsub --dead-letter-topic TOPIC"
            ),
            Problem::Refused(detail) => {
                format!("reading {thing} is refused: {detail}\nGrant it: {}", grant_subscriber(name))
            }
            problem => format!("{thing} cannot be read: {problem}\n{}", pubsub_advice(&self.endpoints, problem)),
        })
    }
}
