//! One behaviour of the write path per test, with a store that answers by a script.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::time::UNIX_EPOCH;

use super::*;
use crate::operation::{Association, Outcome, Refusal, Taken};
use crate::widget::{Name, Peers, Port, Ports, Revision};

const SETTINGS: Settings = Settings {
    deadline: Duration::from_secs(5),
    attempt_timeout: Duration::from_secs(1),
    remember_for: Duration::from_secs(24 * 3600),
};

/// What the store does with a call.
enum Reply {
    Widget(Result<Option<Widget>, StoreError>),
    Snapshot(Vec<Option<Widget>>),
    Commit(Result<Commit, StoreError>),
    Silence,
    /// The process is paused for this time on both clocks. Then the answer is missing.
    Pause {
        monotonic: Duration,
        wall: Duration,
    },
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    commits: Mutex<Vec<(Transaction, Uuid)>>,
    is_endless: bool,
}

impl Script {
    async fn reply(&self) -> Reply {
        let reply = {
            let mut replies = self.replies.lock().unwrap();
            let reply = replies.pop_front().expect("the script has a reply for each call");
            if let (Reply::Commit(commit), true) = (&reply, self.is_endless) {
                replies.push_back(Reply::Commit(commit.clone()));
            }
            reply
        };
        match reply {
            Reply::Silence => std::future::pending().await,
            Reply::Pause { monotonic, wall } => {
                PAUSED.set(PAUSED.get() + wall);
                tokio::time::advance(monotonic).await;
                Reply::Commit(Err(StoreError::no_answer(monotonic)))
            }
            reply => reply,
        }
    }
}

impl Store for Arc<Script> {
    async fn get(&self, _: &Serial) -> Result<Option<Widget>, StoreError> {
        match self.reply().await {
            Reply::Widget(answer) => answer,
            _ => panic!("the registry reads a widget too early"),
        }
    }

    async fn get_two(&self, [first, second]: [&Serial; 2]) -> Result<[Option<Widget>; 2], StoreError> {
        Ok([self.get(first).await?, self.get(second).await?])
    }

    async fn snapshot(&self, _: &[Serial]) -> Result<Vec<Option<Widget>>, StoreError> {
        match self.reply().await {
            Reply::Snapshot(widgets) => Ok(widgets),
            _ => panic!("the registry reads a snapshot too early"),
        }
    }

    async fn commit(&self, transaction: &Transaction, token: Uuid) -> Result<Commit, StoreError> {
        self.commits.lock().unwrap().push((transaction.clone(), token));
        match self.reply().await {
            Reply::Commit(answer) => answer,
            _ => panic!("the registry writes too early"),
        }
    }

    async fn page(&self, _: Option<&Serial>, _: u16) -> Result<Page, StoreError> {
        unreachable!("no test reads pages")
    }
}

struct Silent;

impl Observer for Silent {}

thread_local! {
    static PAUSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + PAUSED.get()
}

fn scripted(replies: impl IntoIterator<Item = Reply>) -> (Registry<Arc<Script>>, Arc<Script>) {
    registry_of(Script { replies: Mutex::new(replies.into_iter().collect()), ..Script::default() })
}

fn registry_of(script: Script) -> (Registry<Arc<Script>>, Arc<Script>) {
    let script = Arc::new(script);
    (Registry::new(Arc::clone(&script), SETTINGS, Arc::new(Silent), clock).with_seed(1), script)
}

async fn run(registry: &Registry<Arc<Script>>, operation: &Operation) -> Result<Answered, Failure> {
    registry.run(operation, None, registry.deadline()).await
}

async fn run_with_key(registry: &Registry<Arc<Script>>, operation: &Operation) -> Result<Answered, Failure> {
    registry.run(operation, Some(&key()), registry.deadline()).await
}

fn key() -> RequestKey {
    RequestKey::new("caller", "key", None)
}

impl Script {
    /// Returns the number of attempts, and of different tokens.
    fn attempts(&self) -> (usize, usize) {
        let commits = self.commits.lock().unwrap();
        let tokens: BTreeSet<_> = commits.iter().map(|(_, token)| *token).collect();
        (commits.len(), tokens.len())
    }

    fn transactions(&self) -> Vec<Transaction> {
        self.commits.lock().unwrap().iter().map(|(transaction, _)| transaction.clone()).collect()
    }

    /// Checks that each reply was used.
    fn is_done(&self) -> bool {
        self.replies.lock().unwrap().is_empty()
    }
}

fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).unwrap()
}

fn widget(text: &str, version: u64, peer: Option<&str>) -> Widget {
    let mut peers = Peers::default();
    peers.set(Port::P, peer.map(serial));
    Widget {
        serial: serial(text),
        name: Name::try_from("w".to_owned()).unwrap(),
        ports: Ports::try_from(vec![Port::P]).unwrap(),
        peers,
        revision: Revision { incarnation: Uuid::from_u128(1), version },
        created_at: Timestamp::stored("then"),
        updated_at: Timestamp::stored("then"),
    }
}

fn association() -> Association {
    Association { port: Port::P, serial: serial("a"), peer: serial("b") }
}

fn connect() -> Operation {
    Operation::Connect(association(), Taken::Refuse)
}

fn disconnect() -> Operation {
    Operation::Disconnect { serial: serial("a"), port: Port::P }
}

fn failed(kind: StoreErrorKind) -> Reply {
    Reply::Commit(Err(StoreError { kind, detail: "injected".to_owned() }))
}

fn applied() -> Reply {
    Reply::Commit(Ok(Commit::Applied))
}

fn refused(conditions: [Condition; 2]) -> Reply {
    Reply::Commit(Ok(Commit::Refused { actions: conditions.into(), request: None }))
}

fn unmet(widget: Widget) -> Condition {
    Condition::Unmet(Some(Box::new(widget)))
}

/// The refusal of a connect to `b`, which is connected to `c`.
fn taken() -> Reply {
    refused([Condition::Met, unmet(widget("b", 1, Some("c")))])
}

fn port_taken() -> Refusal {
    Refusal::PortTaken { serial: serial("b"), port: Port::P, by: serial("c") }
}

fn found(widget: Widget) -> Reply {
    Reply::Widget(Ok(Some(widget)))
}

fn first(answer: Answer) -> Result<Answered, Failure> {
    Ok(Answered { answer, is_repeat: false })
}

type Expected = fn(&Result<Answered, Failure>) -> bool;

fn is_unknown(answered: &Result<Answered, Failure>) -> bool {
    matches!(answered, Err(Failure::Unknown(_)))
}

