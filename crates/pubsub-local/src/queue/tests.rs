use proptest::prelude::*;

use super::super::settings::{Backoff, DeadLetterPolicy};
use super::*;

const LEASE: Duration = Duration::from_secs(10);

const RETENTION: Duration = Duration::from_secs(3600);

fn settings() -> Settings {
    Settings { ack_deadline: LEASE, retry: None, dead_letter: None, retention: RETENTION, retain_acked: false }
}

/// A queue with its clock and its faults.
struct Harness {
    queue: Queue,
    now: Instant,
    started: Instant,
    faults: Faults,
}

impl Harness {
    fn new(settings: Settings) -> Harness {
        let now = Instant::now();
        Harness { queue: Queue::new(settings), now, started: now, faults: Faults::default() }
    }

    fn plain() -> Harness {
        Harness::new(settings())
    }

    fn with_retry(minimum: u64, maximum: u64) -> Harness {
        let retry = Backoff { minimum: Duration::from_secs(minimum), maximum: Duration::from_secs(maximum) };
        Harness::new(Settings { retry: Some(retry), ..settings() })
    }

    fn with_dead_letters(max_attempts: u32) -> Harness {
        let dead_letter = Some(DeadLetterPolicy { topic: "projects/p/topics/dead".into(), max_attempts });
        Harness::new(Settings { dead_letter, ..settings() })
    }

    fn publish(&mut self, names: &[&'static str]) {
        self.publish_all(names.iter().map(|name| Bytes::from_static(name.as_bytes())));
    }

    fn publish_many(&mut self, count: usize) {
        self.publish_all(std::iter::repeat_n(Bytes::from_static(b"scan"), count));
    }

    fn publish_all(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        let published = Published { at: self.now, time: self.time() };
        self.queue.publish(messages, published);
    }

    /// Returns the time on the wall clock, which starts at the epoch.
    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + (self.now - self.started)
    }

    /// Seeks to a time that is this many seconds after the start.
    fn seek(&mut self, seconds: u64) {
        self.queue.seek(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), self.now);
    }

    /// Takes all ready messages, acknowledges them and returns their names.
    fn consume(&mut self, stream: StreamId) -> Vec<String> {
        let deliveries = self.take(stream);
        deliveries.iter().for_each(|delivery| drop(self.queue.ack(delivery.lease)));
        names(&deliveries).into_iter().map(str::to_owned).collect()
    }

    fn open(&mut self, max_messages: i64) -> StreamId {
        self.queue.open(Window::new(max_messages, 0), None)
    }

    fn take(&mut self, stream: StreamId) -> Vec<Delivery> {
        self.queue.take(stream, self.now, &self.faults)
    }

    fn take_one(&mut self, stream: StreamId) -> LeaseId {
        let deliveries = self.take(stream);
        assert_eq!(deliveries.len(), 1);
        deliveries[0].lease
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.queue.advance(self.now);
    }

    fn nack(&mut self, lease: LeaseId) {
        self.queue.nack(lease, self.now);
    }
}

fn names(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| str::from_utf8(&delivery.message).unwrap()).collect()
}

#[test]
fn messages_are_delivered_in_the_order_of_publishing() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["a", "b", "c"]);
    assert_eq!(names(&harness.take(stream)), ["a", "b", "c"]);
    assert_eq!(harness.take(stream), []);
}

#[test]
fn an_acknowledged_message_is_not_redelivered_and_a_second_ack_does_nothing() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["a"]);
    let lease = harness.take_one(stream);
    harness.queue.ack(lease);
    harness.queue.ack(lease);
    harness.nack(lease);
    harness.advance(LEASE * 2);
    assert_eq!(harness.take(stream), []);
    let counts = harness.queue.counts();
    assert_eq!((counts.acknowledged, counts.nacked, counts.backlog()), (1, 0, 0));
    assert_eq!(harness.queue.next_event(), None);
}

