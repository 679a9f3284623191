//! The consumer processes. Each is stopped on request and started again.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::POLL_INTERVAL;
use crate::support::messages::CONSUMING;
use crate::support::program::{Exit, Launch, Program, Signal};

/// `--shutdown-grace` of the consumers, and the additional time that they may need to exit.
pub(super) const GRACE: Duration = Duration::from_secs(5);
pub(super) const BEYOND_GRACE: Duration = Duration::from_secs(15);
/// The pause before a consumer that failed to start is started again, as an orchestrator would do.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Fleet {
    requests: Vec<mpsc::UnboundedSender<Stop>>,
    /// The requests that no supervisor has fulfilled yet.
    open_requests: watch::Sender<usize>,
    supervisors: JoinSet<Report>,
}

/// A request to stop a consumer and to start it again after the pause.
#[derive(Debug, Clone, Copy)]
struct Stop {
    gracefully: bool,
    pause: Duration,
}

/// What one supervisor, or all of them, did.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) starts: usize,
    /// Consumers that SIGKILL ended while they consumed.
    pub(super) kills: usize,
    /// Consumers that got SIGTERM while they consumed.
    pub(super) terminations: usize,
    /// Consumers that got either signal before they consumed.
    pub(super) early_stops: usize,
    /// Starts that failed because a server did not respond, which the start checks are allowed to do.
    pub(super) failed_starts: usize,
    /// One line for each exit that must not happen.
    pub(super) problems: Vec<String>,
}

impl Fleet {
    pub(super) fn start(launches: Vec<impl Fn() -> Launch + Send + 'static>) -> Fleet {
        let mut supervisors = JoinSet::new();
        let open_requests = watch::Sender::new(0);
        let requests = launches.into_iter().map(|launch| {
            let (sender, requests) = mpsc::unbounded_channel();
            supervisors.spawn(supervise(launch, requests, open_requests.clone()));
            sender
        });
        Fleet { requests: requests.collect(), open_requests, supervisors }
    }

    /// Stops a consumer by SIGTERM or SIGKILL, and starts it again after the pause. If the consumer does not consume
    /// yet, the one after it is stopped too, as soon as it consumes.
    pub(super) fn restart(&self, consumer: usize, gracefully: bool, pause: Duration) {
        self.open_requests.send_modify(|open| *open += 1);
        self.requests[consumer].send(Stop { gracefully, pause }).expect("the supervisor runs");
    }

    /// Waits until every requested restart is done.
    pub(super) async fn restarted(&self) {
        let mut open = self.open_requests.subscribe();
        open.wait_for(|open| *open == 0).await.expect("the fleet has a sender");
    }

    /// Stops all consumers and returns what was done to them.
    pub(super) async fn stop(self) -> Report {
        let Fleet { requests, supervisors, .. } = self;
        drop(requests);
        supervisors.join_all().await.into_iter().fold(Report::default(), |all, one| Report {
            starts: all.starts + one.starts,
            kills: all.kills + one.kills,
            terminations: all.terminations + one.terminations,
            early_stops: all.early_stops + one.early_stops,
            failed_starts: all.failed_starts + one.failed_starts,
            problems: [all.problems, one.problems].concat(),
        })
    }
}

/// What a supervisor does next.
enum Next {
    Restart,
    Stop(Stop),
    /// Stops the consumer for good.
    End,
}

async fn supervise(
    launch: impl Fn() -> Launch,
    mut requests: mpsc::UnboundedReceiver<Stop>,
    open_requests: watch::Sender<usize>,
) -> Report {
    let mut report = Report::default();
    // A request that met a consumer before it consumed.
    let mut repeated = None;
    loop {
        let mut consumer = launch().start();
        report.starts += 1;
        let next = match repeated.take() {
            Some(request) if consumes(&mut consumer).await => Next::Stop(request),
            Some(request) => {
                repeated = Some(request);
                Next::Restart
            }
            None => tokio::select! {
                request = requests.recv() => request.map_or(Next::End, Next::Stop),
                () = consumer.end_of_output() => Next::Restart,
            },
        };
        match next {
            Next::Restart => {
                report.exited_by_itself(consumer.exit().await);
                sleep(RESTART_PAUSE).await;
            }
            Next::Stop(request) => {
                let consumed = report.stop(consumer, request.gracefully).await;
                sleep(request.pause).await;
                match consumed {
                    true => open_requests.send_modify(|open| *open -= 1),
                    false => repeated = Some(request),
                }
            }
            Next::End => {
                report.terminate(consumer).await;
                return report;
            }
        }
    }
}

/// Waits until the consumer consumes. Returns false if it exits before.
async fn consumes(consumer: &mut Program) -> bool {
    loop {
        let has_exited = timeout(POLL_INTERVAL, consumer.end_of_output()).await.is_ok();
        if consumer.log().iter().any(|line| line.contains(CONSUMING)) {
            return true;
        }
        if has_exited {
            return false;
        }
    }
}

impl Report {
    /// Stops a consumer by a signal. Returns whether it consumed at that moment.
    async fn stop(&mut self, consumer: Program, gracefully: bool) -> bool {
        let (exit, count) = match gracefully {
            true => (self.terminate(consumer).await, &mut self.terminations),
            false => {
                consumer.signal(Signal::Kill).await;
                (consumer.exit().await, &mut self.kills)
            }
        };
        let consumed = had_started(&exit) && (gracefully || exit.code.is_none());
        match consumed {
            true => *count += 1,
            false => self.early_stops += 1,
        }
        consumed
    }

    async fn terminate(&mut self, consumer: Program) -> Exit {
        let signalled = Instant::now();
        consumer.signal(Signal::Terminate).await;
        let exit = consumer.exit().await;
        let took = signalled.elapsed();
        // Before a consumer has installed its signal handlers, SIGTERM kills it.
        if had_started(&exit) && (exit.code != Some(0) || took > GRACE + BEYOND_GRACE) {
            self.problems.push(format!("at SIGTERM a consumer exited with {:?} after {took:?}: {exit:#?}", exit.code));
        }
        exit
    }

    fn exited_by_itself(&mut self, exit: Exit) {
        match exit.code {
            Some(1) if !had_started(&exit) => self.failed_starts += 1,
            _ => self.problems.push(format!("a consumer exited by itself: {exit:#?}")),
        }
    }
}

fn had_started(exit: &Exit) -> bool {
    exit.output.stderr.iter().any(|line| line.contains(CONSUMING))
}
