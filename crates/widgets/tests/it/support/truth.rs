//! A store, instances of the program before it, and the comparison of its table with the answers to the clients.

use std::time::Duration;

use demo::Ports;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use widget_registry::client::Client;
use widget_registry::local::clients::Report;
use widget_registry::local::found;
use widget_registry::local::servers::Dynamo;
use widget_registry::local::verify::verify;
use widget_registry::tools::load::{self, Results, Widgets};

use super::program::{Program, widget_registry};
use super::with_timeout;

const SEED: &str = "WIDGET_REGISTRY_SEED";
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longer than a request of a proxy is late.
const SETTLED: Duration = Duration::from_millis(600);

/// An embedded DynamoDB with the tables.
pub(crate) struct Truth {
    dynamo: Dynamo,
}

/// A running instance of the API. Dropping it kills it.
pub(crate) struct Instance {
    _program: Program,
    pub(crate) client: Client,
    _ports: Ports<1>,
}

impl Truth {
    pub(crate) async fn start() -> Truth {
        let dynamo = Dynamo::in_memory().await.expect("the server starts");
        let setup = widget_registry(["setup"]).env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.url());
        setup.succeed().await;
        Truth { dynamo }
    }

    pub(crate) fn url(&self) -> String {
        self.dynamo.url()
    }

    /// Starts an instance that uses the store by this URL, and waits until it answers.
    pub(crate) async fn serve(&self, store: &str) -> Instance {
        let ports = Ports::<1>::reserve().expect("a free port");
        let [address] = ports.addresses().expect("a bound socket");
        let program = serve(store, &address.to_string()).start();
        let client = Client::new(&format!("http://{address}"), None).expect("a URL");
        let instance = Instance { _program: program, client, _ports: ports };
        with_timeout("the API answers", answers(&instance.client)).await;
        instance
    }

    /// Creates widgets, which the report of the clients takes as given.
    pub(crate) async fn create(&self, client: &Client, count: u32) -> Widgets {
        let widgets = Widgets { prefix: "w-".to_owned(), count };
        let created = load::create(client, &widgets, &mut Results::default(), &CancellationToken::new()).await;
        created.expect("the widgets are created");
        widgets
    }

    /// Waits until no request is on its way to the store.
    pub(crate) async fn settle(&self) {
        sleep(SETTLED).await;
    }

    /// Panics if an answer was wrong, if the table does not have what was answered, or if the audit finds a violation.
    pub(crate) async fn check(&self, report: &Report) {
        assert_eq!(report.wrong, Vec::<String>::new());
        let client = dynamodb::connect(Some(&self.url()), "tests").await.expect("the server runs");
        let table = found::read(&client, "widgets").await.expect("the table exists");
        let checks = verify(&report.log, &table);
        for (check, subject, predicate) in checks.lines() {
            println!("{} of {} {subject} {predicate}", check.right, check.expected);
        }
        assert_eq!(checks.differences(), Vec::<String>::new());
        let audit = widget_registry(["audit"]).env("AWS_ENDPOINT_URL_DYNAMODB", &self.url());
        println!("{}", audit.succeed().await.stdout.join("\n"));
    }
}

/// Returns an instance that listens on this address.
pub(crate) fn serve(store: &str, address: &str) -> super::program::Launch {
    widget_registry(["serve", "--listen", address]).env("AWS_ENDPOINT_URL_DYNAMODB", store)
}

/// Waits until an instance has read a widget that does not exist.
pub(crate) async fn answers(client: &Client) {
    let serial = Widgets { prefix: "none-".to_owned(), count: 1 }.serial(0).expect("a serial number");
    while !client.get(&serial).await.is_ok_and(|response| response.status == 404) {
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns the seed of a run.
pub(crate) fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let given = std::env::var(SEED).ok().filter(|given| !given.is_empty());
    let seed = given.map_or_else(rand::random, |given| given.parse().expect("the seed is a whole number"));
    println!("{SEED}={seed} sends the same requests");
    seed
}
