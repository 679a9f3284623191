//! Each transition of one machine, random events, and (in `fleet`) the machines of a whole process on a virtual clock.

mod fleet;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

const LIMIT: Amount = Amount { messages: 100, bytes: 1000 };
const MAX_IDLE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// Enough for a stream to be idle for too long despite the jitter.
const TOO_LONG: Duration = Duration::from_secs(66);

/// One machine and its clock.
struct Worker {
    machine: Machine,
    activity: Activity,
    start: Instant,
    now: Instant,
}

impl Worker {
    fn new() -> Worker {
        let start = Instant::now();
        let machine = Machine::new(LIMIT, MAX_IDLE, true, StdRng::seed_from_u64(17), start);
        Worker { machine, activity: Activity::new(start), start, now: start }
    }

    /// Returns a worker with an open stream that has received nothing.
    fn reading() -> Worker {
        let mut worker = Worker::new();
        assert_eq!(worker.on(Event::Opened), []);
        worker
    }

    /// Returns a worker whose stream replaced an idle one, and probes.
    fn probing() -> Worker {
        let mut worker = Worker::reading();
        worker.message(Duration::ZERO);
        worker.wait(TOO_LONG);
        assert_eq!(worker.tick(), []);
        worker.on(Event::Opened);
        assert!(worker.machine.wants_probe());
        worker
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.machine.on(event, self.now, &self.activity)
    }

    fn tick(&mut self) -> Vec<Action> {
        self.on(Event::Tick { unsettled: Amount::NOTHING, may_replace: true })
    }

    /// Delivers a message that was published this long ago.
    fn message(&mut self, ago: Duration) -> Vec<Action> {
        let published = SystemTime::UNIX_EPOCH + MAX_IDLE + (self.now - self.start) - ago;
        self.on(Event::Message { published })
    }

    /// Returns the wait before the next stream, or `None` if the state is not `Closed`.
    fn backoff(&self) -> Option<Duration> {
        match self.machine.state {
            State::Closed { until, .. } => Some(until - self.now),
            State::Reading(_) | State::Stopped => None,
        }
    }
}

fn unreachable() -> Problem {
    Problem::Unreachable("no answer".to_owned())
}

fn was_closed() -> Problem {
    Problem::Unreachable("the stream was closed".to_owned())
}

#[test]
fn a_stream_that_follows_no_idle_one_needs_no_probe() {
    let mut worker = Worker::reading();
    assert!(worker.machine.is_reading() && !worker.machine.wants_probe());
    worker.message(Duration::ZERO);
    worker.on(Event::Overfull);
    worker.on(Event::Opened);
    assert!(worker.machine.is_reading() && !worker.machine.wants_probe());
}

#[test]
fn an_idle_stream_is_replaced_at_once_and_counted_with_the_next_end() {
    let mut worker = Worker::reading();
    worker.wait(MAX_IDLE - SECOND);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], None));
    worker.wait(TOO_LONG - MAX_IDLE + SECOND);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], Some(Duration::ZERO)));
    worker.on(Event::Opened);
    assert!(worker.machine.wants_probe());
    assert_eq!(worker.on(Event::Probed(Ok(()))), []);
    assert!(!worker.machine.wants_probe());
    worker.wait(TOO_LONG);
    assert_eq!(worker.tick(), [Action::Count(Restart::Idle)]);
}

#[test]
fn every_other_end_counts_the_idle_stream_too() {
    let ends = [
        (Event::Closed, vec![Action::Count(Restart::Closed), Action::Raise(was_closed())]),
        (Event::Failed(unreachable()), vec![Action::Count(Restart::Unreachable), Action::Raise(unreachable())]),
        (Event::Overfull, vec![Action::Count(Restart::Overfull)]),
        (Event::Stop, vec![]),
    ];
    for answer in [None, Some(Event::Probed(Ok(())))] {
        for (end, actions) in ends.clone() {
            let mut worker = Worker::probing();
            answer.clone().map(|answer| worker.on(answer));
            assert_eq!(worker.on(end), [vec![Action::Count(Restart::Idle)], actions].concat());
        }
    }
}

#[test]
fn a_message_that_was_waiting_shows_that_the_idle_stream_was_silent() {
    for (ago, cause) in [(Duration::ZERO, Restart::Idle), (TOO_LONG / 2, Restart::Silent)] {
        for answer in [None, Some(Event::Probed(Ok(())))] {
            let mut worker = Worker::probing();
            worker.wait(SECOND);
            answer.map(|answer| worker.on(answer));
            assert_eq!(worker.message(ago), [Action::Count(cause)]);
            assert!(!worker.machine.wants_probe());
            assert_eq!(worker.message(ago), []);
        }
    }
}