#[test]
fn an_expired_lease_redelivers_the_message() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["a"]);
    let lease = harness.take_one(stream);
    assert_eq!(harness.queue.next_event(), Some(harness.now + LEASE));
    harness.advance(LEASE - Duration::from_millis(1));
    assert_eq!(harness.take(stream), []);
    harness.advance(Duration::from_millis(1));
    assert_eq!(harness.queue.counts().expired, 1);
    let again = harness.take_one(stream);
    assert_ne!(again, lease);
    // An ack of the expired lease does not settle the redelivery.
    harness.queue.ack(lease);
    assert_eq!(harness.queue.counts().outstanding, 1);
}

#[test]
fn a_deadline_can_be_extended_and_shortened() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["a", "b"]);
    let leases: Vec<_> = harness.take(stream).iter().map(|delivery| delivery.lease).collect();
    harness.queue.extend(leases[0], harness.now + LEASE * 6);
    harness.queue.extend(leases[1], harness.now + LEASE / 10);
    harness.advance(LEASE / 10);
    assert_eq!(names(&harness.take(stream)), ["b"]);
    harness.advance(LEASE * 5);
    assert_eq!(names(&harness.take(stream)), ["b"]);
    harness.advance(LEASE);
    assert_eq!(names(&harness.take(stream)), ["a", "b"]);
}

#[test]
fn a_stream_can_set_its_own_ack_deadline() {
    let mut harness = Harness::plain();
    let stream = harness.queue.open(Window::new(0, 0), Some(LEASE * 3));
    harness.publish(&["a"]);
    harness.take_one(stream);
    assert_eq!(harness.queue.next_event(), Some(harness.now + LEASE * 3));
    harness.queue.set_lease(stream, LEASE * 2);
    harness.publish(&["b"]);
    harness.take_one(stream);
    assert_eq!(harness.queue.next_event(), Some(harness.now + LEASE * 2));
}

#[test]
fn a_nacked_message_is_redelivered_at_once_behind_the_others() {
    let mut harness = Harness::plain();
    let stream = harness.open(1);
    harness.publish(&["poison", "good", "better"]);
    let lease = harness.take_one(stream);
    harness.nack(lease);
    let wide = harness.open(0);
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.extend(harness.take(wide));
    }
    assert_eq!(names(&rest), ["good", "better", "poison"]);
}

#[test]
fn a_retry_policy_delays_redeliveries() {
    let mut harness = Harness::with_retry(10, 60);
    let stream = harness.open(0);
    harness.publish(&["a"]);
    for seconds in [10, 20, 40, 60, 60] {
        let lease = harness.take_one(stream);
        harness.nack(lease);
        assert_eq!(harness.queue.counts().delayed, 1);
        harness.advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(harness.take(stream), [], "{seconds}");
        harness.advance(Duration::from_millis(1));
    }
    assert_eq!(harness.take(stream).len(), 1);
}

#[test]
fn an_expired_lease_waits_for_the_backoff_too() {
    let mut harness = Harness::with_retry(10, 60);
    let stream = harness.open(0);
    harness.publish(&["a"]);
    harness.take_one(stream);
    harness.advance(LEASE);
    assert_eq!(harness.take(stream), []);
    harness.advance(Duration::from_secs(10));
    assert_eq!(harness.take(stream).len(), 1);
}

#[test]
fn attempts_are_reported_only_with_a_dead_letter_policy() {
    let mut harness = Harness::with_dead_letters(5);
    let stream = harness.open(0);
    harness.publish(&["a"]);
    for expected in [1, 2, 3] {
        let delivery = harness.take(stream).remove(0);
        assert_eq!(delivery.attempt, expected);
        harness.nack(delivery.lease);
    }
    let mut plain = Harness::plain();
    let stream = plain.open(0);
    plain.publish(&["a"]);
    assert_eq!(plain.take(stream)[0].attempt, 0);
}

#[test]
fn a_message_without_attempts_left_becomes_a_dead_letter() {
    let mut harness = Harness::with_dead_letters(5);
    let stream = harness.open(0);
    harness.publish(&["a"]);
    for attempt in 1..=5 {
        assert_eq!(harness.queue.take_dead_letters(), []);
        let lease = harness.take_one(stream);
        // A nack and an expired lease both count.
        if attempt % 2 == 0 { harness.nack(lease) } else { harness.advance(LEASE) }
    }
    let dead_letters = harness.queue.take_dead_letters();
    assert_eq!(
        (dead_letters.len(), dead_letters[0].entry.attempts, dead_letters[0].topic.as_str()),
        (1, 5, "projects/p/topics/dead")
    );
    assert_eq!((harness.take(stream), harness.queue.counts().backlog()), (vec![], 0));
    harness.queue.dead_letter_forwarded(dead_letters[0].entry.clone());
    assert_eq!(harness.queue.counts().dead_lettered, 1);
}

