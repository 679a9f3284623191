//! A model, which is a map, beside the real API on the embedded DynamoDB: random operations by several clients of two
//! instances. Operations that run at the same time must have the answers, and leave the table, of some order of them. After
//! each step, the whole table is read and checked. `WIDGET_REGISTRY_CASES=1000` tries more.

mod requests;
mod state;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use tokio::runtime::{self, Runtime};
use widget_registry::widget::{Serial, Widget};

use crate::support::program::{Program, widget_registry};
use crate::support::with_timeout;
use crate::tables::{TestTables, endpoint};
use requests::{Request, requests, send, serial_prefix};
use state::{Answer, Model};

const CASES: &str = "WIDGET_REGISTRY_CASES";
const DEFAULT_CASES: u32 = 50;

thread_local! {
    static SYSTEM: RefCell<Option<Rc<System>>> = const { RefCell::new(None) };
}

#[test]
fn the_api_answers_like_a_map_to_random_operations_of_several_clients() {
    let system = Rc::new(System::start());
    SYSTEM.set(Some(Rc::clone(&system)));
    let config = Config { cases: cases(), max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let steps = Clients::sequential_strategy(10..50);
    let result = TestRunner::new(config.clone()).run(&steps, |(model, steps, seen)| {
        Clients::test_sequential(config.clone(), model, steps, seen);
        Ok(())
    });
    SYSTEM.set(None);
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, (_, steps, _))) => panic!("{reason}\nafter {steps:#?}"),
        Err(error) => panic!("{error}"),
    }
}

fn cases() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let text = std::env::var(CASES).ok().filter(|text| !text.is_empty());
    text.map_or(DEFAULT_CASES, |text| text.parse().unwrap_or_else(|_| panic!("{CASES} is no number: {text}")))
}

/// Two instances of the API on the same tables.
struct System {
    instances: Vec<Instance>,
    tables: TestTables,
    client: reqwest::Client,
    /// The number of the current case. The widgets and keys of each case have names of their own.
    case: Cell<usize>,
    runtime: Runtime,
}

struct Instance {
    url: String,
    _program: Program,
}

impl System {
    fn start() -> System {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (tables, instances) = runtime.block_on(async {
            let tables = TestTables::create().await;
            let instances = vec![Instance::start(&tables).await, Instance::start(&tables).await];
            (tables, instances)
        });
        System { instances, tables, client: reqwest::Client::new(), case: Cell::new(0), runtime }
    }

    /// Sends all requests at the same time.
    fn send(&self, requests: &[Request], before: &Table) -> Vec<Answer> {
        let case = self.case.get();
        self.runtime.block_on(join_all(requests.iter().map(|request| {
            let url = &self.instances[request.client % self.instances.len()].url;
            send(&self.client, url, case, request, before)
        })))
    }

    /// Returns all widgets of the current case.
    fn table(&self) -> Table {
        let prefix = serial_prefix(self.case.get());
        let read = with_timeout("the table", self.tables.table.scan(None, None, None));
        let rows = self.runtime.block_on(read).expect("the table is read").rows;
        let widgets = rows.into_iter().map(|row| row.expect("each item is a widget"));
        let of_case = widgets.filter(|widget| widget.serial.as_str().starts_with(&prefix));
        of_case.map(|widget| (widget.serial.clone(), widget)).collect()
    }
}

impl Instance {
    async fn start(tables: &TestTables) -> Instance {
        let launch = widget_registry(["serve"])
            .env("WIDGET_REGISTRY_LISTEN", "127.0.0.1:0")
            .env("WIDGET_REGISTRY_WIDGETS_TABLE", &tables.names.widgets)
            .env("WIDGET_REGISTRY_REQUESTS_TABLE", &tables.names.requests)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &endpoint().await)
            .env("AWS_REGION", "us-east-1");
        let mut program = launch.start();
        let line = program.wait_for_line("serving http://127").await;
        let (_, rest) = line.split_once("http://").expect("a URL");
        Instance { url: format!("http://{}", rest.split('/').next().expect("an address")), _program: program }
    }
}

type Table = BTreeMap<Serial, Widget>;

/// The clients of one case.
struct Clients {
    system: Rc<System>,
    case: usize,
    /// What the table and the remembered requests may be. Several orders of the last operations may explain their answers.
    models: Vec<Model>,
}

/// Operations that run at the same time.
#[derive(Debug, Clone)]
struct Step(Vec<Request>);

impl ReferenceStateMachine for Clients {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        requests(model).prop_map(Step).boxed()
    }

    /// Applies one order. The steps that follow are likely to make sense then.
    fn apply(mut model: Model, Step(requests): &Step) -> Model {
        let before = model.clone();
        for request in requests {
            model.answer(&before, request);
        }
        model
    }
}

impl StateMachineTest for Clients {
    type SystemUnderTest = Clients;
    type Reference = Clients;

    fn init_test(model: &Model) -> Clients {
        let system = SYSTEM.with_borrow(|system| Rc::clone(system.as_ref().expect("the system is started")));
        let case = system.case.get() + 1;
        system.case.set(case);
        Clients { system, case, models: vec![model.clone()] }
    }

    fn apply(mut clients: Clients, _: &Model, Step(requests): Step) -> Clients {
        let before = clients.system.table();
        let answers = clients.system.send(&requests, &before);
        let after = clients.system.table();
        let mut models: Vec<Model> = Vec::new();
        for before in &clients.models {
            for order in orders(requests.len()) {
                let mut model = before.clone();
                let explains = order.iter().all(|number| model.answer(before, &requests[*number]) == answers[*number]);
                if explains && model.describes(clients.case, &after) && !models.contains(&model) {
                    models.push(model);
                }
            }
        }
        assert!(!models.is_empty(), "no order of {requests:#?} explains {answers:?} and {after:#?} after {before:#?}");
        clients.models = models;
        clients
    }

    fn check_invariants(clients: &Clients, _: &Model) {
        let table = clients.system.table();
        for widget in table.values() {
            for (port, peer) in widget.peers.iter() {
                let named = table.get(peer).and_then(|peer| peer.peers.get(port));
                assert_eq!(named, Some(&widget.serial), "{port} of {} names {peer}", widget.serial);
                assert!(*peer != widget.serial && widget.ports.contains(port), "{port} of {}", widget.serial);
            }
        }
    }

    /// Deletes all widgets, each of them alone.
    fn teardown(clients: Clients, _: Model) {
        let (system, case) = (Rc::clone(&clients.system), clients.case);
        let deletes = Request::deletes();
        let clients = deletes.into_iter().fold(clients, |clients, request| {
            let clients = <Clients as StateMachineTest>::apply(clients, &Model::default(), Step(vec![request]));
            Clients::check_invariants(&clients, &Model::default());
            clients
        });
        assert!(system.table().is_empty(), "case {case} leaves widgets, after {:#?}", clients.models);
    }
}

/// Returns the permutations of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for number in 0..count {
        let insert = |order: &Vec<usize>| {
            let order = order.clone();
            (0..=order.len()).map(move |position| {
                let mut order = order.clone();
                order.insert(position, number);
                order
            })
        };
        orders = orders.iter().flat_map(insert).collect();
    }
    orders
}
