//! Tests of the pure broker: examples of the rules, and random operations against a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SERVER: u64 = 7;

fn at(seconds: u64) -> Time {
    Time::from_secs(1_000_000 + seconds)
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// A broker with the queue `events`, whose messages go to `dead` after two receives.
fn broker() -> Broker {
    let mut broker = Broker::new(SERVER);
    broker.create("dead", &Given::new(), at(0)).unwrap();
    let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":2}}"#, names::arn("dead"));
    broker.create("events", &Given::from([("RedrivePolicy".to_owned(), policy)]), at(0)).unwrap();
    broker
}

fn send(broker: &mut Broker, queue: &str, body: &str, delay: u64, now: Time) {
    let content = Content { body: body.to_owned(), ..Content::default() };
    broker.send(queue, content, secs(delay), now).unwrap();
}

/// Receives all that is visible.
fn receive(broker: &mut Broker, queue: &str, visibility: u64, now: Time) -> Vec<(Receipt, Message)> {
    broker.advance(now);
    broker.receive(queue, usize::MAX, secs(visibility), now).unwrap()
}

fn counts(broker: &mut Broker, queue: &str) -> [usize; 3] {
    let queue = broker.queue(queue).unwrap();
    [State::Visible, State::Delayed, State::InFlight].map(|state| queue.count(state))
}

#[test]
fn a_message_is_invisible_until_its_timeout_ends() {
    let mut broker = broker();
    send(&mut broker, "events", "a", 0, at(0));
    let first = receive(&mut broker, "events", 30, at(0));
    assert_eq!(first[0].0.receive, 1);
    assert_eq!(broker.next_event(), Some(at(30)));
    assert!(receive(&mut broker, "events", 30, at(29)).is_empty());
    let second = receive(&mut broker, "events", 30, at(30));
    assert_eq!((second[0].0.receive, second[0].1.first_received), (2, Some(at(0))));

    // An older receipt succeeds without effect.
    let queue = broker.queue("events").unwrap();
    queue.delete(first[0].0);
    queue.change_visibility(first[0].0, "h", Duration::ZERO, at(31)).unwrap();
    assert_eq!(counts(&mut broker, "events"), [0, 0, 1]);
    broker.queue("events").unwrap().delete(second[0].0);
    assert_eq!(counts(&mut broker, "events"), [0, 0, 0]);
}

#[test]
fn a_receive_that_leaves_messages_signals_the_next_one() {
    let mut broker = broker();
    let arrivals = Arc::clone(&broker.queue("events").unwrap().arrivals);
    let signalled = || std::pin::pin!(arrivals.notified()).as_mut().enable();
    (0..2).for_each(|_| send(&mut broker, "events", "a", 0, at(0)));
    // Without a waiting receive, two messages are one signal.
    assert_eq!([signalled(), signalled()], [true, false]);
    broker.receive("events", 1, None, at(0)).unwrap();
    assert!(signalled());
    broker.receive("events", 1, None, at(0)).unwrap();
    assert!(!signalled());
}

#[test]
fn the_last_receipt_deletes_a_message_that_is_visible_again() {
    let mut broker = broker();
    send(&mut broker, "events", "a", 0, at(0));
    let (receipt, _) = receive(&mut broker, "events", 5, at(0))[0];
    broker.advance(at(6));
    // The timeout has ended, so that it cannot be changed any more.
    broker.queue("events").unwrap().change_visibility(receipt, "h", Duration::from_secs(60), at(6)).unwrap();
    assert_eq!(counts(&mut broker, "events"), [1, 0, 0]);
    broker.queue("events").unwrap().delete(receipt);
    assert_eq!(counts(&mut broker, "events"), [0, 0, 0]);
    let changed = broker.queue("events").unwrap().change_visibility(receipt, "h", Duration::ZERO, at(6));
    assert!(changed.unwrap_err().message.contains("Message does not exist"));
}

#[test]
fn a_message_is_in_flight_for_at_most_12_hours_after_its_receive() {
    let mut broker = broker();
    send(&mut broker, "events", "a", 0, at(0));
    let (receipt, _) = receive(&mut broker, "events", 30, at(0))[0];
    let queue = broker.queue("events").unwrap();
    assert_eq!(queue.change_visibility(receipt, "h", Duration::from_secs(43_190), at(10)), Ok(()));
    let error = queue.change_visibility(receipt, "h", Duration::from_secs(43_191), at(10)).unwrap_err();
    assert!(error.message.contains("beyond the limit [43200 seconds]"), "{}", error.message);
}

#[test]
fn a_message_moves_to_the_dead_letter_queue_at_the_receive_after_the_last() {
    let mut broker = broker();
    send(&mut broker, "events", "a", 0, at(0));
    let id = receive(&mut broker, "events", 1, at(0))[0].0.message;
    assert_eq!(receive(&mut broker, "events", 1, at(1)).len(), 1);
    broker.advance(at(2));
    assert_eq!((counts(&mut broker, "events"), counts(&mut broker, "dead")), ([1, 0, 0], [0, 0, 0]));
    assert!(receive(&mut broker, "events", 1, at(2)).is_empty());
    assert_eq!((counts(&mut broker, "events"), counts(&mut broker, "dead")), ([0, 0, 0], [1, 0, 0]));

    let (receipt, dead) = receive(&mut broker, "dead", 1, at(9)).remove(0);
    assert_eq!((receipt.message, dead.sent, dead.receives), (id, at(0), 3));
    assert_eq!(dead.source.as_deref(), Some("events"));
    // The retention period counts from the first send.
    broker.advance(at(345_600));
    assert_eq!(counts(&mut broker, "dead"), [0, 0, 0]);
}

#[test]
fn dead_letters_that_move_in_a_circle_do_not_loop() {
    let mut broker = broker();
    let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#, names::arn("events"));
    broker.set_attributes("dead", &Given::from([("RedrivePolicy".to_owned(), policy)]), at(0)).unwrap();
    send(&mut broker, "events", "a", 0, at(0));
    let mut received = Vec::new();
    for second in 0..9 {
        received.extend(receive(&mut broker, "events", 0, at(second)).iter().map(|_| "events"));
        received.extend(receive(&mut broker, "dead", 0, at(second)).iter().map(|_| "dead"));
    }
    assert_eq!(received[..6], ["events", "events", "dead", "events", "events", "dead"]);
}

#[test]
fn messages_stay_when_their_dead_letter_queue_was_deleted() {
    let mut broker = broker();
    broker.delete("dead").unwrap();
    send(&mut broker, "events", "a", 0, at(0));
    assert!((0..5).all(|second| receive(&mut broker, "events", 1, at(second)).len() == 1));
}

#[test]
fn a_queue_has_at_most_120_000_messages_in_flight() {
    let mut broker = broker();
    (0..120_001).for_each(|_| send(&mut broker, "events", "a", 0, at(0)));
    let received = receive(&mut broker, "events", 30, at(0));
    assert_eq!(received.len(), 120_000);
    assert_eq!(broker.receive("events", 1, None, at(0)).unwrap_err().code, Code::OverLimit);
    broker.queue("events").unwrap().delete(received[0].0);
    assert_eq!(broker.receive("events", 1, None, at(0)).unwrap().len(), 1);
}

#[test]
fn a_queue_is_purged_at_most_once_per_minute() {
    let mut broker = broker();
    send(&mut broker, "events", "a", 0, at(0));
    send(&mut broker, "events", "b", 9, at(0));
    let queue = broker.queue("events").unwrap();
    assert_eq!(queue.purge("events", at(0)), Ok(()));
    assert_eq!(queue.purge("events", at(59)).unwrap_err().code, Code::PurgeQueueInProgress);
    assert_eq!(queue.purge("events", at(60)), Ok(()));
    assert_eq!(counts(&mut broker, "events"), [0, 0, 0]);
}

#[test]
fn a_queue_is_created_again_only_with_the_same_values() {
    let mut broker = broker();
    let given = |value: &str| Given::from([("VisibilityTimeout".to_owned(), value.to_owned())]);
    assert_eq!(broker.create("events", &given("30"), at(1)), Ok(()));
    assert_eq!(broker.create("events", &given("31"), at(1)).unwrap_err().code, Code::QueueNameExists);
    assert_eq!(broker.set_attributes("events", &given("31"), at(1)), Ok(()));
    assert_eq!(broker.create("events", &given("31"), at(1)), Ok(()));
}

/// Moves `count` messages to the queue `dead`.
fn with_dead_letters(count: usize) -> Broker {
    let mut broker = broker();
    (0..count).for_each(|number| send(&mut broker, "events", &number.to_string(), 0, at(0)));
    (0..3).for_each(|_| _ = receive(&mut broker, "events", 0, at(0)));
    assert_eq!(counts(&mut broker, "dead"), [count, 0, 0]);
    broker
}

#[test]
fn a_move_task_without_rate_moves_all_messages_at_once() {
    let mut broker = with_dead_letters(20);
    let (events, dead) = (names::arn("events"), names::arn("dead"));
    assert!(broker.start_move(&events, None, None, at(5)).is_err());
    broker.start_move(&dead, None, None, at(5)).unwrap();
    let task = broker.moves(&dead).unwrap()[0];
    assert_eq!((task.status, task.moved, task.to_move), (Status::Completed, 20, 20));
    let moved = receive(&mut broker, "events", 30, at(5));
    assert_eq!(moved.len(), 20);
    assert!(
        moved.iter().all(|(receipt, message)| receipt.message > 20 && message.sent == at(5) && message.receives == 1)
    );
    assert!(broker.cancel_move(&broker.moves(&dead).unwrap()[0].handle.clone()).is_err());
}

#[test]
fn a_move_task_with_a_rate_can_be_cancelled() {
    let mut broker = with_dead_letters(20);
    let dead = names::arn("dead");
    let handle = broker.start_move(&dead, None, Some(2), at(5)).unwrap();
    assert!(broker.start_move(&dead, None, None, at(5)).unwrap_err().message.contains("already a task running"));
    assert_eq!(broker.next_event(), Some(at(5) + Duration::from_millis(500)));
    broker.advance(at(7));
    assert_eq!(broker.cancel_move(&handle), Ok(5));
    broker.advance(at(60));
    assert_eq!((counts(&mut broker, "events"), counts(&mut broker, "dead")), ([5, 0, 0], [15, 0, 0]));
}

#[test]
fn a_move_task_fails_if_it_does_not_know_where_to_move_a_message() {
    let mut broker = broker();
    let dead = names::arn("dead");
    send(&mut broker, "dead", "a", 0, at(0));
    broker.start_move(&dead, None, None, at(0)).unwrap();
    assert_eq!(broker.moves(&dead).unwrap()[0].status, Status::Failed("CouldNotDetermineMessageSource"));
    broker.start_move(&dead, Some(&names::arn("events")), None, at(0)).unwrap();
    assert_eq!(broker.moves(&dead).unwrap()[0].status, Status::Completed);
    for _ in 0..20 {
        broker.start_move(&dead, None, None, at(0)).unwrap();
    }
    assert_eq!(broker.moves(&dead).unwrap().len(), 10);
}

#[derive(Debug, Clone)]
enum Step {
    Send { delay: u64 },
    Receive { dead: bool, max: usize, visibility: u64 },
    Delete { receipt: usize },
    Change { receipt: usize, visibility: u64 },
    Wait { seconds: u64 },
    Redrive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u64).prop_map(|delay| Step::Send { delay }),
        4 => (any::<bool>(), 1..=10_usize, 0..9_u64)
            .prop_map(|(dead, max, visibility)| Step::Receive { dead, max, visibility }),
        3 => any::<usize>().prop_map(|receipt| Step::Delete { receipt }),
        2 => (any::<usize>(), 0..9_u64).prop_map(|(receipt, visibility)| Step::Change { receipt, visibility }),
        2 => (1..5_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Redrive),
    ]
}

