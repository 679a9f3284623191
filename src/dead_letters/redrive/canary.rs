//! Finds out whether a topic is the dead-letter topic itself if this identity may not view the subscription. Pure: the
//! caller passes the time.
//!
//! A message that is redriven to the dead-letter topic comes back without its reason and its source. So the run first
//! publishes one message to the topic, a canary, and keeps its dead letter. Only if the canary does not come back, the
//! run acks that dead letter and redrives the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::consumer::ports::Envelope;
use crate::dead_letters::dead_letter::{DeadLetter, is_redriven};

/// The time in which a canary comes back to the dead-letter subscription.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// What a run knows of the topics that it publishes to. `L` is the lease of a dead letter.
pub(super) struct Canaries<L> {
    /// The dead-letter topic is known, so no canary is needed.
    is_needless: bool,
    /// The topics whose canary did not come back.
    passed: HashSet<Arc<str>>,
    current: Current<L>,
    /// The published messages, by topic and message id.
    published: HashSet<(Arc<str>, String)>,
}

enum Current<L> {
    None,
    /// The canary is being published.
    InFlight,
    Watched {
        canary: Box<Canary<L>>,
        until: Instant,
    },
}

/// The first message that is redriven to a topic.
pub(super) struct Canary<L> {
    pub(super) dead_letter: DeadLetter,
    pub(super) lease: L,
    pub(super) topic: Arc<str>,
    /// The id of the published message.
    pub(super) id: String,
}

impl<L> Canaries<L> {
    pub(super) fn new(is_needless: bool) -> Canaries<L> {
        Canaries { is_needless, passed: HashSet::new(), current: Current::None, published: HashSet::new() }
    }

    /// Returns whether the next message to this topic is a canary. If so, expects it to be published.
    pub(super) fn begin(&mut self, topic: &Arc<str>) -> bool {
        let begins = !self.is_needless && !self.passed.contains(topic);
        if begins {
            self.current = Current::InFlight;
        }
        begins
    }

    /// Returns whether a canary is on its way. Meanwhile the run publishes nothing else.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.current, Current::None)
    }

    /// Watches a canary after its publication is confirmed.
    pub(super) fn watch(&mut self, canary: Canary<L>, now: Instant) {
        self.current = Current::Watched { canary: Box::new(canary), until: now + RETURN_TIME };
    }

    /// Returns when the watched canary has passed.
    pub(super) fn passes_at(&self) -> Option<Instant> {
        match &self.current {
            Current::Watched { until, .. } => Some(*until),
            Current::None | Current::InFlight => None,
        }
    }

    /// Trusts the topic of the watched canary, which did not come back.
    pub(super) fn pass(&mut self) -> Option<Canary<L>> {
        let canary = self.end()?;
        self.passed.insert(canary.topic.clone());
        Some(canary)
    }

    /// Stops watching the canary, if there is one.
    pub(super) fn end(&mut self) -> Option<Canary<L>> {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Watched { canary, .. } => Some(*canary),
            Current::None | Current::InFlight => None,
        }
    }

    pub(super) fn note_published(&mut self, topic: Arc<str>, id: String) {
        self.published.insert((topic, id));
    }

    /// Returns whether this run published the message with this id to the topic.
    pub(super) fn has_published(&self, topic: &Arc<str>, id: String) -> bool {
        self.published.contains(&(topic.clone(), id))
    }

    /// Returns the topic if the message is one that this run published, so that the topic is the dead-letter topic.
    ///
    /// Message ids are unique only within a topic. A dead letter with the same id by chance has a reason or no mark.
    pub(super) fn came_back(&self, message: &Envelope) -> Option<Arc<str>> {
        if self.is_needless || !is_redriven(&message.attributes) {
            return None;
        }
        let watched = match &self.current {
            Current::Watched { canary, .. } => Some(&canary.topic),
            Current::None | Current::InFlight => None,
        };
        let is_own = |topic: &&Arc<str>| self.has_published(topic, message.message_id.clone());
        self.passed.iter().chain(watched).find(is_own).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;

    fn envelope(id: &str, attributes: &[(&str, &str)]) -> Envelope {
        Envelope {
            payload: Bytes::new(),
            attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            message_id: id.to_owned(),
            publish_time: SystemTime::UNIX_EPOCH,
            delivery_attempt: None,
        }
    }

    const MARK: (&str, &str) = ("mini_scan_redrive_count", "1");

    fn topic() -> Arc<str> {
        Arc::from("projects/p/topics/t")
    }

    /// Canaries that watch one with the id 7.
    fn watching(now: Instant) -> Canaries<()> {
        let mut canaries = Canaries::new(false);
        assert!(canaries.begin(&topic()) && canaries.is_active());
        canaries.note_published(topic(), "7".to_owned());
        let dead_letter = DeadLetter::read(&envelope("1", &[]));
        canaries.watch(Canary { dead_letter, lease: (), topic: topic(), id: "7".to_owned() }, now);
        canaries
    }

    #[test]
    fn only_the_first_message_to_a_topic_is_a_canary() {
        let now = Instant::now();
        let mut canaries = watching(now);
        assert_eq!(canaries.passes_at(), Some(now + RETURN_TIME));

        assert_eq!(canaries.pass().unwrap().id, "7");

        assert!(!canaries.is_active() && !canaries.begin(&topic()));
        assert!(canaries.begin(&Arc::from("projects/p/topics/other")));
    }

    #[test]
    fn no_message_is_a_canary_if_the_dead_letter_topic_is_known() {
        let mut canaries: Canaries<()> = Canaries::new(true);
        assert!(!canaries.begin(&topic()) && !canaries.is_active());
        canaries.note_published(topic(), "7".to_owned());
        assert_eq!(canaries.came_back(&envelope("7", &[MARK])), None);
    }

    #[test]
    fn a_published_message_that_is_delivered_came_back_at_any_time() {
        let mut canaries = watching(Instant::now());
        assert_eq!(canaries.came_back(&envelope("7", &[MARK])), Some(topic()));
        canaries.pass().unwrap();
        canaries.note_published(topic(), "8".to_owned());
        assert_eq!(canaries.came_back(&envelope("8", &[MARK])), Some(topic()));
    }

    #[test]
    fn a_message_with_the_same_id_by_chance_did_not_come_back() {
        let canaries = watching(Instant::now());
        for attributes in [&[][..], &[("rejection_reason", "invalid_ip")], &[("rejection_reason", "invalid_ip"), MARK]]
        {
            assert_eq!(canaries.came_back(&envelope("7", attributes)), None, "{attributes:?}");
        }
        assert_eq!(canaries.came_back(&envelope("9", &[MARK])), None);
    }
}
