use proptest::prelude::*;

use super::super::settings::{Backoff, DeadLetter};
use super::*;

const LEASE: Duration = Duration::from_secs(10);

/// A queue, its clock, and what was handed out of it.
struct Bench {
    queue: Queue,
    now: Instant,
    faults: Faults,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        Bench { queue: Queue::new(settings), now: Instant::now(), faults: Faults::default() }
    }

    fn plain() -> Bench {
        Bench::new(Settings { ack_deadline: LEASE, retry: None, dead_letter: None })
    }

    fn with_retry(minimum: u64, maximum: u64) -> Bench {
        let retry = Backoff { minimum: Duration::from_secs(minimum), maximum: Duration::from_secs(maximum) };
        Bench::new(Settings { ack_deadline: LEASE, retry: Some(retry), dead_letter: None })
    }

    fn with_dead_letters(max_attempts: u32) -> Bench {
        let dead_letter = Some(DeadLetter { topic: "projects/p/topics/dead".into(), max_attempts });
        Bench::new(Settings { ack_deadline: LEASE, retry: None, dead_letter })
    }

    fn publish(&mut self, names: &[&'static str]) {
        self.queue.publish(names.iter().map(|name| Bytes::from_static(name.as_bytes())));
    }

    fn publish_many(&mut self, count: usize) {
        self.queue.publish(std::iter::repeat_n(Bytes::from_static(b"scan"), count));
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

    fn pass(&mut self, time: Duration) {
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
fn messages_come_in_the_order_of_publishing() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish(&["a", "b", "c"]);
    assert_eq!(names(&bench.take(stream)), ["a", "b", "c"]);
    assert_eq!(bench.take(stream), []);
}

#[test]
fn an_acknowledged_message_is_gone_and_a_second_ack_does_nothing() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish(&["a"]);
    let lease = bench.take_one(stream);
    bench.queue.ack(lease);
    bench.queue.ack(lease);
    bench.nack(lease);
    bench.pass(LEASE * 2);
    assert_eq!(bench.take(stream), []);
    let counts = bench.queue.counts();
    assert_eq!((counts.acknowledged, counts.nacked, counts.backlog()), (1, 0, 0));
    assert_eq!(bench.queue.next_event(), None);
}

#[test]
fn a_lease_that_ends_brings_the_message_back() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish(&["a"]);
    let lease = bench.take_one(stream);
    assert_eq!(bench.queue.next_event(), Some(bench.now + LEASE));
    bench.pass(LEASE - Duration::from_millis(1));
    assert_eq!(bench.take(stream), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.queue.counts().expired, 1);
    let again = bench.take_one(stream);
    assert_ne!(again, lease);
    // The ack of the lease that has ended does not settle the delivery that followed.
    bench.queue.ack(lease);
    assert_eq!(bench.queue.counts().outstanding, 1);
}

#[test]
fn a_deadline_moves_both_ways() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish(&["a", "b"]);
    let leases: Vec<_> = bench.take(stream).iter().map(|delivery| delivery.lease).collect();
    bench.queue.extend(leases[0], bench.now + LEASE * 6);
    bench.queue.extend(leases[1], bench.now + LEASE / 10);
    bench.pass(LEASE / 10);
    assert_eq!(names(&bench.take(stream)), ["b"]);
    bench.pass(LEASE * 5);
    assert_eq!(names(&bench.take(stream)), ["b"]);
    bench.pass(LEASE);
    assert_eq!(names(&bench.take(stream)), ["a", "b"]);
}

#[test]
fn a_stream_may_set_its_own_deadline() {
    let mut bench = Bench::plain();
    let stream = bench.queue.open(Window::new(0, 0), Some(LEASE * 3));
    bench.publish(&["a"]);
    bench.take_one(stream);
    assert_eq!(bench.queue.next_event(), Some(bench.now + LEASE * 3));
    bench.queue.set_lease(stream, LEASE * 2);
    bench.publish(&["b"]);
    bench.take_one(stream);
    assert_eq!(bench.queue.next_event(), Some(bench.now + LEASE * 2));
}

