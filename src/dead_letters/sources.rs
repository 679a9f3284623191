//! Where redriven messages go: the topic of the subscription that a letter names, or one for all. Each subscription is
//! asked for its topic once.

use std::collections::HashMap;
use std::sync::Arc;

use super::dead_letter::is_subscription;
use super::text::harmless;
use crate::pubsub::{Admin, Connection, Problem, Publishers, grant_publisher};
use crate::service::{Endpoints, SetupError, pubsub_advice, within};

const LONGEST: usize = 200;

/// The topics of letters, by the subscriptions that they name.
pub(super) struct Sources {
    endpoints: Endpoints,
    connection: Connection,
    /// Full name of the topic that was chosen for all.
    chosen: Option<Arc<str>>,
    /// Full name of the dead-letter topic, where that is known.
    dead_letter_topic: Option<String>,
    admin: Option<Admin>,
    /// What each subscription's topic is, or why it is not known.
    topics: HashMap<String, Result<Arc<str>, String>>,
    publishers: HashMap<Arc<str>, Publishers>,
}

impl Sources {
    /// Refuses a chosen topic whose messages would be letters again.
    pub(super) fn new(
        endpoints: &Endpoints,
        connection: &Connection,
        chosen: Option<&str>,
        dead_letter_topic: Option<String>,
    ) -> Result<Sources, SetupError> {
        if let Some(topic) = chosen
            && dead_letter_topic.as_deref() == Some(topic)
        {
            return Err(SetupError(format!(
                "--topic {topic} is the dead-letter topic itself: redriven letters would come again.\n\
                 Name the topic that the consumers' subscription is on, or leave --topic out."
            )));
        }
        Ok(Sources {
            endpoints: endpoints.clone(),
            connection: connection.clone(),
            chosen: chosen.map(Arc::from),
            dead_letter_topic,
            admin: None,
            topics: HashMap::new(),
            publishers: HashMap::new(),
        })
    }

    /// The topic for a letter that names this subscription, or why there is none. `SetupError` where Pub/Sub cannot be asked.
    pub(super) async fn topic(&mut self, subscription: Option<&str>) -> Result<Result<Arc<str>, String>, SetupError> {
        if let Some(chosen) = &self.chosen {
            return Ok(Ok(chosen.clone()));
        }
        let Some(subscription) = subscription.filter(|name| is_subscription(name)) else {
            let named = subscription.map_or(String::new(), |name| format!(", but {}", harmless(name, LONGEST)));
            return Ok(Err(format!("no source subscription is named{named}")));
        };
        if let Some(topic) = self.topics.get(subscription) {
            return Ok(topic.clone());
        }
        let topic = self.ask(subscription).await?;
        self.topics.insert(subscription.to_owned(), topic.clone());
        Ok(topic)
    }

    /// Asks for the topic of a subscription.
    async fn ask(&mut self, subscription: &str) -> Result<Result<Arc<str>, String>, SetupError> {
        let look = async {
            let admin = match self.admin.take() {
                Some(admin) => admin,
                None => Admin::connect(&self.connection).await?,
            };
            self.admin.insert(admin).subscription(subscription).await
        };
        let found = within(look, Problem::Unreachable).await;
        Ok(match found.map(|found| found.topic) {
            Ok(Some(topic)) if self.dead_letter_topic.as_ref() == Some(&topic) => {
                Err(format!("source subscription {subscription} is on the dead-letter topic itself"))
            }
            Ok(Some(topic)) => Ok(Arc::from(topic)),
            Ok(None) => Err(format!("the topic of source subscription {subscription} was deleted")),
            Err(Problem::NotFound) => Err(format!("source subscription {subscription} does not exist")),
            Err(Problem::Refused(_)) => Err(format!(
                "looking at source subscription {subscription} is refused (grant roles/pubsub.viewer on it)"
            )),
            Err(problem) => {
                let advice = pubsub_advice(&self.endpoints, &problem);
                return Err(SetupError(format!(
                    "source subscription {subscription} cannot be asked for its topic: {problem}\n{advice}"
                )));
            }
        })
    }

    /// What publishes to the topic.
    pub(super) async fn publishers(&mut self, topic: &Arc<str>) -> Result<Publishers, SetupError> {
        if let Some(publishers) = self.publishers.get(topic) {
            return Ok(publishers.clone());
        }
        let connect = Publishers::connect(&self.connection, topic);
        let publishers = connect.await.map_err(|problem| self.wrong(topic, &problem))?;
        self.publishers.insert(topic.clone(), publishers.clone());
        Ok(publishers)
    }

    /// What is wrong with a topic, and what to do.
    pub(super) fn wrong(&self, topic: &str, problem: &Problem) -> SetupError {
        let thing = match self.chosen {
            Some(_) => format!("topic {topic} (--topic, --project)"),
            None => format!("source topic {topic}"),
        };
        SetupError(match problem {
            Problem::NotFound => {
                format!(
                    "{thing} does not exist.\nCreate it: mini-scan setup pubsub --topic {topic}, or choose with --topic"
                )
            }
            Problem::Refused(detail) => {
                format!("publishing to {thing} is refused: {detail}\nGrant it: {}", grant_publisher(topic))
            }
            problem => format!("cannot publish to {thing}: {problem}\n{}", pubsub_advice(&self.endpoints, problem)),
        })
    }
}