#[test]
fn a_dead_letter_that_cannot_be_forwarded_is_redelivered() {
    let mut harness = Harness::with_dead_letters(1);
    let stream = harness.open(0);
    harness.publish(&["a"]);
    let lease = harness.take_one(stream);
    harness.nack(lease);
    let dead_letter = harness.queue.take_dead_letters().remove(0);
    harness.queue.requeue(dead_letter.entry, harness.now);
    assert_eq!(harness.take(stream)[0].attempt, 2);
}

#[test]
fn a_stream_gets_no_more_than_its_limit_until_messages_are_settled() {
    let mut harness = Harness::plain();
    let stream = harness.open(3);
    harness.publish_many(10);
    let leases: Vec<_> = harness.take(stream).iter().map(|delivery| delivery.lease).collect();
    assert_eq!((leases.len(), harness.take(stream)), (3, vec![]));
    assert_eq!(harness.queue.streams_to_wake(), []);

    harness.queue.ack(leases[0]);
    assert_eq!(harness.queue.streams_to_wake(), [stream]);
    assert_eq!(harness.take(stream).len(), 1);
    harness.nack(leases[1]);
    assert_eq!(harness.take(stream).len(), 1);
    harness.advance(LEASE);
    assert_eq!(harness.take(stream).len(), 3);
}

#[test]
fn a_stream_is_limited_by_bytes_too() {
    let mut harness = Harness::plain();
    let stream = harness.queue.open(Window::new(0, 8), None);
    harness.publish_many(10);
    assert_eq!(harness.take(stream).len(), 2);
    assert_eq!(harness.take(stream), []);
}

#[test]
fn a_response_is_limited_in_messages_and_bytes() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish_many(2500);
    let batches: Vec<usize> = (0..4).map(|_| harness.take(stream).len()).collect();
    assert_eq!(batches, [1000, 1000, 500, 0]);

    harness.publish_all(std::iter::repeat_n(Bytes::from(vec![0; MAX_BATCH_BYTES / 2]), 5));
    let batches: Vec<usize> = (0..3).map(|_| harness.take(stream).len()).collect();
    assert_eq!(batches, [2, 2, 1]);
}

#[test]
fn messages_are_shared_between_the_streams_that_have_room() {
    let mut harness = Harness::plain();
    let full = harness.open(1);
    harness.publish_many(1);
    harness.take_one(full);
    let streams: Vec<_> = (0..4).map(|_| harness.open(0)).collect();
    streams.iter().for_each(|stream| assert_eq!(harness.take(*stream), []));
    harness.publish_many(100);
    assert_eq!(harness.queue.streams_to_wake(), streams);
    assert!(streams.iter().all(|stream| (10..=25).contains(&harness.take(*stream).len())));
}

#[test]
fn one_message_wakes_one_stream_and_the_longest_waiting_first() {
    let mut harness = Harness::plain();
    let streams: Vec<_> = (0..3).map(|_| harness.open(0)).collect();
    streams.iter().for_each(|stream| assert_eq!(harness.take(*stream), []));
    harness.publish_many(1);
    assert_eq!(harness.queue.streams_to_wake(), [streams[0]]);
    assert_eq!(harness.take(streams[0]).len(), 1);
    assert_eq!(harness.queue.streams_to_wake(), []);
    harness.publish_many(1);
    assert_eq!(harness.queue.streams_to_wake(), [streams[1]]);
}

#[test]
fn a_stream_that_got_messages_waits_until_all_woken_streams_have_polled() {
    let mut harness = Harness::plain();
    let (first, second) = (harness.open(0), harness.open(0));
    assert_eq!((harness.take(first), harness.take(second)), (vec![], vec![]));
    harness.publish_many(100);
    assert_eq!(harness.queue.streams_to_wake(), [first, second]);
    assert_eq!(harness.take(first).len(), 50);
    assert_eq!((harness.take(first), harness.queue.streams_to_wake()), (vec![], vec![]));
    assert_eq!(harness.take(second).len(), 25);
    assert_eq!(harness.queue.streams_to_wake(), [first]);
}

