//! Judges every acknowledgement of a log: at that moment, the table or the dead-letter topic must have held what the
//! message asked for. Pure.
//!
//! The rows come from the store's responses. `stream` checks at the end that they are those of the table's stream, and
//! that no timestamp of a key decreases. So a row that a response proved stays, or is replaced by a newer one, until the
//! table is deleted.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::log::{Entry, Event, Expected};
use crate::support::dynamo_proxy::Row;

/// How long after its deletion a table may count for a delivery. A scan that joins the write of another scan of its key
/// is acknowledged with it, and the response to that write may still be in a buffer of the consumer.
const BUFFERED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Judge {
    judged: usize,
    messages: HashMap<String, Message>,
    /// The tables in the order of their creation. The last one exists.
    tables: Vec<Table>,
    violations: Vec<Violation>,
}

#[derive(Debug)]
struct Message {
    expected: Expected,
    is_dead_lettered: bool,
    acknowledgements: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// The newest timestamp of each key that a response proved.
    newest: HashMap<String, u64>,
    deleted: Option<Duration>,
}

/// What must not happen, with the number of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    number: usize,
    kind: Kind,
    /// The message and the key that it is about.
    pub(super) subjects: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    UnknownMessage,
    NotInTheTable { newest: Option<u64> },
    NotDeadLettered,
    DeadLetterOfAScan { reason: String },
    WrongReason { expected: &'static str, found: String },
    WrongPayload,
    NeverAcknowledged,
}

impl Default for Judge {
    fn default() -> Judge {
        Judge { judged: 0, messages: HashMap::new(), tables: vec![Table::default()], violations: Vec::new() }
    }
}

impl Judge {
    /// Judges the next entry of the log.
    pub(super) fn add(&mut self, entry: &Entry) {
        let Entry { at, event } = entry;
        match event {
            Event::Published { id, expected: Some(expected) } => {
                let message = Message { expected: expected.clone(), is_dead_lettered: false, acknowledgements: 0 };
                self.messages.insert(id.clone(), message);
            }
            Event::Published { id, expected: None } => self.violated(Kind::UnknownMessage, [id]),
            Event::DeadLettered { source, reason, payload } => self.dead_lettered(source, reason, *payload),
            Event::Acknowledged { id, leased_for } => self.acknowledged(id, at.saturating_sub(*leased_for)),
            Event::Answered(Row { key, timestamp }) => {
                let table = self.tables.last_mut().expect("one table exists");
                let newest = table.newest.entry(key.clone()).or_default();
                *newest = (*newest).max(*timestamp);
            }
            Event::TableDeleted => {
                self.tables.last_mut().expect("one table exists").deleted = Some(*at);
                self.tables.push(Table::default());
            }
            Event::Unanswered(_) | Event::TableMissing => {}
        }
        self.judged += 1;
    }

    fn dead_lettered(&mut self, source: &String, reason: &str, payload: u64) {
        let Some(message) = self.messages.get_mut(source) else {
            return self.violated(Kind::UnknownMessage, [source]);
        };
        let found = reason.to_owned();
        let kind = match message.expected {
            Expected::Scan(_) => Kind::DeadLetterOfAScan { reason: found },
            Expected::DeadLetter { reason: expected, .. } if expected != reason => {
                Kind::WrongReason { expected, found }
            }
            Expected::DeadLetter { payload: expected, .. } if expected != payload => Kind::WrongPayload,
            Expected::DeadLetter { .. } => {
                message.is_dead_lettered = true;
                return;
            }
        };
        self.violated(kind, [source]);
    }

    fn acknowledged(&mut self, id: &String, delivered: Duration) {
        let Some(message) = self.messages.get_mut(id) else { return self.violated(Kind::UnknownMessage, [id]) };
        message.acknowledgements += 1;
        match &message.expected {
            Expected::DeadLetter { .. } if message.is_dead_lettered => {}
            Expected::DeadLetter { .. } => self.violated(Kind::NotDeadLettered, [id]),
            Expected::Scan(Row { key, timestamp }) => {
                let counts = |table: &&Table| table.deleted.is_none_or(|deleted| delivered <= deleted + BUFFERED);
                let newest = self.tables.iter().filter(counts).filter_map(|table| table.newest.get(key)).max().copied();
                if newest.is_none_or(|newest| newest < *timestamp) {
                    let key = key.clone();
                    self.violated(Kind::NotInTheTable { newest }, [id, &key]);
                }
            }
        }
    }