#[test]
fn a_nacked_message_comes_back_at_once_behind_the_others() {
    let mut bench = Bench::plain();
    let stream = bench.open(1);
    bench.publish(&["poison", "good", "better"]);
    let lease = bench.take_one(stream);
    bench.nack(lease);
    let wide = bench.open(0);
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.extend(bench.take(wide));
    }
    assert_eq!(names(&rest), ["good", "better", "poison"]);
}

#[test]
fn a_retry_policy_spaces_the_deliveries_of_a_message() {
    let mut bench = Bench::with_retry(10, 60);
    let stream = bench.open(0);
    bench.publish(&["a"]);
    for seconds in [10, 20, 40, 60, 60] {
        let lease = bench.take_one(stream);
        bench.nack(lease);
        assert_eq!(bench.queue.counts().delayed, 1);
        bench.pass(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(bench.take(stream), [], "{seconds}");
        bench.pass(Duration::from_millis(1));
    }
    assert_eq!(bench.take(stream).len(), 1);
}

#[test]
fn an_ended_lease_waits_for_the_backoff_too() {
    let mut bench = Bench::with_retry(10, 60);
    let stream = bench.open(0);
    bench.publish(&["a"]);
    bench.take_one(stream);
    bench.pass(LEASE);
    assert_eq!(bench.take(stream), []);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.take(stream).len(), 1);
}

#[test]
fn attempts_are_counted_only_with_a_dead_letter_policy() {
    let mut bench = Bench::with_dead_letters(5);
    let stream = bench.open(0);
    bench.publish(&["a"]);
    for expected in [1, 2, 3] {
        let delivery = bench.take(stream).remove(0);
        assert_eq!(delivery.attempt, expected);
        bench.nack(delivery.lease);
    }
    let mut plain = Bench::plain();
    let stream = plain.open(0);
    plain.publish(&["a"]);
    assert_eq!(plain.take(stream)[0].attempt, 0);
}

#[test]
fn a_message_that_used_up_its_attempts_is_handed_out_to_be_forwarded() {
    let mut bench = Bench::with_dead_letters(5);
    let stream = bench.open(0);
    bench.publish(&["a"]);
    for attempt in 1..=5 {
        assert_eq!(bench.queue.take_dead(), []);
        let lease = bench.take_one(stream);
        // A nack and an ended lease count alike.
        if attempt % 2 == 0 { bench.nack(lease) } else { bench.pass(LEASE) }
    }
    let dead = bench.queue.take_dead();
    assert_eq!((dead.len(), dead[0].entry.attempts, dead[0].topic.as_str()), (1, 5, "projects/p/topics/dead"));
    assert_eq!((bench.take(stream), bench.queue.counts().backlog()), (vec![], 0));
    bench.queue.buried();
    assert_eq!(bench.queue.counts().dead_lettered, 1);
}

#[test]
fn a_dead_message_that_could_not_be_forwarded_goes_on() {
    let mut bench = Bench::with_dead_letters(1);
    let stream = bench.open(0);
    bench.publish(&["a"]);
    let lease = bench.take_one(stream);
    bench.nack(lease);
    let dead = bench.queue.take_dead().remove(0);
    bench.queue.put_back(dead.entry, bench.now);
    assert_eq!(bench.take(stream)[0].attempt, 2);
}

#[test]
fn a_stream_holds_no_more_than_it_allows_and_any_settlement_makes_room() {
    let mut bench = Bench::plain();
    let stream = bench.open(3);
    bench.publish_many(10);
    let leases: Vec<_> = bench.take(stream).iter().map(|delivery| delivery.lease).collect();
    assert_eq!((leases.len(), bench.take(stream)), (3, vec![]));
    assert_eq!(bench.queue.wakes(), []);

    bench.queue.ack(leases[0]);
    assert_eq!(bench.queue.wakes(), [stream]);
    assert_eq!(bench.take(stream).len(), 1);
    bench.nack(leases[1]);
    assert_eq!(bench.take(stream).len(), 1);
    bench.pass(LEASE);
    assert_eq!(bench.take(stream).len(), 3);
}

#[test]
fn bytes_bound_a_stream_as_well() {
    let mut bench = Bench::plain();
    let stream = bench.queue.open(Window::new(0, 8), None);
    bench.publish_many(10);
    assert_eq!(bench.take(stream).len(), 2);
    assert_eq!(bench.take(stream), []);
}