#[test]
fn a_deep_backlog_is_delivered_without_waiting_for_other_streams() {
    let mut harness = Harness::plain();
    let (first, second) = (harness.open(0), harness.open(0));
    assert_eq!((harness.take(first), harness.take(second)), (vec![], vec![]));
    harness.publish_many(5000);
    assert_eq!(harness.queue.streams_to_wake(), [first, second]);
    assert_eq!((harness.take(first).len(), harness.take(first).len()), (1000, 1000));
}

#[test]
fn closing_a_woken_stream_wakes_another() {
    let mut harness = Harness::plain();
    let (first, second) = (harness.open(0), harness.open(0));
    assert_eq!((harness.take(first), harness.take(second)), (vec![], vec![]));
    harness.publish_many(1);
    assert_eq!(harness.queue.streams_to_wake(), [first]);
    harness.queue.close(first);
    assert_eq!(harness.queue.streams_to_wake(), [second]);
}

#[test]
fn messages_of_a_closed_stream_stay_leased_until_they_are_settled_or_expire() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["a", "b"]);
    let deliveries = harness.take(stream);
    harness.queue.close(stream);
    let other = harness.open(0);
    assert_eq!(harness.take(other), []);
    harness.queue.ack(deliveries[0].lease);
    harness.advance(LEASE);
    assert_eq!(names(&harness.take(other)), ["b"]);
}

#[test]
fn a_message_that_is_delivered_twice_needs_two_acks() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.faults.deliver_twice(1.0);
    harness.publish(&["a"]);
    let first = harness.take_one(stream);
    let duplicate = harness.take_one(stream);
    assert_eq!(harness.take(stream), []);
    harness.queue.ack(first);
    harness.nack(duplicate);
    let again = harness.take_one(stream);
    harness.queue.ack(again);
    assert_eq!(harness.queue.counts().backlog(), 0);
}

#[test]
fn reordering_loses_no_message() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.faults.reorder(1.0);
    harness.publish(&["a", "b", "c", "d", "e"]);
    let deliveries = harness.take(stream);
    let mut received = names(&deliveries);
    assert_ne!(received, ["a", "b", "c", "d", "e"]);
    received.sort_unstable();
    assert_eq!(received, ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_message_is_dropped_when_it_is_older_than_the_retention_duration() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["outstanding"]);
    let lease = harness.take_one(stream);
    harness.queue.extend(lease, harness.now + RETENTION * 2);
    harness.publish(&["old"]);
    harness.advance(Duration::from_secs(1));
    harness.publish(&["new"]);
    harness.advance(RETENTION - Duration::from_secs(1));
    assert_eq!((harness.queue.counts().dropped, harness.queue.counts().ready), (1, 1));
    harness.nack(lease);
    assert_eq!(harness.queue.counts().dropped, 2);
    assert_eq!(harness.queue.next_event(), Some(harness.now + Duration::from_secs(1)));
    assert_eq!(names(&harness.take(stream)), ["new"]);
}

#[test]
fn an_old_message_behind_a_newer_one_is_not_delivered() {
    let mut harness = Harness::plain();
    let stream = harness.open(0);
    harness.publish(&["old"]);
    let lease = harness.take_one(stream);
    harness.advance(LEASE / 2);
    harness.publish(&["new"]);
    harness.nack(lease);
    harness.advance(RETENTION - LEASE / 2);
    assert_eq!(names(&harness.take(stream)), ["new"]);
    assert_eq!((harness.queue.counts().dropped, harness.queue.counts().backlog()), (1, 1));
}