    fn violated<'a>(&mut self, kind: Kind, subjects: impl IntoIterator<Item = &'a String>) {
        let subjects = subjects.into_iter().cloned().collect();
        self.violations.push(Violation { number: self.judged, kind, subjects });
    }

    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the messages that were never acknowledged. When the subscription is empty, there must be none.
    pub(super) fn never_acknowledged(&self) -> Vec<Violation> {
        let left = self.messages.iter().filter(|(_, message)| message.acknowledgements == 0);
        left.map(|(id, _)| Violation { number: self.judged, kind: Kind::NeverAcknowledged, subjects: vec![id.clone()] })
            .collect()
    }

    /// Returns the number of judged acknowledgements.
    pub(super) fn acknowledgements(&self) -> usize {
        self.messages.values().map(|message| message.acknowledgements).sum()
    }

    /// Returns the number of messages with a right dead letter for this reason.
    pub(super) fn dead_lettered_for(&self, reason: &str) -> usize {
        let is_for = |message: &&Message| {
            message.is_dead_lettered
                && matches!(message.expected, Expected::DeadLetter { reason: of, .. } if of == reason)
        };
        self.messages.values().filter(is_for).count()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { number, kind, subjects } = self;
        write!(f, "entry {number}, {}: ", subjects.join(", "))?;
        match kind {
            Kind::UnknownMessage => write!(f, "a message that the publisher did not announce"),
            Kind::NotInTheTable { newest: None } => write!(f, "acknowledged before the table had its key"),
            Kind::NotInTheTable { newest: Some(newest) } => {
                write!(f, "acknowledged while the table had {newest} as the newest timestamp of its key")
            }
            Kind::NotDeadLettered => write!(f, "acknowledged before its dead letter was published"),
            Kind::DeadLetterOfAScan { reason } => write!(f, "a valid scan got a dead letter for {reason}"),
            Kind::WrongReason { expected, found } => write!(f, "a dead letter for {found} instead of {expected}"),
            Kind::WrongPayload => write!(f, "the payload of its dead letter differs"),
            Kind::NeverAcknowledged => write!(f, "never acknowledged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: u64 = 7;

    /// A log under construction. One second passes with each entry.
    #[derive(Default)]
    struct Run {
        judge: Judge,
        seconds: u64,
    }

    impl Run {
        fn then(mut self, event: Event) -> Run {
            self.seconds += 1;
            self.judge.add(&Entry { at: Duration::from_secs(self.seconds), event });
            self
        }

        fn scan(self, id: &str, key: &str, timestamp: u64) -> Run {
            self.then(Event::Published { id: id.to_owned(), expected: Some(Expected::Scan(row(key, timestamp))) })
        }

        fn broken(self, id: &str) -> Run {
            let expected = Expected::DeadLetter { reason: "invalid_port", payload: PAYLOAD };
            self.then(Event::Published { id: id.to_owned(), expected: Some(expected) })
        }

        fn answered(self, key: &str, timestamp: u64) -> Run {
            self.then(Event::Answered(row(key, timestamp)))
        }

        fn dead_lettered(self, source: &str, reason: &str, payload: u64) -> Run {
            self.then(Event::DeadLettered { source: source.to_owned(), reason: reason.to_owned(), payload })
        }

        /// Acknowledges a delivery that was made this many seconds ago.
        fn acknowledged_after(self, id: &str, seconds: u64) -> Run {
            self.then(Event::Acknowledged { id: id.to_owned(), leased_for: Duration::from_secs(seconds) })
        }

        fn acknowledged(self, id: &str) -> Run {
            self.acknowledged_after(id, 0)
        }

        fn deleted(self) -> Run {
            self.then(Event::TableDeleted)
        }

        fn wait(mut self, seconds: u64) -> Run {
            self.seconds += seconds;
            self
        }

        /// Checks that the last entry is the only violation.
        fn violates(self, kind: &Kind) {
            let violations = self.judge.violations();
            assert_eq!(violations.len(), 1, "{violations:?}");
            assert_eq!((&violations[0].kind, violations[0].number), (kind, self.judge.judged - 1));
        }

        fn passes(self) {
            assert_eq!(self.judge.violations(), []);
            assert_eq!(self.judge.never_acknowledged(), []);
        }
    }

    fn row(key: &str, timestamp: u64) -> Row {
        Row { key: key.to_owned(), timestamp }
    }

    #[test]
    fn a_legal_log_passes() {
        Run::default()
            .scan("1", "a", 5)
            .scan("2", "a", 3)
            .scan("3", "b", 5)
            .broken("4")
            .answered("a", 5)
            .acknowledged("1")
            .acknowledged("2")
            .acknowledged("1")
            .answered("b", 9)
            .acknowledged("3")
            .dead_lettered("4", "invalid_port", PAYLOAD)
            .dead_lettered("4", "invalid_port", PAYLOAD)
            .acknowledged("4")
            .then(Event::Unanswered(row("c", 1)))
            .passes();
    }

    #[test]
    fn finds_an_acknowledgement_before_the_write() {
        Run::default().scan("1", "a", 5).acknowledged("1").violates(&Kind::NotInTheTable { newest: None });
        let written_later = Run::default().scan("1", "a", 5).acknowledged("1").answered("a", 5);
        assert_eq!(written_later.judge.violations().len(), 1);
    }

    #[test]
    fn finds_an_acknowledgement_while_the_row_is_older() {
        let run = Run::default().scan("1", "a", 5).answered("a", 4).acknowledged("1");
        run.violates(&Kind::NotInTheTable { newest: Some(4) });
    }

    #[test]
    fn a_row_of_another_key_or_without_a_response_proves_nothing() {
        let run = Run::default().scan("1", "a", 5).answered("b", 5).then(Event::Unanswered(row("a", 5)));
        run.acknowledged("1").violates(&Kind::NotInTheTable { newest: None });
    }

    #[test]
    fn finds_an_acknowledgement_for_a_row_of_a_deleted_table() {
        let run = Run::default().scan("1", "a", 5).answered("a", 5).deleted().wait(10);
        run.acknowledged("1").violates(&Kind::NotInTheTable { newest: None });
        let run = Run::default().scan("1", "a", 5).answered("a", 5).deleted().answered("a", 2).wait(10);
        run.acknowledged("1").violates(&Kind::NotInTheTable { newest: Some(2) });
    }

    #[test]
    fn a_delivery_from_before_the_deletion_may_be_acknowledged_after_it() {
        let run = Run::default().scan("1", "a", 5).answered("a", 5).deleted().wait(100);
        run.acknowledged_after("1", 101).passes();
        let run = Run::default().scan("1", "a", 5).answered("a", 5).deleted().wait(100);
        run.acknowledged_after("1", 90).violates(&Kind::NotInTheTable { newest: None });
    }

    #[test]
    fn a_row_of_the_new_table_counts() {
        let run = Run::default().scan("1", "a", 5).answered("a", 5).deleted().wait(10).answered("a", 5);
        run.acknowledged("1").passes();
    }

    #[test]
    fn finds_an_acknowledgement_without_a_dead_letter() {
        Run::default().broken("1").acknowledged("1").violates(&Kind::NotDeadLettered);
        let other = Run::default().broken("1").broken("2").dead_lettered("2", "invalid_port", PAYLOAD);
        other.acknowledged("1").violates(&Kind::NotDeadLettered);
        let written = Run::default().broken("1").answered("a", 5).acknowledged("1");
        written.violates(&Kind::NotDeadLettered);
    }

    #[test]
    fn finds_wrong_dead_letters() {
        let scan = || Run::default().scan("1", "a", 5);
        scan()
            .dead_lettered("1", "invalid_port", PAYLOAD)
            .violates(&Kind::DeadLetterOfAScan { reason: "invalid_port".to_owned() });
        scan().dead_lettered("2", "invalid_port", PAYLOAD).violates(&Kind::UnknownMessage);
        let broken = || Run::default().broken("1");
        let wrong = Kind::WrongReason { expected: "invalid_port", found: "invalid_ip".to_owned() };
        broken().dead_lettered("1", "invalid_ip", PAYLOAD).violates(&wrong);
        broken().dead_lettered("1", "invalid_port", PAYLOAD + 1).violates(&Kind::WrongPayload);
    }

    #[test]
    fn finds_unknown_and_forgotten_messages() {
        Run::default().acknowledged("1").violates(&Kind::UnknownMessage);
        let unannounced = Event::Published { id: "1".to_owned(), expected: None };
        Run::default().then(unannounced).violates(&Kind::UnknownMessage);
        let run = Run::default().scan("1", "a", 5).scan("2", "a", 5).answered("a", 5).acknowledged("2");
        let left = run.judge.never_acknowledged();
        assert_eq!((left.len(), &left[0].subjects), (1, &vec!["1".to_owned()]));
    }
}
