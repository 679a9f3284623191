//! Decides when a worker opens and ends its stream, and whether it can read. A stream that is idle for too long may have a
//! dead connection, so it is replaced, and the next one probes Pub/Sub; while the whole process receives nothing, only
//! worker 0 does that often. Pure: the caller passes the events, the time and the activity, and carries out the actions.

#[cfg(test)]
mod tests;

use std::mem;
use std::time::{Duration, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::activity::Activity;
use super::backoff::{Backoff, MAX_BACKOFF, jittered};
use super::idle::{IdleTimer, LastMessage};
use super::replaced::MAX_REPLACED;
use super::unsettled::Amount;
use crate::consumer::policy::ends_the_program;
use crate::consumer::ports::Restart;
use crate::pubsub::Problem;

/// Pub/Sub is healthy again if it responded to a probe and no error occurred for this time. The stream of an idle
/// subscription receives nothing that would show it sooner.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The longest time after which an idle stream is replaced while the whole process receives nothing.
const MAX_PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) enum State {
    /// No stream is open. The next one opens at `until`, or when the replaced streams leave capacity.
    Closed {
        until: Instant,
        predecessor: Predecessor,
    },
    /// A stream is opening or open. The client does not show the difference.
    Reading(Reading),
    Stopped,
}

/// When the previous stream was ended as idle. `None` if it ended otherwise, or once the metrics count its end.
type Predecessor = Option<Instant>;

#[derive(Debug)]
pub(super) struct Reading {
    opened: Instant,
    has_received: bool,
    idle: IdleTimer,
    check: Check,
}

/// Whether Pub/Sub responds while the stream has received nothing.
#[derive(Debug)]
enum Check {
    /// The stream received a message, or there was no reason to doubt it when it was opened.
    NotNeeded,
    Probing(Predecessor),
    Answered(Predecessor),
    Unanswered,
}

#[derive(Debug, Clone, Copy)]
enum Health {
    Healthy,
    Faulty { since: Instant },
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Opened,
    Message {
        published: SystemTime,
    },
    Probed(Result<(), Problem>),
    /// Some time has passed. `may_replace` is false while too many replaced streams have unsettled messages.
    Tick {
        unsettled: Amount,
        may_replace: bool,
    },
    /// The stream ended with this error, or could not be opened.
    Failed(Problem),
    /// The server ended the stream.
    Closed,
    /// The worker has twice its limit unsettled.
    Overfull,
    /// The next stream has waited for a while, because too many replaced streams have unsettled messages.
    NoCapacity,
    Stop,
}

/// What the supervisor does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Count(Restart),
    Raise(Problem),
    /// Clears the condition that was raised.
    Clear,
    /// Ends the program.
    Fail(Problem),
}

#[derive(Debug)]
pub(super) struct Machine {
    limit: Amount,
    max_idle: Duration,
    /// Whether this worker's stream is replaced after `max_idle` although the whole process receives nothing.
    is_always_checked: bool,
    started: Instant,
    /// How long the next stream may be idle.
    pause: Duration,
    backoff: Backoff,
    newest: Option<LastMessage>,
    health: Health,
    state: State,
    rng: StdRng,
}

