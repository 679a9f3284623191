//! The consumers: each is ended when it is told to, and started again.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::program::{Exit, Launch, Program, Signal};

/// `--shutdown-grace` of the consumers, and what they may take beyond it.
pub(super) const GRACE: Duration = Duration::from_secs(5);
const BEYOND_GRACE: Duration = Duration::from_secs(3);
/// Before one that would not start is started again, as whoever runs it for real would.
const START_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Fleet {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    keepers: JoinSet<Kept>,
}

#[derive(Debug)]
struct Order {
    gently: bool,
    pause: Duration,
}

/// What one keeper, or all, did.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) starts: usize,
    pub(super) kills: usize,
    pub(super) terminations: usize,
    /// Starts that ended because a server did not answer, which is a start's right.
    pub(super) in_vain: usize,
    /// A line for each end that must not be.
    pub(super) wrong: Vec<String>,
}

impl Fleet {
    pub(super) fn start(launches: Vec<impl Fn() -> Launch + Send + 'static>) -> Fleet {
        let mut keepers = JoinSet::new();
        let orders = launches.into_iter().map(|launch| {
            let (sender, orders) = mpsc::unbounded_channel();
            keepers.spawn(keep(launch, orders));
            sender
        });
        Fleet { orders: orders.collect(), keepers }
    }

    /// Ends a consumer, by SIGTERM or by SIGKILL, and starts it again after the pause.
    pub(super) fn end(&self, consumer: usize, gently: bool, pause: Duration) {
        self.orders[consumer].send(Order { gently, pause }).expect("the keeper is there");
    }

    /// Ends all of them, and says what was done to them.
    pub(super) async fn stop(self) -> Kept {
        let Fleet { orders, keepers } = self;
        drop(orders);
        keepers.join_all().await.into_iter().fold(Kept::default(), |all, one| Kept {
            starts: all.starts + one.starts,
            kills: all.kills + one.kills,
            terminations: all.terminations + one.terminations,
            in_vain: all.in_vain + one.in_vain,
            wrong: [all.wrong, one.wrong].concat(),
        })
    }
}

async fn keep(launch: impl Fn() -> Launch, mut orders: mpsc::UnboundedReceiver<Order>) -> Kept {
    let mut kept = Kept::default();
    loop {
        let mut consumer = launch().start();
        kept.starts += 1;
        let order = tokio::select! {
            order = orders.recv() => order,
            () = consumer.silence() => {
                kept.ended_by_itself(consumer.exit().await);
                sleep(START_AGAIN).await;
                continue;
            }
        };
        match order {
            Some(Order { gently: true, pause }) => {
                kept.terminate(consumer).await;
                sleep(pause).await;
            }
            Some(Order { gently: false, pause }) => {
                consumer.signal(Signal::Kill).await;
                consumer.exit().await;
                kept.kills += 1;
                sleep(pause).await;
            }
            None => {
                kept.terminate(consumer).await;
                return kept;
            }
        }
    }
}

impl Kept {
    async fn terminate(&mut self, consumer: Program) {
        let asked = Instant::now();
        consumer.signal(Signal::Terminate).await;
        let exit = consumer.exit().await;
        let took = asked.elapsed();
        self.terminations += 1;
        // One that does not listen for signals yet just ends.
        if had_begun(&exit) && (exit.code != Some(0) || took > GRACE + BEYOND_GRACE) {
            self.wrong.push(format!("at SIGTERM a consumer ended with {:?} after {took:?}: {exit:#?}", exit.code));
        }
    }

    fn ended_by_itself(&mut self, exit: Exit) {
        match exit.code {
            Some(1) if !had_begun(&exit) => self.in_vain += 1,
            _ => self.wrong.push(format!("a consumer ended by itself: {exit:#?}")),
        }
    }
}

fn had_begun(exit: &Exit) -> bool {
    exit.said.stderr.iter().any(|line| line.contains("consuming"))
}