#[test]
fn a_response_is_bounded() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish_many(2500);
    let batches: Vec<usize> = (0..4).map(|_| bench.take(stream).len()).collect();
    assert_eq!(batches, [1000, 1000, 500, 0]);

    bench.queue.publish(std::iter::repeat_n(Bytes::from(vec![0; MAX_BATCH_BYTES / 2]), 5));
    let batches: Vec<usize> = (0..3).map(|_| bench.take(stream).len()).collect();
    assert_eq!(batches, [2, 2, 1]);
}

#[test]
fn messages_are_spread_over_the_streams_that_have_room() {
    let mut bench = Bench::plain();
    let full = bench.open(1);
    bench.publish_many(1);
    bench.take_one(full);
    let streams: Vec<_> = (0..4).map(|_| bench.open(0)).collect();
    streams.iter().for_each(|stream| assert_eq!(bench.take(*stream), []));
    bench.publish_many(100);
    assert_eq!(bench.queue.wakes(), streams);
    assert!(streams.iter().all(|stream| (10..=25).contains(&bench.take(*stream).len())));
}

#[test]
fn no_more_streams_are_woken_than_there_are_messages_and_the_longest_waiting_first() {
    let mut bench = Bench::plain();
    let streams: Vec<_> = (0..3).map(|_| bench.open(0)).collect();
    streams.iter().for_each(|stream| assert_eq!(bench.take(*stream), []));
    bench.publish_many(1);
    assert_eq!(bench.queue.wakes(), [streams[0]]);
    assert_eq!(bench.take(streams[0]).len(), 1);
    assert_eq!(bench.queue.wakes(), []);
    bench.publish_many(1);
    assert_eq!(bench.queue.wakes(), [streams[1]]);
}

#[test]
fn a_stream_that_was_served_waits_until_those_woken_with_it_have_asked() {
    let mut bench = Bench::plain();
    let (first, second) = (bench.open(0), bench.open(0));
    assert_eq!((bench.take(first), bench.take(second)), (vec![], vec![]));
    bench.publish_many(100);
    assert_eq!(bench.queue.wakes(), [first, second]);
    assert_eq!(bench.take(first).len(), 50);
    assert_eq!((bench.take(first), bench.queue.wakes()), (vec![], vec![]));
    assert_eq!(bench.take(second).len(), 25);
    assert_eq!(bench.queue.wakes(), [first]);
}

#[test]
fn a_deep_backlog_is_taken_without_taking_turns() {
    let mut bench = Bench::plain();
    let (first, second) = (bench.open(0), bench.open(0));
    assert_eq!((bench.take(first), bench.take(second)), (vec![], vec![]));
    bench.publish_many(5000);
    assert_eq!(bench.queue.wakes(), [first, second]);
    assert_eq!((bench.take(first).len(), bench.take(first).len()), (1000, 1000));
}

#[test]
fn a_woken_stream_that_closes_passes_the_wake_on() {
    let mut bench = Bench::plain();
    let (first, second) = (bench.open(0), bench.open(0));
    assert_eq!((bench.take(first), bench.take(second)), (vec![], vec![]));
    bench.publish_many(1);
    assert_eq!(bench.queue.wakes(), [first]);
    bench.queue.close(first);
    assert_eq!(bench.queue.wakes(), [second]);
}

#[test]
fn what_a_closed_stream_held_stays_leased_until_it_is_settled_or_expires() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.publish(&["a", "b"]);
    let held = bench.take(stream);
    bench.queue.close(stream);
    let other = bench.open(0);
    assert_eq!(bench.take(other), []);
    bench.queue.ack(held[0].lease);
    bench.pass(LEASE);
    assert_eq!(names(&bench.take(other)), ["b"]);
}

#[test]
fn a_message_delivered_twice_needs_two_acks() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.faults.deliver_twice(1.0);
    bench.publish(&["a"]);
    let first = bench.take_one(stream);
    let twin = bench.take_one(stream);
    assert_eq!(bench.take(stream), []);
    bench.queue.ack(first);
    bench.nack(twin);
    let again = bench.take_one(stream);
    bench.queue.ack(again);
    assert_eq!(bench.queue.counts().backlog(), 0);
}