impl Machine {
    pub(super) fn new(
        limit: Amount,
        max_idle: Duration,
        is_always_checked: bool,
        rng: StdRng,
        now: Instant,
    ) -> Machine {
        Machine {
            limit,
            max_idle,
            is_always_checked,
            started: now,
            pause: max_idle,
            backoff: Backoff::default(),
            newest: None,
            health: Health::Healthy,
            state: State::Closed { until: now, predecessor: None },
            rng,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Returns whether a probe should run.
    pub(super) fn wants_probe(&self) -> bool {
        matches!(self.state, State::Reading(Reading { check: Check::Probing(_), .. }))
    }

    /// Moves to the next state. Ignores events that arrive too late for the state.
    pub(super) fn on(&mut self, event: Event, now: Instant, activity: &Activity) -> Vec<Action> {
        match event {
            Event::Opened => self.opened(now),
            Event::Message { published } => self.received(published, now, activity),
            Event::Probed(Ok(())) => self.answered(),
            Event::Probed(Err(problem)) => self.unanswered(problem, now, activity),
            Event::Tick { unsettled, may_replace } => self.tick(unsettled, may_replace, now, activity),
            Event::Failed(problem) => self.failed(problem, now),
            Event::Closed => self.closed(now),
            Event::Overfull => self.overfull(now),
            Event::NoCapacity => self.no_capacity(now),
            Event::Stop => self.stop(),
        }
    }

    fn opened(&mut self, now: Instant) -> Vec<Action> {
        if let State::Closed { predecessor, .. } = self.state {
            // Without jitter, streams that were opened together would be replaced together.
            let jitter = self.rng.random_range(1.0..1.1);
            let idle = IdleTimer::new(self.limit, self.max_idle.mul_f64(jitter), self.pause.mul_f64(jitter), now);
            let check = match (predecessor, self.health) {
                (None, Health::Healthy) => Check::NotNeeded,
                (Some(_), _) | (_, Health::Faulty { .. }) => Check::Probing(predecessor),
            };
            self.state = State::Reading(Reading { opened: now, has_received: false, idle, check });
        }
        vec![]
    }

    fn received(&mut self, published: SystemTime, now: Instant, activity: &Activity) -> Vec<Action> {
        let State::Reading(reading) = &mut self.state else { return vec![] };
        reading.has_received = true;
        reading.idle.restart(now);
        let predecessor = mem::replace(&mut reading.check, Check::NotNeeded).predecessor();
        activity.record(now);
        self.pause = self.max_idle;
        let newest = self.newest.replace(LastMessage { published, received: now });
        // A message that was waiting shows that the connection of the previous stream was dead.
        let cause = predecessor.map(|ended| match newest {
            Some(newest) if newest.next_was_waiting(ended, published) => Restart::Silent,
            _ => Restart::Idle,
        });
        cause.map(Action::Count).into_iter().chain(self.recover()).collect()
    }

    fn answered(&mut self) -> Vec<Action> {
        if let State::Reading(Reading { check, .. }) = &mut self.state
            && let Check::Probing(predecessor) = check
        {
            *check = Check::Answered(*predecessor);
        }
        vec![]
    }

    fn unanswered(&mut self, problem: Problem, now: Instant, activity: &Activity) -> Vec<Action> {
        let State::Reading(Reading { check: check @ Check::Probing(_), idle, .. }) = &mut self.state else {
            return vec![];
        };
        let predecessor = mem::replace(check, Check::Unanswered).predecessor();
        idle.shorten(jittered(MAX_BACKOFF, &mut self.rng));
        activity.record(now);
        let count = predecessor.map(|_| Action::Count(Restart::Silent));
        count.into_iter().chain([self.raise(problem, now)]).collect()
    }

    fn tick(&mut self, unsettled: Amount, may_replace: bool, now: Instant, activity: &Activity) -> Vec<Action> {
        // A running probe shows more about Pub/Sub than the idle time of this stream.
        if self.wants_probe() {
            return vec![];
        }
        let State::Reading(reading) = &mut self.state else { return vec![] };
        let has_recovered = match (&reading.check, self.health) {
            (Check::Answered(_), Health::Faulty { since }) => now - since >= HEALTHY_AFTER,
            _ => false,
        };
        let has_activity = activity.is_newer(reading.idle.since(now, unsettled), now);
        let has_expired = reading.idle.has_expired(now, has_activity);
        let may_pause = !has_activity && !matches!(reading.check, Check::Unanswered);

        let mut actions = vec![];
        if has_recovered {
            actions.extend(self.recover());
        }
        if has_expired && may_replace {
            self.pause = match may_pause && !self.is_always_checked {
                true => (2 * self.pause).min(MAX_PAUSE.max(self.max_idle)),
                false => self.max_idle,
            };
            actions.extend(self.leave(State::Closed { until: now, predecessor: Some(now) }));
        }
        actions
    }

    fn failed(&mut self, problem: Problem, now: Instant) -> Vec<Action> {
        let lived = match &self.state {
            State::Closed { .. } => Duration::ZERO,
            State::Reading(reading) => now - reading.opened,
            State::Stopped => return vec![],
        };
        let cause = restart(&problem);
        if ends_the_program(cause, self.newest.is_some(), now - self.started) {
            return self.leave(State::Stopped).into_iter().chain([Action::Fail(problem)]).collect();
        }
        let wait = self.backoff.after(lived, &mut self.rng);
        self.end(cause, Some(problem), wait, now)
    }

    fn closed(&mut self, now: Instant) -> Vec<Action> {
        let State::Reading(Reading { opened, has_received, .. }) = self.state else { return vec![] };
        let wait = self.backoff.after(now - opened, &mut self.rng);
        // A server may close a stream after a while. It is unhealthy if it closes one at once and before any message.
        let is_fault = !has_received && now - opened <= MAX_BACKOFF;
        let fault = is_fault.then(|| Problem::Unreachable("the stream was closed".to_owned()));
        self.end(Restart::Closed, fault, wait, now)
    }

    fn overfull(&mut self, now: Instant) -> Vec<Action> {
        match self.is_reading() {
            true => self.end(Restart::Overfull, None, Duration::ZERO, now),
            false => vec![],
        }
    }

    fn no_capacity(&mut self, now: Instant) -> Vec<Action> {
        match self.state {
            State::Closed { .. } => {
                let detail = format!("more than {MAX_REPLACED} replaced streams have unsettled messages");
                vec![self.raise(Problem::Other(detail), now)]
            }
            State::Reading(_) | State::Stopped => vec![],
        }
    }

    fn stop(&mut self) -> Vec<Action> {
        self.leave(State::Stopped).into_iter().collect()
    }

    /// Ends a stream that is not idle. The next one opens after `wait`.
    fn end(&mut self, cause: Restart, fault: Option<Problem>, wait: Duration, now: Instant) -> Vec<Action> {
        let idle = self.leave(State::Closed { until: now + wait, predecessor: None });
        let fault = fault.map(|problem| self.raise(problem, now));
        idle.into_iter().chain([Action::Count(cause)]).chain(fault).collect()
    }

    /// Moves to `next`. Counts the end of the previous stream as idle if nothing has shown that its connection was dead.
    fn leave(&mut self, next: State) -> Option<Action> {
        let predecessor = match mem::replace(&mut self.state, next) {
            State::Closed { predecessor, .. } => predecessor,
            State::Reading(reading) => reading.check.predecessor(),
            State::Stopped => None,
        };
        predecessor.map(|_| Action::Count(Restart::Idle))
    }

    fn raise(&mut self, problem: Problem, now: Instant) -> Action {
        self.health = Health::Faulty { since: now };
        Action::Raise(problem)
    }

    fn recover(&mut self) -> Option<Action> {
        match mem::replace(&mut self.health, Health::Healthy) {
            Health::Healthy => None,
            Health::Faulty { .. } => Some(Action::Clear),
        }
    }
}

impl Check {
    fn predecessor(self) -> Predecessor {
        match self {
            Check::Probing(predecessor) | Check::Answered(predecessor) => predecessor,
            Check::NotNeeded | Check::Unanswered => None,
        }
    }
}

/// Returns the cause by which the metrics count a stream error.
pub(super) fn restart(problem: &Problem) -> Restart {
    match problem {
        Problem::NotFound => Restart::NotFound,
        Problem::Refused(_) => Restart::Refused,
        Problem::NoCredentials(_) => Restart::NoCredentials,
        Problem::Unreachable(_) => Restart::Unreachable,
        Problem::Invalid(_) => Restart::Invalid,
        Problem::Transient(_) | Problem::Other(_) => Restart::Failed,
    }
}