#[test]
fn a_seek_acknowledges_older_messages_and_keeps_newer_ones() {
    let mut harness = Harness::with_retry(5, 5);
    let stream = harness.open(0);
    for name in ["leased", "delayed", "ready", "at the time", "after"] {
        harness.publish(&[name]);
        if ["leased", "delayed"].contains(&name) {
            let lease = harness.take_one(stream);
            if name == "delayed" {
                harness.nack(lease)
            }
        }
        harness.advance(Duration::from_secs(1));
    }
    let narrow = harness.open(1);
    harness.seek(3);
    let counts = harness.queue.counts();
    assert_eq!((counts.acknowledged_by_seek, counts.restored_by_seek, counts.outstanding), (3, 0, 0));
    assert_eq!(names(&harness.take(narrow)), ["at the time"]);
    harness.queue.close(narrow);
    harness.advance(LEASE);
    harness.seek(0);
    assert_eq!(harness.queue.counts().restored_by_seek, 0, "the subscription does not retain acknowledged messages");
    harness.advance(LEASE);
    assert_eq!(names(&harness.take(stream)), ["after", "at the time"]);
}

#[test]
fn a_seek_to_an_earlier_time_restores_retained_messages() {
    let mut harness = Harness::new(Settings { retain_acked: true, ..settings() });
    let stream = harness.open(0);
    for name in ["a", "b", "c"] {
        harness.publish(&[name]);
        harness.advance(Duration::from_secs(1));
    }
    assert_eq!(harness.consume(stream), ["a", "b", "c"]);
    assert_eq!(harness.take(stream), []);
    harness.seek(1);
    assert_eq!(harness.queue.streams_to_wake(), [stream]);
    assert_eq!(harness.consume(stream), ["b", "c"]);

    harness.seek(0);
    harness.seek(100);
    assert_eq!((harness.take(stream), harness.queue.counts().acknowledged_by_seek), (vec![], 3));
    harness.seek(2);
    assert_eq!(harness.consume(stream), ["c"]);

    harness.advance(RETENTION - Duration::from_secs(2));
    harness.seek(0);
    assert_eq!(harness.consume(stream), ["c"], "a and b are older than the retention duration");
}

#[test]
fn a_seek_releases_the_limit_of_a_stream() {
    let mut harness = Harness::plain();
    let stream = harness.open(1);
    harness.publish(&["a"]);
    let lease = harness.take_one(stream);
    harness.advance(Duration::from_secs(1));
    harness.publish(&["b"]);
    assert_eq!(harness.take(stream), []);
    harness.seek(1);
    assert_eq!(harness.queue.streams_to_wake(), [stream]);
    assert!(harness.queue.ack(lease).is_none());
    assert_eq!(names(&harness.take(stream)), ["b"]);
}

#[test]
fn acknowledged_messages_are_forgotten_when_they_are_not_retained_any_more() {
    let mut harness = Harness::new(Settings { retain_acked: true, ..settings() });
    let stream = harness.open(0);
    harness.publish(&["a"]);
    harness.consume(stream);
    assert_eq!(harness.queue.next_event(), Some(harness.now + RETENTION));
    harness.queue.set(settings());
    assert_eq!(harness.queue.next_event(), None);
    harness.seek(0);
    assert_eq!(harness.take(stream), []);
}

#[test]
fn a_restored_message_starts_without_delivery_attempts() {
    let mut harness = Harness::with_dead_letters(5);
    harness.queue.settings.retain_acked = true;
    let stream = harness.open(0);
    harness.publish(&["a"]);
    for _ in 1..=5 {
        let lease = harness.take_one(stream);
        harness.nack(lease);
    }
    let dead_letter = harness.queue.take_dead_letters().remove(0);
    harness.queue.dead_letter_forwarded(dead_letter.entry);
    harness.seek(0);
    assert_eq!(harness.take(stream)[0].attempt, 1);
}

/// An event that can happen to a queue.
#[derive(Debug, Clone)]
enum Event {
    Publish(usize),
    Open(i64),
    Close(usize),
    Take(usize),
    Ack(usize),
    Nack(usize),
    Extend(usize, u64),
    Advance(u64),
    Seek(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (1..30_usize).prop_map(Event::Publish),
        (0..20_i64).prop_map(Event::Open),
        (0..8_usize).prop_map(Event::Close),
        (0..8_usize).prop_map(Event::Take),
        (0..8_usize).prop_map(Event::Take),
        any::<usize>().prop_map(Event::Ack),
        any::<usize>().prop_map(Event::Nack),
        (any::<usize>(), 0..30_u64).prop_map(|(lease, seconds)| Event::Extend(lease, seconds)),
        (0..15_u64).prop_map(Event::Advance),
        (0..60_u64).prop_map(Event::Seek),
    ];
    prop::collection::vec(event, 1..200)
}

