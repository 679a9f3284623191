//! The workers of one process on a virtual clock. They share one `Activity`.

use super::*;

const WORKERS: usize = 10;
/// How often the clock moves, and so how often a stream is checked and how long a probe takes.
const STEP: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

struct Fleet {
    activity: Activity,
    start: Instant,
    now: Instant,
    members: Vec<Member>,
    /// While Pub/Sub is out, probes fail and no message arrives.
    is_out: bool,
    probes: usize,
}

struct Member {
    machine: Machine,
    opened: Vec<Instant>,
    is_raised: bool,
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let start = Instant::now();
        let member = |worker| {
            let rng = StdRng::seed_from_u64(seed * WORKERS as u64 + worker as u64);
            let machine = Machine::new(LIMIT, MAX_IDLE, worker == 0, rng, start);
            Member { machine, opened: vec![], is_raised: false }
        };
        let members = (0..WORKERS).map(member).collect();
        let mut fleet = Fleet { activity: Activity::new(start), start, now: start, members, is_out: false, probes: 0 };
        (0..WORKERS).for_each(|worker| fleet.open_if_due(worker));
        fleet
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += STEP;
            (0..WORKERS).for_each(|worker| self.step(worker));
        }
    }

    /// Returns the time until the condition is met.
    fn time_until(&mut self, what: &str, condition: impl Fn(&Fleet) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.now < start + 60 * MINUTE, "not within an hour: {what}");
            self.run(STEP);
        }
        self.now - start
    }

    fn step(&mut self, worker: usize) {
        let event = match self.members[worker].machine.wants_probe() {
            true if self.is_out => Event::Probed(Err(unreachable())),
            true => Event::Probed(Ok(())),
            false => Event::Tick { unsettled: Amount::NOTHING, may_replace: true },
        };
        self.on(worker, event);
        self.open_if_due(worker);
    }

    fn open_if_due(&mut self, worker: usize) {
        if let State::Closed { until, .. } = self.members[worker].machine.state
            && until <= self.now
        {
            self.on(worker, Event::Opened);
            let member = &mut self.members[worker];
            member.opened.push(self.now);
            self.probes += usize::from(member.machine.wants_probe());
        }
    }

    fn on(&mut self, worker: usize, event: Event) {
        let member = &mut self.members[worker];
        for action in member.machine.on(event, self.now, &self.activity) {
            match action {
                Action::Raise(_) => member.is_raised = true,
                Action::Clear => member.is_raised = false,
                Action::Count(_) | Action::Fail(_) => {}
            }
        }
    }

    fn message(&mut self, worker: usize) {
        let published = SystemTime::UNIX_EPOCH + (self.now - self.start);
        self.on(worker, Event::Message { published });
    }

    fn streams_opened(&self) -> usize {
        self.members.iter().map(|member| member.opened.len()).sum()
    }

    /// Returns whether these workers have opened a stream since `time`.
    fn have_opened_since(&self, workers: impl IntoIterator<Item = usize>, time: Instant) -> bool {
        workers.into_iter().all(|worker| self.members[worker].opened.last().is_some_and(|opened| *opened > time))
    }
}

