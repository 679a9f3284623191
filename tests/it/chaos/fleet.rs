//! The consumer processes. Each is stopped on request and started again.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::messages::CONSUMING;
use crate::support::program::{Exit, Launch, Program, Signal};

/// `--shutdown-grace` of the consumers, and the additional time that they may need to exit.
pub(super) const GRACE: Duration = Duration::from_secs(5);
pub(super) const BEYOND_GRACE: Duration = Duration::from_secs(3);
/// The pause before a consumer that failed to start is started again, as an orchestrator would do.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Fleet {
    requests: Vec<mpsc::UnboundedSender<Stop>>,
    supervisors: JoinSet<Report>,
}

/// A request to stop a consumer and to start it again after the pause.
#[derive(Debug)]
struct Stop {
    gracefully: bool,
    pause: Duration,
}

/// What one supervisor, or all of them, did.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) starts: usize,
    pub(super) kills: usize,
    pub(super) terminations: usize,
    /// Starts that failed because a server did not respond, which the start checks are allowed to do.
    pub(super) failed_starts: usize,
    /// One line for each exit that must not happen.
    pub(super) problems: Vec<String>,
}

impl Fleet {
    pub(super) fn start(launches: Vec<impl Fn() -> Launch + Send + 'static>) -> Fleet {
        let mut supervisors = JoinSet::new();
        let requests = launches.into_iter().map(|launch| {
            let (sender, requests) = mpsc::unbounded_channel();
            supervisors.spawn(supervise(launch, requests));
            sender
        });
        Fleet { requests: requests.collect(), supervisors }
    }

    /// Stops a consumer by SIGTERM or SIGKILL, and starts it again after the pause.
    pub(super) fn restart(&self, consumer: usize, gracefully: bool, pause: Duration) {
        self.requests[consumer].send(Stop { gracefully, pause }).expect("the supervisor runs");
    }

    /// Stops all consumers and returns what was done to them.
    pub(super) async fn stop(self) -> Report {
        let Fleet { requests, supervisors } = self;
        drop(requests);
        supervisors.join_all().await.into_iter().fold(Report::default(), |all, one| Report {
            starts: all.starts + one.starts,
            kills: all.kills + one.kills,
            terminations: all.terminations + one.terminations,
            failed_starts: all.failed_starts + one.failed_starts,
            problems: [all.problems, one.problems].concat(),
        })
    }
}

async fn supervise(launch: impl Fn() -> Launch, mut requests: mpsc::UnboundedReceiver<Stop>) -> Report {
    let mut report = Report::default();
    loop {
        let mut consumer = launch().start();
        report.starts += 1;
        let request = tokio::select! {
            request = requests.recv() => request,
            () = consumer.end_of_output() => {
                report.exited_by_itself(consumer.exit().await);
                sleep(RESTART_PAUSE).await;
                continue;
            }
        };
        match request {
            Some(Stop { gracefully: true, pause }) => {
                report.terminate(consumer).await;
                sleep(pause).await;
            }
            Some(Stop { gracefully: false, pause }) => {
                consumer.signal(Signal::Kill).await;
                consumer.exit().await;
                report.kills += 1;
                sleep(pause).await;
            }
            None => {
                report.terminate(consumer).await;
                return report;
            }
        }
    }
}

impl Report {
    async fn terminate(&mut self, consumer: Program) {
        let signalled = Instant::now();
        consumer.signal(Signal::Terminate).await;
        let exit = consumer.exit().await;
        let took = signalled.elapsed();
        self.terminations += 1;
        // Before a consumer has installed its signal handlers, SIGTERM kills it.
        if had_started(&exit) && (exit.code != Some(0) || took > GRACE + BEYOND_GRACE) {
            self.problems.push(format!("at SIGTERM a consumer exited with {:?} after {took:?}: {exit:#?}", exit.code));
        }
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