fn changed_nothing(answered: &Result<Answered, Failure>) -> bool {
    matches!(answered, Err(Failure::Store(_)))
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_is_repeated_with_its_token() {
    use StoreErrorKind::{Conflict, Throttled, Unavailable};
    let (registry, script) =
        scripted([failed(Unavailable), failed(Throttled), Reply::Silence, failed(Conflict), applied()]);
    assert_eq!(run(&registry, &connect()).await, first(Ok(Outcome::Connected(association()))));
    assert_eq!(script.attempts(), (5, 1));
    assert!(script.transactions().windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_attempt_is_repeated_with_a_new_token() {
    use StoreErrorKind::{Conflict, HotKey, OpenFiles, Throttled};
    let (registry, script) =
        scripted([Conflict, Throttled, HotKey, OpenFiles].map(failed).into_iter().chain([applied()]));
    assert_eq!(run(&registry, &connect()).await, first(Ok(Outcome::Connected(association()))));
    assert_eq!(script.attempts(), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_rebuilt_transaction_has_a_new_token() {
    let moved = [unmet(widget("a", 4, Some("c"))), Condition::Met];
    let (registry, script) =
        scripted([found(widget("a", 3, Some("b"))), refused(moved), found(widget("a", 4, Some("c"))), applied()]);
    assert_eq!(run(&registry, &disconnect()).await, first(Ok(Outcome::Disconnected)));
    assert_eq!(script.attempts(), (2, 2));
    assert_eq!(script.transactions()[1].actions[1].serial(), &serial("c"));
}

#[tokio::test(start_paused = true)]
async fn an_operation_ends_by_its_deadline() {
    use StoreErrorKind::{Conflict, Throttled, Unavailable};
    for (kind, expected) in [
        (Conflict, changed_nothing as Expected),
        (Throttled, changed_nothing as Expected),
        (Unavailable, is_unknown as Expected),
    ] {
        let replies = Mutex::new([failed(kind)].into());
        let (registry, script) = registry_of(Script { replies, is_endless: true, ..Script::default() });
        let began = Instant::now();
        let answered = run(&registry, &connect()).await;
        assert!(expected(&answered), "{kind:?}: {answered:?}");
        assert!(
            began.elapsed() <= SETTINGS.deadline && began.elapsed() > SETTINGS.deadline / 2,
            "{:?}",
            began.elapsed()
        );
        // Waits grow, so that a store that is overloaded gets few attempts.
        assert!((10..60).contains(&script.attempts().0), "{:?}", script.attempts());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_gets_an_attempt_for_each_timeout() {
    let (registry, script) = scripted(std::iter::repeat_with(|| Reply::Silence).take(10));
    let began = Instant::now();
    let answered = run(&registry, &connect()).await;
    assert!(is_unknown(&answered), "{answered:?}");
    assert!(began.elapsed() <= SETTINGS.deadline);
    assert!((4..=5).contains(&script.attempts().0), "{:?}", script.attempts());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_begins_after_its_deadline_asks_the_store_for_nothing() {
    for operation in [connect(), disconnect()] {
        let (registry, script) = scripted([]);
        let answered = registry.run(&operation, None, Instant::now()).await;
        assert!(changed_nothing(&answered), "{answered:?}");
        assert_eq!(script.attempts(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_does_not_pass_is_not_repeated() {
    for kind in [StoreErrorKind::Permission, StoreErrorKind::Refused, StoreErrorKind::Misconfigured] {
        let (registry, script) = scripted([failed(kind)]);
        let answered = run(&registry, &connect()).await;
        assert!(changed_nothing(&answered), "{answered:?}");
        assert_eq!(script.attempts(), (1, 1));
    }
    let (registry, _) = scripted([failed(StoreErrorKind::Unavailable), failed(StoreErrorKind::Permission)]);
    let answered = run(&registry, &connect()).await;
    assert!(is_unknown(&answered), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_and_leaves_nothing_unknown() {
    let unavailable = || Reply::Widget(Err(StoreError::no_answer(Duration::ZERO)));
    let (registry, script) = scripted([unavailable(), Reply::Silence, Reply::Widget(Ok(None))]);
    assert_eq!(run(&registry, &disconnect()).await, first(Err(Refusal::MissingWidget(serial("a")))));
    assert!(script.is_done());
    let (registry, _) =
        registry_of(Script { replies: Mutex::new((0..10).map(|_| Reply::Silence).collect()), ..Script::default() });
    let answered = run(&registry, &disconnect()).await;
    assert!(changed_nothing(&answered), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_is_final_only_if_each_attempt_has_an_answer() {
    let (registry, script) = scripted([failed(StoreErrorKind::Conflict), taken()]);
    assert_eq!(run(&registry, &connect()).await, first(Err(port_taken())));
    assert!(script.is_done());
    // The first attempt may be applied when the port is free again.
    let connected = || [unmet(widget("a", 1, Some("b"))), unmet(widget("b", 1, Some("a")))];
    for reply in [taken(), refused(connected())] {
        let (registry, script) = registry_of(Script {
            replies: Mutex::new([failed(StoreErrorKind::Unavailable), reply].into()),
            ..Script::default()
        });
        let answered = run(&registry, &connect()).await;
        assert!(is_unknown(&answered), "{answered:?}");
        assert!(script.is_done());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_attempt_is_ruled_out_by_the_revision_that_it_expects() {
    let attempts = |conditions: [Condition; 2], then: Vec<Reply>| {
        let replies = [found(widget("a", 3, Some("b"))), failed(StoreErrorKind::Unavailable), refused(conditions)];
        scripted(replies.into_iter().chain(then))
    };
    let free = widget("a", 4, None);
    let (registry, _) = attempts([unmet(free.clone()), Condition::Met], vec![found(free.clone())]);
    let not_connected = Refusal::NotConnected { serial: serial("a"), port: Port::P };
    assert_eq!(run(&registry, &disconnect()).await, first(Err(not_connected)));
    // A later failure is not unknown either.
    let throttled = vec![found(widget("a", 4, Some("c"))), failed(StoreErrorKind::Permission)];
    let (registry, _) = attempts([unmet(free), Condition::Met], throttled);
    let answered = run(&registry, &disconnect()).await;
    assert!(changed_nothing(&answered), "{answered:?}");
    let (registry, _) = attempts([Condition::Met, unmet(widget("b", 1, None))], vec![]);
    let answered = run(&registry, &disconnect()).await;
    assert!(is_unknown(&answered), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_a_key_is_remembered_before_it_is_returned() {
    let (registry, script) =
        scripted([failed(StoreErrorKind::Unavailable), taken(), failed(StoreErrorKind::Throttled), applied()]);
    assert_eq!(run_with_key(&registry, &connect()).await, first(Err(port_taken())));
    let transactions = script.transactions();
    let request = |number: usize| transactions[number].request.clone().unwrap();
    assert_eq!((transactions[0].actions.len(), transactions[3].actions.len()), (2, 0));
    assert_eq!(request(0).stored.answer, Ok(Outcome::Connected(association())));
    assert_eq!(request(3).stored.answer, Err(port_taken()));
    assert_eq!((request(0).id, request(0).stored.operation), (request(3).id, request(3).stored.operation));
    assert_eq!(request(3).expires_at, request(3).now + 24 * 3600);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_write_is_remembered_too() {
    let (registry, script) = scripted([Reply::Widget(Ok(None)), applied()]);
    assert_eq!(run_with_key(&registry, &disconnect()).await, first(Err(Refusal::MissingWidget(serial("a")))));
    assert!(script.transactions()[0].actions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_stored_outranks_all_other_conditions() {
    let stored = |operation: &Operation| {
        let request = key().request(operation, &Ok(Outcome::Disconnected), clock(), SETTINGS.remember_for);
        let request = Some(Box::new(request.stored));
        Reply::Commit(Ok(Commit::Refused { actions: vec![Condition::Unmet(None); 2], request }))
    };
    let repeat = Ok(Answered { answer: Ok(Outcome::Disconnected), is_repeat: true });
    // The transaction that does the operation, and the one that only remembers its answer.
    for first_read in [found(widget("a", 3, Some("b"))), Reply::Widget(Ok(None))] {
        let (registry, _) = scripted([first_read, stored(&disconnect())]);
        assert_eq!(run_with_key(&registry, &disconnect()).await, repeat);
    }
    let (registry, _) = scripted([found(widget("a", 3, Some("b"))), stored(&connect())]);
    assert_eq!(run_with_key(&registry, &disconnect()).await, first(Err(Refusal::KeyReused)));
}

#[tokio::test(start_paused = true)]
async fn a_contradiction_is_reported_only_if_a_snapshot_shows_it_and_is_not_remembered() {
    let (a, free) = (widget("a", 3, Some("b")), widget("b", 7, None));
    let suspicious = || [found(a.clone()), refused([Condition::Met, unmet(free.clone())])];
    let (registry, script) =
        scripted(suspicious().into_iter().chain([Reply::Snapshot(vec![Some(a.clone()), Some(free.clone())])]));
    let contradiction = Refusal::Contradiction { serial: serial("a"), peer: serial("b"), port: Port::P };
    assert_eq!(run_with_key(&registry, &disconnect()).await, first(Err(contradiction)));
    assert_eq!(script.attempts(), (1, 1));
    let healthy = Reply::Snapshot(vec![Some(a.clone()), Some(widget("b", 8, Some("a")))]);
    let (registry, script) = registry_of(Script {
        replies: Mutex::new(suspicious().into_iter().chain([healthy, found(a.clone()), applied()]).collect()),
        ..Script::default()
    });
    assert_eq!(run(&registry, &disconnect()).await, first(Ok(Outcome::Disconnected)));
    assert_eq!(script.attempts(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_paused_does_not_repeat_a_token_that_may_be_forgotten() {
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(11 * 60));
    // A stopped process, and a suspended machine, whose monotonic clock stands still.
    for (monotonic, wall) in [(long, long), (short, long)] {
        let (registry, script) = scripted([Reply::Pause { monotonic, wall }]);
        let answered = run(&registry, &connect()).await;
        assert!(is_unknown(&answered), "{answered:?}");
        assert_eq!(script.attempts(), (1, 1));
    }
    let (registry, script) = scripted([Reply::Pause { monotonic: short, wall: short }, applied()]);
    assert_eq!(run(&registry, &connect()).await, first(Ok(Outcome::Connected(association()))));
    assert_eq!(script.attempts(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_changes_nothing() {
    PAUSED.set(Duration::from_secs(3600));
    let (registry, script) = scripted([failed(StoreErrorKind::Conflict), applied()]);
    let operation = connect();
    let (answered, ()) = tokio::join!(run(&registry, &operation), async { PAUSED.set(Duration::ZERO) });
    assert_eq!(answered, first(Ok(Outcome::Connected(association()))));
    assert!(script.is_done());
}