#[test]
fn without_an_answer_the_idle_stream_was_silent_and_the_next_one_opens_soon() {
    let mut worker = Worker::probing();
    let actions = worker.on(Event::Probed(Err(unreachable())));
    assert_eq!(actions, [Action::Count(Restart::Silent), Action::Raise(unreachable())]);
    assert!(!worker.machine.wants_probe());
    worker.wait(MAX_BACKOFF / 2 - SECOND);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], None));
    worker.wait(MAX_BACKOFF / 2 + SECOND);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], Some(Duration::ZERO)));

    // Its predecessor is the stream without an answer. That one is counted, too.
    worker.on(Event::Opened);
    let actions = worker.on(Event::Probed(Err(unreachable())));
    assert_eq!(actions, [Action::Count(Restart::Silent), Action::Raise(unreachable())]);
}

#[test]
fn an_answer_ends_the_fault_ten_seconds_after_it_was_raised() {
    let mut worker = Worker::reading();
    worker.on(Event::Failed(unreachable()));
    worker.on(Event::Opened);
    assert!(worker.machine.wants_probe());
    worker.wait(HEALTHY_AFTER);
    assert_eq!(worker.tick(), [], "the probe runs");
    worker.on(Event::Probed(Ok(())));
    assert_eq!(worker.tick(), [Action::Clear]);
    assert_eq!(worker.tick(), []);

    let mut worker = Worker::reading();
    worker.on(Event::Failed(unreachable()));
    worker.on(Event::Opened);
    worker.on(Event::Probed(Ok(())));
    worker.wait(HEALTHY_AFTER - SECOND);
    assert_eq!(worker.tick(), []);
}

#[test]
fn a_message_ends_the_fault_and_the_probe() {
    let mut worker = Worker::probing();
    worker.on(Event::Failed(unreachable()));
    worker.on(Event::Opened);
    assert_eq!(worker.message(Duration::ZERO), [Action::Clear]);
    assert!(!worker.machine.wants_probe());
    for late in [Ok(()), Err(unreachable())] {
        assert_eq!(worker.on(Event::Probed(late)), []);
    }
    worker.wait(MAX_IDLE - SECOND);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], None));
}

#[test]
fn a_stream_is_not_replaced_while_its_probe_runs() {
    let mut worker = Worker::probing();
    worker.wait(TOO_LONG);
    assert_eq!((worker.tick(), worker.backoff()), (vec![], None));
}

#[test]
fn an_idle_stream_is_kept_while_there_are_too_many_replaced_ones() {
    let mut worker = Worker::reading();
    worker.wait(10 * TOO_LONG);
    assert_eq!(worker.on(Event::Tick { unsettled: Amount::NOTHING, may_replace: false }), []);
    assert!(worker.machine.is_reading());
    worker.tick();
    assert!(!worker.machine.is_reading());
}

#[test]
fn a_stream_at_half_of_its_limits_is_not_idle() {
    let mut worker = Worker::reading();
    worker.wait(TOO_LONG);
    assert_eq!(worker.on(Event::Tick { unsettled: LIMIT.half(), may_replace: true }), []);
    worker.wait(MAX_IDLE - SECOND);
    worker.tick();
    assert!(worker.machine.is_reading());
}

#[test]
fn only_a_stream_that_is_closed_soon_and_before_any_message_is_a_fault() {
    let mut worker = Worker::reading();
    worker.wait(MAX_BACKOFF);
    assert_eq!(worker.on(Event::Closed), [Action::Count(Restart::Closed), Action::Raise(was_closed())]);
    assert!(worker.backoff() > Some(Duration::ZERO));

    let mut worker = Worker::reading();
    worker.wait(MAX_BACKOFF + SECOND);
    assert_eq!(worker.on(Event::Closed), [Action::Count(Restart::Closed)]);

    let mut worker = Worker::reading();
    worker.message(Duration::ZERO);
    assert_eq!(worker.on(Event::Closed), [Action::Count(Restart::Closed)]);
}

#[test]
fn a_permanent_error_before_the_first_message_ends_the_program_at_the_start() {
    let mut worker = Worker::reading();
    assert_eq!(worker.on(Event::Failed(Problem::NotFound)), [Action::Fail(Problem::NotFound)]);
    assert!(matches!(worker.machine.state, State::Stopped));

    let survived = [Action::Count(Restart::NotFound), Action::Raise(Problem::NotFound)];
    let mut worker = Worker::reading();
    worker.wait(15 * SECOND);
    assert_eq!(worker.on(Event::Failed(Problem::NotFound)), survived);
    let mut worker = Worker::reading();
    worker.message(Duration::ZERO);
    assert_eq!(worker.on(Event::Failed(Problem::NotFound)), survived);
}