/// What the test knows about a message, by its body.
#[derive(Debug, Default)]
struct Known {
    invisible_until: Time,
    newest: Option<(&'static str, Receipt)>,
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<String, Known>,
    deleted: BTreeSet<String>,
    receipts: Vec<(&'static str, Receipt, String)>,
}

impl Model {
    fn run(&mut self, broker: &mut Broker, step: Step, now: Time) {
        broker.advance(now);
        match step {
            Step::Send { delay } => {
                let body = (self.messages.len() + self.deleted.len()).to_string();
                send(broker, "events", &body, delay, now);
                let known = Known { invisible_until: now + Duration::from_secs(delay), newest: None };
                self.messages.insert(body, known);
            }
            Step::Receive { dead, max, visibility } => {
                let queue = if dead { "dead" } else { "events" };
                let received = broker.receive(queue, max, secs(visibility), now).unwrap();
                assert!(received.len() <= max);
                for (receipt, message) in received {
                    let body = message.content.body.clone();
                    let known = self.messages.get_mut(&body).expect("a deleted message is not received");
                    assert!(known.invisible_until <= now, "received while invisible");
                    assert!(queue == "dead" || message.receives <= 2);
                    known.invisible_until = now + Duration::from_secs(visibility);
                    known.newest = Some((queue, receipt));
                    self.receipts.push((queue, receipt, body));
                }
            }
            Step::Delete { receipt } if !self.receipts.is_empty() => {
                let (queue, receipt, body) = self.receipts[receipt % self.receipts.len()].clone();
                let held = self.holds(broker, queue, receipt, &body);
                broker.queue(queue).unwrap().delete(receipt);
                if held {
                    self.messages.remove(&body);
                    self.deleted.insert(body);
                }
            }
            Step::Change { receipt, visibility } if !self.receipts.is_empty() => {
                let (queue, receipt, body) = self.receipts[receipt % self.receipts.len()].clone();
                let held = self.holds(broker, queue, receipt, &body);
                let timeout = Duration::from_secs(visibility);
                let changed = broker.queue(queue).unwrap().change_visibility(receipt, "h", timeout, now);
                assert!(changed.is_ok() || !held);
                if let Some(known) = self.messages.get_mut(&body)
                    && held
                    && known.invisible_until > now
                {
                    known.invisible_until = now + timeout;
                }
            }
            Step::Redrive => _ = broker.start_move(&names::arn("dead"), None, None, now).unwrap(),
            Step::Delete { .. } | Step::Change { .. } | Step::Wait { .. } => {}
        }
    }

    /// Returns whether `receipt` is the newest of a message that is still in `queue` under the same id.
    fn holds(&self, broker: &mut Broker, queue: &'static str, receipt: Receipt, body: &str) -> bool {
        let newest = self.messages.get(body).and_then(|known| known.newest) == Some((queue, receipt));
        newest && broker.queue(queue).unwrap().contains(receipt.message)
    }
}

proptest! {
    #[test]
    fn no_message_is_lost_or_received_while_it_is_invisible(steps in prop::collection::vec(step(), 1..200)) {
        let mut broker = broker();
        let mut model = Model::default();
        let mut now = at(0);
        for step in steps {
            if let Step::Wait { seconds } = step {
                now += Duration::from_secs(seconds);
            }
            model.run(&mut broker, step, now);
            let total: usize = ["events", "dead"].iter().flat_map(|queue| counts(&mut broker, queue)).sum();
            prop_assert_eq!(total, model.messages.len());
            ["events", "dead"].iter().for_each(|queue| broker.queue(queue).unwrap().check_sets());
        }
        // Three rounds: a message can move to the dead-letter queue instead of being received.
        let mut left = BTreeSet::new();
        for round in 1..=3 {
            now += Duration::from_secs(20 * round);
            for queue in ["events", "dead"] {
                left.extend(receive(&mut broker, queue, 1, now).into_iter().map(|(_, it)| it.content.body.clone()));
            }
        }
        prop_assert_eq!(left, model.messages.into_keys().collect::<BTreeSet<_>>());
    }
}