#[test]
fn reordering_loses_nothing() {
    let mut bench = Bench::plain();
    let stream = bench.open(0);
    bench.faults.reorder(1.0);
    bench.publish(&["a", "b", "c", "d", "e"]);
    let deliveries = bench.take(stream);
    let mut received = names(&deliveries);
    assert_ne!(received, ["a", "b", "c", "d", "e"]);
    received.sort_unstable();
    assert_eq!(received, ["a", "b", "c", "d", "e"]);
}

/// One thing that can happen to a queue.
#[derive(Debug, Clone)]
enum Event {
    Publish(usize),
    Open(i64),
    Close(usize),
    Take(usize),
    Ack(usize),
    Nack(usize),
    Extend(usize, u64),
    Pass(u64),
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
        (0..15_u64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..200)
}

/// Plays the streams' part: a stream that is woken asks, now or later, and one that is not waits.
struct Play {
    bench: Bench,
    streams: Vec<StreamId>,
    woken: Vec<StreamId>,
    leases: Vec<LeaseId>,
}

impl Play {
    fn pick<T: Copy>(from: &[T], at: usize) -> Option<T> {
        (!from.is_empty()).then(|| from[at % from.len()])
    }

    fn ask(&mut self, stream: StreamId) {
        self.woken.retain(|woken| *woken != stream);
        let deliveries = self.bench.take(stream);
        if !deliveries.is_empty() {
            // A stream that was served asks again by itself.
            self.woken.push(stream);
        }
        self.leases.extend(deliveries.into_iter().map(|delivery| delivery.lease));
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Publish(count) => self.bench.publish_many(count),
            Event::Open(limit) => {
                let stream = self.bench.open(limit);
                self.streams.push(stream);
                self.ask(stream);
            }
            Event::Close(at) => {
                if let Some(stream) = Play::pick(&self.streams, at) {
                    self.streams.retain(|open| *open != stream);
                    self.woken.retain(|open| *open != stream);
                    self.bench.queue.close(stream);
                }
            }
            Event::Take(at) => {
                if let Some(stream) = Play::pick(&self.streams, at) {
                    self.ask(stream);
                }
            }
            Event::Ack(at) => Play::pick(&self.leases, at).into_iter().for_each(|lease| self.bench.queue.ack(lease)),
            Event::Nack(at) => Play::pick(&self.leases, at).into_iter().for_each(|lease| self.bench.nack(lease)),
            Event::Extend(at, seconds) => {
                let deadline = self.bench.now + Duration::from_secs(seconds);
                Play::pick(&self.leases, at).into_iter().for_each(|lease| self.bench.queue.extend(lease, deadline));
            }
            Event::Pass(seconds) => self.bench.pass(Duration::from_secs(seconds)),
        }
        (0..self.bench.queue.take_dead().len()).for_each(|_| self.bench.queue.buried());
        self.woken.extend(self.bench.queue.wakes());
    }

    /// Every stream that is woken asks and acknowledges, and time passes, until nothing happens any more.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.bench.queue.counts().backlog() == 0 {
                return;
            }
            match self.woken.first() {
                Some(stream) => self.ask(*stream),
                None => self.bench.now = self.bench.queue.next_event().unwrap_or(self.bench.now),
            }
            for lease in std::mem::take(&mut self.leases) {
                self.bench.queue.ack(lease);
            }
            self.happen(&Event::Pass(0));
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_no_wake_is_forgotten(events in events(), retry in 0..20_u64, dead_letters: bool) {
        let mut bench = Bench::with_retry(retry, 600);
        if dead_letters {
            bench.queue.set(Bench::with_dead_letters(5).queue.settings.clone());
        }
        let mut play = Play { bench, streams: Vec::new(), woken: Vec::new(), leases: Vec::new() };
        for event in &events {
            play.happen(event);
            let counts = play.bench.queue.counts();
            let there = counts.backlog() as u64 + counts.acknowledged + counts.dead_lettered;
            prop_assert_eq!(there, counts.published, "after {:?}", event);
        }
        play.happen(&Event::Open(5));
        play.drain();
        prop_assert_eq!(play.bench.queue.counts().backlog(), 0);
    }
}