#[test]
fn a_stream_that_cannot_be_opened_is_tried_again_after_a_growing_wait() {
    let mut worker = Worker::new();
    let mut waits = vec![];
    for _ in 0..10 {
        let actions = worker.on(Event::Failed(unreachable()));
        assert_eq!(actions, [Action::Count(Restart::Unreachable), Action::Raise(unreachable())]);
        let wait = worker.backoff().expect("no stream is open");
        worker.wait(wait);
        waits.push(wait);
    }
    assert!(waits[0] < SECOND && waits[9] >= MAX_BACKOFF / 2, "{waits:?}");
}

#[test]
fn a_worker_without_capacity_for_a_stream_is_unhealthy_until_its_next_stream_is() {
    let mut worker = Worker::reading();
    worker.message(Duration::ZERO);
    worker.on(Event::Overfull);
    let no_capacity = Problem::Other("more than 4 replaced streams have unsettled messages".to_owned());
    assert_eq!(worker.on(Event::NoCapacity), [Action::Raise(no_capacity)]);
    worker.on(Event::Opened);
    assert!(worker.machine.wants_probe());
    assert_eq!(worker.on(Event::NoCapacity), []);
    assert_eq!(worker.message(Duration::ZERO), [Action::Clear]);
}

#[test]
fn an_overfull_stream_is_replaced_without_a_backoff() {
    let mut worker = Worker::reading();
    worker.message(Duration::ZERO);
    assert_eq!(worker.on(Event::Overfull), [Action::Count(Restart::Overfull)]);
    assert_eq!(worker.backoff(), Some(Duration::ZERO));
}

fn event() -> impl Strategy<Value = Event> {
    let problem = prop_oneof![Just(unreachable()), Just(Problem::NotFound)];
    prop_oneof![
        6 => Just(Event::Opened),
        2 => (0..200u32).prop_map(|at| Event::Message { published: SystemTime::UNIX_EPOCH + at * SECOND }),
        4 => prop_oneof![Just(Ok(())), problem.clone().prop_map(Err)].prop_map(Event::Probed),
        8 => (0..100usize, any::<bool>()).prop_map(|(messages, may_replace)| {
            Event::Tick { unsettled: Amount { messages, bytes: 0 }, may_replace }
        }),
        1 => problem.prop_map(Event::Failed),
        1 => Just(Event::Closed),
        1 => Just(Event::Overfull),
        1 => Just(Event::NoCapacity),
    ]
}

/// Returns whether an idle stream has ended that is not counted yet.
fn owes_a_count(machine: &Machine) -> bool {
    match &machine.state {
        State::Closed { predecessor, .. } => predecessor.is_some(),
        State::Reading(Reading { check: Check::Probing(ended) | Check::Answered(ended), .. }) => ended.is_some(),
        State::Reading(_) | State::Stopped => false,
    }
}

proptest! {
    /// Events in any order, also those that cannot happen in a state.
    #[test]
    fn every_idle_end_is_counted_once_and_a_condition_is_cleared_once(
        events in prop::collection::vec((event(), 0..100u32), 1..80)
    ) {
        let mut worker = Worker::reading();
        worker.wait(15 * SECOND);
        let (mut idle_ends, mut idle_counts, mut is_raised) = (0, 0, false);
        for (event, after) in events.into_iter().chain([(Event::Stop, 1), (Event::Stop, 1)]) {
            worker.wait(after * SECOND);
            let was_reading = worker.machine.is_reading();
            for action in worker.on(event) {
                match action {
                    Action::Count(Restart::Idle | Restart::Silent) => idle_counts += 1,
                    Action::Count(_) => {}
                    Action::Raise(_) => is_raised = true,
                    Action::Clear => prop_assert!(std::mem::take(&mut is_raised), "cleared without a condition"),
                    Action::Fail(problem) => prop_assert!(false, "failed after the start: {problem}"),
                }
            }
            idle_ends += i32::from(was_reading && !worker.machine.is_reading() && owes_a_count(&worker.machine));
            prop_assert_eq!(idle_counts + i32::from(owes_a_count(&worker.machine)), idle_ends);
            prop_assert_eq!(is_raised, matches!(worker.machine.health, Health::Faulty { .. }));
        }
        worker.wait(TOO_LONG);
        for late in [Event::Opened, Event::Closed, Event::Failed(unreachable()), Event::NoCapacity] {
            prop_assert_eq!(worker.on(late), []);
        }
        prop_assert!(matches!(worker.machine.state, State::Stopped));
    }
}
