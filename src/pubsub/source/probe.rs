//! Whether Pub/Sub answers at all, asked over a new connection.
//!
//! A stream does not tell: an idle subscription's answers nothing, and the client tries a refused or broken connection
//! again in silence, for ever.

use std::time::Duration;

use tokio::time::timeout;

use super::super::{Connection, Problem};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks for the subscription of this full name. That a role may not look at it is an answer like any other: what is
/// wrong with the subscription, its stream says.
pub(super) async fn ask(connection: Connection, subscription: String) -> Result<(), Problem> {
    let asked = async {
        // A client of its own: one that is kept would ask over a connection that is as old as the stream's.
        let admin = connection.subscription_admin().await?;
        let answer = admin.get_subscription().set_subscription(subscription).send().await;
        answer.map(drop).map_err(|error| Problem::from(&error))
    };
    let no_answer = || Err(Problem::Unreachable(format!("no answer within {} s", ANSWER_WITHIN.as_secs())));
    match timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| no_answer()) {
        Err(problem @ (Problem::Unreachable(_) | Problem::NoCredentials(_))) => Err(problem),
        Ok(()) | Err(_) => Ok(()),
    }
}
