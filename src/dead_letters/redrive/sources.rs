//! Finds the topic for each redriven message: the topic of the dead letter's source subscription, or one topic for all.
//! Requests the details of each subscription once. Does not publish.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dead_letters::dead_letter::is_subscription;
use crate::dead_letters::{Details, Subscription};
use crate::pubsub::{Admin, Connection, Problem, Publishers, grant_publisher};
use crate::service::{Endpoints, SetupError, pubsub_advice, within};
use ops::terminal::sanitize;

const MAX_CHARS: usize = 200;

/// The topics of dead letters, by source subscription.
pub(super) struct Sources {
    endpoints: Endpoints,
    connection: Connection,
    /// Full name of the topic that `--topic` chose for all.
    chosen: Option<Arc<str>>,
    /// Full name of the dead-letter topic, if known.
    dead_letter_topic: Option<String>,
    admin: Option<Admin>,
    /// The topic of each subscription, or why it is unknown.
    topics: HashMap<String, Result<Arc<str>, String>>,
    publishers: HashMap<Arc<str>, Publishers>,
}

impl Sources {
    /// Refuses the dead-letter topic as the chosen topic, and, if that is unknown, a topic with the id that `setup`
    /// gives it.
    pub(super) fn new(from: &Subscription, details: &Details, chosen: Option<&str>) -> Result<Sources, SetupError> {
        if let Some(topic) = chosen
            && details.topic.as_deref() == Some(topic)
        {
            return Err(SetupError(format!(
                "--topic {topic} is the dead-letter topic itself: \
                 each redriven message would come back as a dead letter.\n\
                 Choose the topic of the consumers' subscription, or omit --topic."
            )));
        }
        if let Some(topic) = chosen
            && !details.is_visible
            && topic.replace("/topics/", "/subscriptions/") == from.name
        {
            return Err(SetupError(format!(
                "--topic {topic} has the id of the dead-letter subscription, as setup names a dead-letter topic.\n\
                 Choose the topic of the consumers' subscription. If this is it, grant roles/pubsub.viewer on {}, \
                 so that its topic can be compared.",
                from.name
            )));
        }
        Ok(Sources {
            endpoints: from.endpoints.clone(),
            connection: details.connection.clone(),
            chosen: chosen.map(Arc::from),
            dead_letter_topic: details.topic.clone(),
            admin: None,
            topics: HashMap::new(),
            publishers: HashMap::new(),
        })
    }

    /// Returns the topic for a dead letter with this source subscription, or why it is unknown. Fails if Pub/Sub does
    /// not respond.
    pub(super) async fn topic(&mut self, subscription: Option<&str>) -> Result<Result<Arc<str>, String>, SetupError> {
        if let Some(chosen) = &self.chosen {
            return Ok(Ok(chosen.clone()));
        }
        let Some(subscription) = subscription.filter(|name| is_subscription(name)) else {
            return Ok(Err(match subscription {
                Some(name) => format!("{} is not a valid source subscription", sanitize(name, MAX_CHARS)),
                None => "without a source subscription".to_owned(),
            }));
        };
        if let Some(topic) = self.topics.get(subscription) {
            return Ok(topic.clone());
        }
        let topic = self.request(subscription).await?;
        self.topics.insert(subscription.to_owned(), topic.clone());
        Ok(topic)
    }

    /// Requests the topic of a subscription from Pub/Sub.
    async fn request(&mut self, subscription: &str) -> Result<Result<Arc<str>, String>, SetupError> {
        let details = async {
            let admin = match self.admin.take() {
                Some(admin) => admin,
                None => Admin::connect(&self.connection).await?,
            };
            self.admin.insert(admin).subscription(subscription).await
        };
        let details = within(details, Problem::Unreachable).await;
        Ok(match details.map(|details| details.topic) {
            Ok(Some(topic)) if self.dead_letter_topic.as_ref() == Some(&topic) => {
                Err(format!("source subscription {subscription} is on the dead-letter topic itself"))
            }
            Ok(Some(topic)) => Ok(Arc::from(topic)),
            Ok(None) => Err(format!("the topic of source subscription {subscription} was deleted")),
            Err(Problem::NotFound) => Err(format!("source subscription {subscription} does not exist")),
            Err(Problem::Refused(_)) => Err(format!(
                "no permission to view source subscription {subscription} (grant roles/pubsub.viewer on it)"
            )),
            Err(problem) => {
                let advice = pubsub_advice(&self.endpoints, &problem);
                return Err(SetupError(format!(
                    "cannot find the topic of source subscription {subscription}: {problem}\n{advice}"
                )));
            }
        })
    }

    /// Returns the publishers of a topic.
    pub(super) async fn publishers(&mut self, topic: &Arc<str>) -> Result<Publishers, SetupError> {
        if let Some(publishers) = self.publishers.get(topic) {
            return Ok(publishers.clone());
        }
        let connect = Publishers::connect(&self.connection, topic);
        let publishers = connect.await.map_err(|problem| self.setup_error(topic, &problem))?;
        self.publishers.insert(topic.clone(), publishers.clone());
        Ok(publishers)
    }

    /// Names the topic that is the dead-letter topic, and the fix.
    pub(super) fn circle_error(&self, topic: &str, subscription: &str) -> SetupError {
        SetupError(format!(
            "{} is the dead-letter topic itself: a redriven message came back to {subscription}.\n\
             Choose the topic of the consumers' subscription with --topic.",
            self.describe(topic)
        ))
    }

    fn describe(&self, topic: &str) -> String {
        match self.chosen {
            Some(_) => format!("topic {topic} (--topic, --project)"),
            None => format!("source topic {topic}"),
        }
    }

    /// Names the topic, the problem, and the fix.
    pub(super) fn setup_error(&self, topic: &str, problem: &Problem) -> SetupError {
        let thing = self.describe(topic);
        SetupError(match problem {
            Problem::NotFound => {
                format!(
                    "{thing} does not exist.\n\
                     Create it: mini-scan setup pubsub --topic {topic}; or choose another with --topic"
                )
            }
            Problem::Refused(detail) => {
                format!("Pub/Sub denied publishing to {thing}: {detail}\nGrant it: {}", grant_publisher(topic))
            }
            problem => format!("cannot publish to {thing}: {problem}\n{}", pubsub_advice(&self.endpoints, problem)),
        })
    }
}
