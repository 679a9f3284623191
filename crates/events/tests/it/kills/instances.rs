//! The instances of the program: each is killed on request and started again at once.

use tokio::sync::{mpsc, watch};

use crate::support::program::{Exit, Launch, Signal};

/// The program logs one of them when it begins to work.
const WORKING: [&str; 2] = ["\"processing\"", "\"reading events\""];

/// What happened to an instance.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) kills: usize,
    /// Starts that failed because the store was away.
    pub(super) failed_starts: usize,
}

/// Keeps an instance running, and kills it at each request. When there are no more requests, stops it.
pub(super) async fn keep(
    launch: impl Fn() -> Launch,
    mut kills: mpsc::Receiver<()>,
    mut store_is_open: watch::Receiver<bool>,
) -> Counts {
    let mut counts = Counts::default();
    loop {
        let was_open = *store_is_open.borrow_and_update();
        let mut program = launch().start();
        let kill = tokio::select! {
            kill = kills.recv() => Some(kill),
            () = program.end_of_output() => None,
        };
        let may_fail = !was_open || store_is_open.has_changed().expect("the proxy runs");
        match kill {
            Some(Some(())) => {
                program.signal(Signal::Kill).await;
                counts.kills += 1;
                check(&program.exit().await, may_fail);
            }
            Some(None) => {
                program.signal(Signal::Terminate).await;
                let exit = program.exit().await;
                assert_eq!(exit.code, Some(0), "{exit:#?}");
                return counts;
            }
            None => {
                counts.failed_starts += 1;
                check(&program.exit().await, may_fail);
                store_is_open.wait_for(|is_open| *is_open).await.expect("the proxy runs");
            }
        }
    }
}

/// Only a start may fail, and only while the store is away.
fn check(exit: &Exit, may_fail: bool) {
    let log = exit.output.stderr.join("\n");
    let has_worked = WORKING.iter().any(|text| log.contains(text));
    let is_expected = exit.code.is_none() || (exit.code == Some(1) && may_fail && !has_worked);
    assert!(is_expected && !log.contains("panicked"), "{exit:#?}");
}
