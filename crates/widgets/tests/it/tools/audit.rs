//! `audit`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dynamodb::Item;
use dynamodb::values::text;
use futures_util::future::join_all;
use ops::console::Outcome;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use widget_registry::operation::{Association, Operation, Taken};
use widget_registry::registry::{Observer, Registry, Settings};
use widget_registry::table::WidgetTable;
use widget_registry::tools::audit::{self, Audit};
use widget_registry::widget::{Name, Port, Ports};

use super::{Running, run};
use crate::tables::{TestTables, connected, endpoint, serial, widget};

async fn task(tables: &TestTables, json: bool) -> Audit {
    Audit { endpoint: Some(endpoint().await), tables: tables.names.clone(), segments: 4, json }
}

#[tokio::test]
async fn a_sound_table_is_clean() {
    let tables = TestTables::create().await;
    for (text, peer) in [("1", "2"), ("2", "1")] {
        tables.put(&connected(text, Port::P, peer)).await;
    }
    tables.put(&widget("3")).await;
    let task = task(&tables, false).await;
    let (outcome, lines) = run(async |console| audit::run(&task, console).await).await;
    let expected = "Widgets: 3, connections: 1, suspects: 0, violations: 0, undecided: 0.";
    assert_eq!((outcome, lines), (Outcome::Done, vec![expected.to_owned()]));
}

#[tokio::test]
async fn each_violation_is_a_line() {
    let tables = TestTables::create().await;
    tables.put(&connected("1", Port::P, "2")).await;
    tables.put(&connected("2", Port::P, "3")).await;
    tables.put(&connected("3", Port::P, "2")).await;
    tables.put(&connected("4", Port::Q, "missing")).await;
    tables.put(&connected("5", Port::R, "5")).await;
    for (text, peer) in [("6", "7"), ("7", "6")] {
        let mut lacks_the_port = connected(text, Port::P, peer);
        lacks_the_port.ports = Ports::try_from(vec![Port::Q]).unwrap();
        tables.put(&lacks_the_port).await;
    }
    tables.put_item(Item::from([("serial".to_owned(), text("a/b\u{1b}[31m"))])).await;
    let task = task(&tables, false).await;
    let (outcome, mut lines) = run(async |console| audit::run(&task, console).await).await;
    let summary = lines.pop().unwrap();
    assert_eq!(summary, "Widgets: 7, connections: 2, suspects: 5, violations: 6, undecided: 0.");
    lines.sort();
    let expected = [
        "foreign       the item a/b\\u{1b}[31m is no widget: incarnation is missing or not valid",
        "itself        R of 5 is connected to itself",
        "missing-peer  Q of 4 is connected to missing, which does not exist",
        "no-such-port  6 is connected to 7 at P, which it does not have",
        "no-such-port  7 is connected to 6 at P, which it does not have",
        "one-sided     P of 1 is connected to 2, which is connected to 3",
    ];
    assert_eq!((outcome, lines), (Outcome::Failed, expected.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn results_can_be_json() {
    let tables = TestTables::create().await;
    tables.put(&connected("1", Port::P, "2")).await;
    let task = task(&tables, true).await;
    let (outcome, lines) = run(async |console| audit::run(&task, console).await).await;
    let objects: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let violation = json!({ "violation": "missing-peer", "serial": "1", "port": "P", "peer": "2" });
    let counts = json!({
        "widgets": 1, "connections": 0, "suspects": 1, "violations": 1, "undecided": 0, "stopped": false
    });
    assert_eq!((outcome, objects), (Outcome::Failed, vec![violation, counts]));
}

#[tokio::test]
async fn an_audit_that_was_stopped_does_not_call_the_table_clean() {
    let tables = TestTables::create().await;
    tables.put(&widget("1")).await;
    let (task, running) = (task(&tables, false).await, Running::default());
    running.stop.cancel();
    assert_eq!(running.run(async |console| audit::run(&task, console).await).await, Outcome::Partly);
    assert!(running.out.text().contains("It was stopped before the end."), "{}", running.out.text());
}

struct Nobody;
impl Observer for Nobody {}

const WIDGETS: usize = 40;

/// Connects, replaces, deletes and creates random widgets until it is stopped. Returns how many operations it did.
async fn write(registry: &Registry<WidgetTable>, stop: &CancellationToken) -> u32 {
    let random = || serial(&rand::random_range(0..WIDGETS).to_string());
    let mut done = 0;
    while !stop.is_cancelled() {
        let association = || Association { port: Port::P, serial: random(), peer: random() };
        let operation = match rand::random_range(0..10) {
            0..3 => Operation::Connect(association(), Taken::Refuse),
            3..7 => Operation::Connect(association(), Taken::Replace),
            7 => Operation::Disconnect { serial: random(), port: Port::P },
            8 => Operation::Delete { serial: random(), if_match: None },
            _ => {
                let name = Name::try_from("w".to_owned()).expect("a valid name");
                let ports = Ports::try_from(Port::ALL.to_vec()).expect("valid ports");
                Operation::Create { serial: random(), name, ports }
            }
        };
        let answer = registry.run(&operation, None, registry.deadline()).await;
        done += u32::from(answer.expect("an answer").answer.is_ok());
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_beside_writers_finds_nothing() {
    let tables = TestTables::create().await;
    for number in 0..WIDGETS {
        tables.put(&widget(&number.to_string())).await;
    }
    let settings = Settings {
        deadline: Duration::from_secs(30),
        attempt_timeout: Duration::from_secs(5),
        remember_for: Duration::from_secs(60),
    };
    #[expect(clippy::disallowed_methods, reason = "the clock of the registry, which decides nothing here")]
    let registry = Registry::new(tables.table.clone(), settings, Arc::new(Nobody), SystemTime::now);
    let (stop, task) = (CancellationToken::new(), task(&tables, false).await);
    let audits = async {
        for _ in 0..10 {
            let (outcome, lines) = run(async |console| audit::run(&task, console).await).await;
            assert_eq!(outcome, Outcome::Done, "{lines:#?}");
        }
        stop.cancel();
    };
    let (done, ()) = tokio::join!(join_all((0..4).map(|_| write(&registry, &stop))), audits);
    assert!(done.iter().sum::<u32>() > 20, "{done:?}");
}
