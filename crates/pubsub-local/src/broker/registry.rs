//! The topics and subscriptions that exist, and which subscription belongs to which topic.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use prost_types::FieldMask;

use super::super::error::ApiError;
use super::super::names::{self, Kind};
use super::super::settings;
use super::super::subscription::Subscription;
use super::super::wire::{Subscription as Resource, Topic};
use super::Broker;

/// The topic name that the service reports for a subscription whose topic was deleted.
const DELETED_TOPIC: &str = "_deleted-topic_";
const MAX_PAGE_SIZE: usize = 1000;

#[derive(Default)]
pub(super) struct Registry {
    topics: BTreeMap<String, TopicState>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
    last_number: u64,
}

struct TopicState {
    resource: Topic,
    subscriptions: Vec<Arc<Subscription>>,
}

/// The page of a list that a client requests.
pub(in super::super) struct Page {
    pub(in super::super) size: i32,
    pub(in super::super) token: String,
}

impl Registry {
    pub(super) fn all_subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.values().cloned().collect()
    }

    pub(super) fn subscriptions_of(&self, topic: &str) -> Result<Vec<Arc<Subscription>>, ApiError> {
        self.topic(topic).map(|topic| topic.subscriptions.clone())
    }

    fn topic(&self, name: &str) -> Result<&TopicState, ApiError> {
        self.topics.get(name).ok_or_else(|| missing(Kind::Topic, name))
    }

    fn subscription(&self, name: &str) -> Result<&Arc<Subscription>, ApiError> {
        self.subscriptions.get(name).ok_or_else(|| missing(Kind::Subscription, name))
    }

    fn require_dead_letter_topic(&self, resource: &Resource) -> Result<(), ApiError> {
        match &resource.dead_letter_policy {
            Some(policy) => self.topic(&policy.dead_letter_topic).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Returns INVALID_ARGUMENT for an invalid name and NOT_FOUND for a valid one.
fn missing(kind: Kind, name: &str) -> ApiError {
    names::check(kind, name).err().unwrap_or_else(|| ApiError::not_found(name))
}

impl Broker {
    pub(in super::super) fn create_topic(&self, resource: Topic) -> Result<Topic, ApiError> {
        let resource = settings::normalize_topic(resource)?;
        let mut registry = self.registry();
        if registry.topics.contains_key(&resource.name) {
            return Err(ApiError::already_exists(&resource.name));
        }
        let topic = TopicState { resource: resource.clone(), subscriptions: Vec::new() };
        registry.topics.insert(resource.name.clone(), topic);
        Ok(resource)
    }

    pub(in super::super) fn topic(&self, name: &str) -> Result<Topic, ApiError> {
        self.registry().topic(name).map(|topic| topic.resource.clone())
    }

    pub(in super::super) fn update_topic(&self, changes: Topic, mask: Option<&FieldMask>) -> Result<Topic, ApiError> {
        let mut registry = self.registry();
        let updated = settings::update_topic(&registry.topic(&changes.name)?.resource, changes, mask)?;
        if let Some(topic) = registry.topics.get_mut(&updated.name) {
            topic.resource = updated.clone();
        }
        Ok(updated)
    }

    /// Deletes a topic. Its subscriptions stay, with their messages.
    pub(in super::super) fn delete_topic(&self, name: &str) -> Result<(), ApiError> {
        let removed = self.registry().topics.remove(name).ok_or_else(|| missing(Kind::Topic, name))?;
        removed.subscriptions.iter().for_each(|subscription| subscription.set_topic(DELETED_TOPIC));
        Ok(())
    }

    pub(in super::super) fn topics(&self, project: &str, page: &Page) -> Result<(Vec<Topic>, String), ApiError> {
        names::check_project(project)?;
        let registry = self.registry();
        Ok(paginate(&registry.topics, page, |name, topic| in_project(name, project).then(|| topic.resource.clone())))
    }

    /// Lists the names of the subscriptions of a topic.
    pub(in super::super) fn topic_subscriptions(
        &self,
        topic: &str,
        page: &Page,
    ) -> Result<(Vec<String>, String), ApiError> {
        let registry = self.registry();
        registry.topic(topic)?;
        Ok(paginate(&registry.subscriptions, page, |name, subscription| {
            (subscription.topic() == topic).then(|| name.to_owned())
        }))
    }

    pub(in super::super) fn create_subscription(&self, resource: Resource) -> Result<Resource, ApiError> {
        let resource = settings::normalize(resource)?;
        names::check(Kind::Topic, &resource.topic)?;
        let mut registry = self.registry();
        if registry.subscriptions.contains_key(&resource.name) {
            return Err(ApiError::already_exists(&resource.name));
        }
        registry.require_dead_letter_topic(&resource)?;
        registry.topic(&resource.topic)?;
        registry.last_number += 1;
        let subscription = Arc::new(Subscription::new(resource.clone(), registry.last_number));
        if let Some(topic) = registry.topics.get_mut(&resource.topic) {
            topic.subscriptions.push(Arc::clone(&subscription));
        }
        registry.subscriptions.insert(resource.name.clone(), subscription);
        Ok(resource)
    }

    pub(in super::super) fn subscription(&self, name: &str) -> Result<Arc<Subscription>, ApiError> {
        self.registry().subscription(name).cloned()
    }

    pub(in super::super) fn update_subscription(
        &self,
        changes: Resource,
        mask: Option<&FieldMask>,
    ) -> Result<Resource, ApiError> {
        let registry = self.registry();
        let subscription = Arc::clone(registry.subscription(&changes.name)?);
        let updated = settings::update(&subscription.resource(), changes, mask)?;
        registry.require_dead_letter_topic(&updated)?;
        subscription.set_resource(updated.clone());
        drop(registry);
        // A shorter retention duration moves the next event.
        self.change(&subscription, |_| ());
        Ok(updated)
    }

    pub(in super::super) fn delete_subscription(&self, name: &str) -> Result<(), ApiError> {
        let mut registry = self.registry();
        let removed = registry.subscriptions.remove(name).ok_or_else(|| missing(Kind::Subscription, name))?;
        if let Some(topic) = registry.topics.get_mut(&removed.topic()) {
            topic.subscriptions.retain(|subscription| !Arc::ptr_eq(subscription, &removed));
        }
        removed.delete();
        Ok(())
    }

    pub(in super::super) fn subscriptions(
        &self,
        project: &str,
        page: &Page,
    ) -> Result<(Vec<Resource>, String), ApiError> {
        names::check_project(project)?;
        let registry = self.registry();
        Ok(paginate(&registry.subscriptions, page, |name, subscription| {
            in_project(name, project).then(|| subscription.resource())
        }))
    }
}

fn in_project(name: &str, project: &str) -> bool {
    name.strip_prefix(project).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns one page of a list, and the token of the next page: the last name of this one.
fn paginate<V, T>(
    entries: &BTreeMap<String, V>,
    page: &Page,
    pick: impl Fn(&str, &V) -> Option<T>,
) -> (Vec<T>, String) {
    let size = usize::try_from(page.size).ok().filter(|size| *size > 0).unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE);
    let after = (Bound::Excluded(page.token.as_str()), Bound::Unbounded);
    let mut picked = entries.range::<str, _>(after).filter_map(|(name, value)| Some((name, pick(name, value)?)));
    let (mut items, mut last) = (Vec::new(), "");
    for (name, item) in picked.by_ref().take(size) {
        items.push(item);
        last = name;
    }
    let token = if picked.next().is_some() { last.to_owned() } else { String::new() };
    (items, token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::error::Code;
    use super::super::super::wire::{DeadLetterPolicy, PubsubMessage};
    use super::*;

    fn broker(topics: &[&str]) -> Broker {
        let broker = Broker::new();
        for id in topics {
            let name = format!("projects/p/topics/{id}");
            broker.create_topic(Topic { name, ..Topic::default() }).unwrap();
        }
        broker
    }

    fn page(size: i32, token: &str) -> Page {
        Page { size, token: token.to_owned() }
    }

    #[test]
    fn lists_are_paged() {
        let broker = broker(&["aaa", "bbb", "ccc"]);
        let (first, token) = broker.topics("projects/p", &page(2, "")).unwrap();
        assert_eq!((first.len(), token.as_str()), (2, "projects/p/topics/bbb"));
        let (second, end) = broker.topics("projects/p", &page(2, &token)).unwrap();
        assert_eq!((second[0].name.as_str(), second.len(), end.as_str()), ("projects/p/topics/ccc", 1, ""));
        assert_eq!(broker.topics("projects/p", &page(0, "")).unwrap().0.len(), 3);
        assert_eq!(broker.topics("projects/other", &page(0, "")).unwrap().0.len(), 0);
    }

    #[test]
    fn a_subscription_needs_its_topic_and_its_dead_letter_topic() {
        let broker = broker(&["aaa"]);
        let resource = |topic: &str, dead: Option<&str>| Resource {
            name: "projects/p/subscriptions/sub".into(),
            topic: format!("projects/p/topics/{topic}"),
            dead_letter_policy: dead.map(|dead| DeadLetterPolicy {
                dead_letter_topic: format!("projects/p/topics/{dead}"),
                max_delivery_attempts: 5,
            }),
            ..Resource::default()
        };
        let code = |resource| broker.create_subscription(resource).map(|_| ()).map_err(|error| error.code);
        assert_eq!(code(resource("zzz", None)), Err(Code::NotFound));
        assert_eq!(code(resource("aaa", Some("zzz"))), Err(Code::NotFound));
        assert_eq!(code(resource("aaa", Some("aaa"))), Ok(()));
        assert_eq!(code(resource("aaa", None)), Err(Code::AlreadyExists));
    }

    #[test]
    fn a_subscription_that_is_created_again_starts_empty() {
        let broker = broker(&["aaa"]);
        let resource = Resource {
            name: "projects/p/subscriptions/sub".into(),
            topic: "projects/p/topics/aaa".into(),
            ..Resource::default()
        };
        broker.create_subscription(resource.clone()).unwrap();
        let old = broker.subscription(&resource.name).unwrap();
        broker.delete_subscription(&resource.name).unwrap();
        broker.create_subscription(resource.clone()).unwrap();
        let message = PubsubMessage { data: "scan".into(), ..PubsubMessage::default() };
        broker.publish(&resource.topic, vec![message]).unwrap();
        assert_eq!(old.counts().published, 0);
        assert_eq!(broker.subscription(&resource.name).unwrap().counts().published, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_dropped_after_the_retention_duration_of_an_update() {
        let broker = Arc::new(broker(&["aaa"]));
        let resource = Resource {
            name: "projects/p/subscriptions/sub".into(),
            topic: "projects/p/topics/aaa".into(),
            ..Resource::default()
        };
        broker.create_subscription(resource.clone()).unwrap();
        let (mut timers, timer) = (tokio::task::JoinSet::new(), Arc::clone(&broker));
        timers.spawn(async move { timer.run_timer().await });
        let message = PubsubMessage { data: "scan".into(), ..PubsubMessage::default() };
        broker.publish(&resource.topic, vec![message]).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let retention = prost_types::Duration { seconds: 600, nanos: 0 };
        let changes = Resource { message_retention_duration: Some(retention), ..resource.clone() };
        let mask = FieldMask { paths: vec!["message_retention_duration".into()] };
        broker.update_subscription(changes, Some(&mask)).unwrap();
        let counts = || broker.subscription(&resource.name).unwrap().counts();
        tokio::time::sleep(Duration::from_secs(598)).await;
        assert_eq!((counts().ready, counts().dropped), (1, 0));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((counts().ready, counts().dropped), (0, 1));
    }
}