fn pauses(opened: &[Instant]) -> Vec<Duration> {
    opened.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn an_idle_hour_opens_few_streams() {
    let mut fleet = Fleet::new(0);
    fleet.run(60 * MINUTE);

    let (streams, probes) = (fleet.streams_opened(), fleet.probes);
    println!("An idle hour of {WORKERS} workers: {streams} streams opened, {probes} calls made");
    assert!(streams <= 150 && probes <= 140, "{streams} streams opened, {probes} calls made");
    let pauses_of = |worker: usize| pauses(&fleet.members[worker].opened);
    assert!(pauses_of(0).iter().all(|pause| *pause <= 72 * SECOND), "{:?}", pauses_of(0));
    for worker in 1..WORKERS {
        let pauses = pauses_of(worker);
        for (pause, minutes) in pauses.iter().zip([1, 2, 4, 8, 10, 10, 10, 10]) {
            let expected = minutes * MINUTE..=(minutes * MINUTE).mul_f64(1.1) + STEP;
            assert!(expected.contains(pause), "{pause:?} instead of {expected:?}: {pauses:?}");
        }
        assert!(pauses.last() >= Some(&(10 * MINUTE)), "{pauses:?}");
    }
    assert!(fleet.members.iter().all(|member| !member.is_raised));
}

#[test]
fn a_message_after_an_idle_time_replaces_the_streams_that_did_not_receive_it() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed);
        fleet.run(50 * MINUTE);
        let message = fleet.now;
        let idle: Vec<_> =
            (0..WORKERS).filter(|worker| !fleet.have_opened_since([*worker], message - MAX_IDLE)).collect();
        assert!(idle.len() > WORKERS / 2, "{idle:?}");
        fleet.message(3);

        let others: Vec<_> = idle.into_iter().filter(|worker| *worker != 3).collect();
        let replaced = fleet.time_until("new streams", |fleet| fleet.have_opened_since(others.clone(), message));
        assert!(replaced <= 10 * SECOND, "{replaced:?}");

        // They are checked often again, because the subscription may no longer be idle.
        let replaced = fleet.now;
        let again = fleet.time_until("new streams", |fleet| fleet.have_opened_since(others.clone(), replaced));
        assert!(again <= TOO_LONG + STEP, "{again:?}");
    }
}

#[test]
fn the_pauses_of_a_worker_begin_again_after_a_message() {
    let mut fleet = Fleet::new(0);
    fleet.run(50 * MINUTE);
    fleet.message(3);
    let message = fleet.now;
    fleet.run(30 * MINUTE);
    let opened: Vec<_> = fleet.members[3].opened.iter().copied().filter(|opened| *opened > message).collect();
    for (pause, minutes) in pauses(&[vec![message], opened].concat()).iter().zip([1, 2, 4, 8]) {
        let expected = minutes * MINUTE..=(minutes * MINUTE).mul_f64(1.1) + STEP;
        assert!(expected.contains(pause), "{pause:?} instead of {expected:?}");
    }
}

#[test]
fn all_workers_notice_an_outage_and_its_end_without_a_message() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed);
        fleet.run(50 * MINUTE + seed as u32 * STEP);
        fleet.is_out = true;
        let noticed = fleet.time_until("conditions", |fleet| fleet.members.iter().all(|member| member.is_raised));
        assert!(noticed <= 90 * SECOND, "{noticed:?}");

        fleet.run(10 * MINUTE);
        let of_an_outage = fleet.now - 9 * MINUTE;
        for member in &fleet.members {
            let opened: Vec<_> = member.opened.iter().copied().filter(|opened| *opened > of_an_outage).collect();
            assert!(pauses(&opened).iter().all(|pause| *pause <= MAX_BACKOFF + 2 * STEP), "{:?}", pauses(&opened));
        }

        fleet.is_out = false;
        let end = fleet.now;
        let healthy = fleet.time_until("recovery", |fleet| !fleet.members.iter().any(|member| member.is_raised));
        assert!(healthy <= 30 * SECOND, "{healthy:?}");
        assert!(fleet.have_opened_since(0..WORKERS, end));
    }
}

/// A stream with a dead connection delivers nothing, so it looks idle.
#[test]
fn a_dead_connection_is_noticed_soon_while_another_worker_receives_messages() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed);
        fleet.run(50 * MINUTE);
        (0..WORKERS).for_each(|worker| fleet.message(worker));
        let last_message = fleet.now;
        while !fleet.have_opened_since([7], last_message) {
            fleet.run(STEP);
            (0..WORKERS).filter(|worker| *worker != 7).for_each(|worker| fleet.message(worker));
        }
        let noticed = fleet.now - last_message;
        assert!(noticed <= TOO_LONG + STEP, "{noticed:?}");
        assert!(!fleet.have_opened_since([6], last_message), "a stream with messages was replaced");
    }
}

#[test]
fn without_worker_0_a_dead_connection_is_noticed_within_eleven_minutes() {
    let mut fleet = Fleet::new(0);
    fleet.on(0, Event::Stop);
    fleet.run(120 * MINUTE);
    for worker in 1..WORKERS {
        let pauses = pauses(&fleet.members[worker].opened);
        assert!(pauses.iter().all(|pause| *pause <= 11 * MINUTE + STEP), "{pauses:?}");
    }
}