/// Simulates the streams: a woken stream polls, now or later, and any other stream waits.
struct Simulation {
    harness: Harness,
    streams: Vec<StreamId>,
    woken: Vec<StreamId>,
    leases: Vec<LeaseId>,
}

impl Simulation {
    fn pick<T: Copy>(from: &[T], at: usize) -> Option<T> {
        (!from.is_empty()).then(|| from[at % from.len()])
    }

    fn poll(&mut self, stream: StreamId) {
        self.woken.retain(|woken| *woken != stream);
        let deliveries = self.harness.take(stream);
        if !deliveries.is_empty() {
            // A stream that got messages polls again by itself.
            self.woken.push(stream);
        }
        self.leases.extend(deliveries.into_iter().map(|delivery| delivery.lease));
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Publish(count) => self.harness.publish_many(count),
            Event::Open(limit) => {
                let stream = self.harness.open(limit);
                self.streams.push(stream);
                self.poll(stream);
            }
            Event::Close(at) => {
                if let Some(stream) = Simulation::pick(&self.streams, at) {
                    self.streams.retain(|open| *open != stream);
                    self.woken.retain(|open| *open != stream);
                    self.harness.queue.close(stream);
                }
            }
            Event::Take(at) => {
                if let Some(stream) = Simulation::pick(&self.streams, at) {
                    self.poll(stream);
                }
            }
            Event::Ack(at) => {
                Simulation::pick(&self.leases, at).into_iter().for_each(|lease| drop(self.harness.queue.ack(lease)))
            }
            Event::Nack(at) => {
                Simulation::pick(&self.leases, at).into_iter().for_each(|lease| self.harness.nack(lease))
            }
            Event::Extend(at, seconds) => {
                let deadline = self.harness.now + Duration::from_secs(seconds);
                Simulation::pick(&self.leases, at)
                    .into_iter()
                    .for_each(|lease| self.harness.queue.extend(lease, deadline));
            }
            Event::Advance(seconds) => self.harness.advance(Duration::from_secs(seconds)),
            Event::Seek(seconds) => self.harness.seek(seconds),
        }
        for dead_letter in self.harness.queue.take_dead_letters() {
            self.harness.queue.dead_letter_forwarded(dead_letter.entry);
        }
        self.woken.extend(self.harness.queue.streams_to_wake());
    }

    /// Lets woken streams poll and acknowledge, and lets time pass, until the backlog is empty.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.harness.queue.counts().backlog() == 0 {
                return;
            }
            match self.woken.first() {
                Some(stream) => self.poll(*stream),
                None => self.harness.now = self.harness.queue.next_event().unwrap_or(self.harness.now),
            }
            for lease in std::mem::take(&mut self.leases) {
                self.harness.queue.ack(lease);
            }
            self.apply(&Event::Advance(0));
        }
    }
}

proptest! {
    #[test]
    fn no_message_is_lost_and_no_stream_stays_asleep(events in events(), retry in 0..20_u64, dead_letters: bool, retain_acked: bool) {
        let mut harness = Harness::with_retry(retry, 600);
        if dead_letters {
            harness.queue.set(Harness::with_dead_letters(5).queue.settings.clone());
        }
        harness.queue.settings.retain_acked = retain_acked;
        harness.queue.settings.retention = Duration::from_secs(60);
        let mut simulation = Simulation { harness, streams: Vec::new(), woken: Vec::new(), leases: Vec::new() };
        for event in &events {
            simulation.apply(event);
            let counts = simulation.harness.queue.counts();
            let settled = counts.acknowledged + counts.dead_lettered + counts.dropped + counts.acknowledged_by_seek;
            let accounted = counts.backlog() as u64 + settled;
            prop_assert_eq!(accounted, counts.published + counts.restored_by_seek, "after {:?}", event);
        }
        simulation.apply(&Event::Open(5));
        simulation.drain();
        prop_assert_eq!(simulation.harness.queue.counts().backlog(), 0);
    }
}
