//! The DynamoDB of the tests, with two new tables for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use dynamodb::Client;
use dynamodb_local::thread::Running;
use dynamodb_local::{Server, Storage};
use tokio::sync::OnceCell;
use uuid::Uuid;
use widget_registry::names::Tables;
use widget_registry::table::item::widget_item;
use widget_registry::table::{REQUESTS, WIDGETS, WidgetTable};
use widget_registry::transaction::{Action, Link, Update};
use widget_registry::widget::{Name, Peers, Port, Ports, Revision, Serial, Timestamp, Widget};

/// Returns the endpoint of the server. `MINI_SCAN_CONTRACT_DYNAMODB=http://host:port` names an external one. Without it,
/// the tests share an embedded server.
pub(crate) async fn endpoint() -> String {
    static EMBEDDED: OnceCell<Running> = OnceCell::const_new();
    match setting("MINI_SCAN_CONTRACT_DYNAMODB") {
        Some(endpoint) => endpoint,
        None => format!("http://{}", EMBEDDED.get_or_init(embedded).await.address()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment chooses their server")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn embedded() -> Running {
    let bind = || async {
        let server = Server::bind("127.0.0.1:0".parse().expect("a literal address")).await?;
        let database = Storage::Memory.open().expect("a database in memory");
        Ok((server.address(), server.serve_transactions(database)))
    };
    Running::start("dynamodb", bind).await.expect("a free port")
}

/// The tables of one test.
pub(crate) struct TestTables {
    pub(crate) client: Client,
    pub(crate) names: Tables,
    pub(crate) table: WidgetTable,
}

/// Returns names that no other test uses.
pub(crate) fn names() -> Tables {
    static CREATED: AtomicU32 = AtomicU32::new(0);
    let number = format!("{}-{}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
    Tables { widgets: format!("widgets-{number}"), requests: format!("requests-{number}") }
}

pub(crate) async fn client() -> Client {
    dynamodb::connect(Some(&endpoint().await), "widget-registry-test").await.expect("a client")
}

impl TestTables {
    pub(crate) async fn create() -> TestTables {
        let (client, names) = (client().await, names());
        for (spec, name) in [(&WIDGETS, &names.widgets), (&REQUESTS, &names.requests)] {
            assert_eq!(dynamodb::create_table(&client, spec, name).await, Ok(dynamodb::TableSetup::Created));
        }
        TestTables { table: WidgetTable::new(client.clone(), names.clone()), client, names }
    }

    pub(crate) async fn put(&self, widget: &Widget) {
        self.put_item(widget_item(widget)).await;
    }

    pub(crate) async fn put_item(&self, item: dynamodb::Item) {
        self.client.put_item().table_name(&self.names.widgets).set_item(Some(item)).send().await.expect("an answer");
    }
}

/// Returns a new token. The server remembers those of all tables.
pub(crate) fn new_token() -> Uuid {
    Uuid::from_u128(rand::random())
}

pub(crate) fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).expect("a valid value")
}

/// Returns a widget with all ports, in version 1 of its incarnation.
pub(crate) fn widget(text: &str) -> Widget {
    Widget {
        serial: serial(text),
        name: Name::try_from(format!("widget {text}")).expect("a valid value"),
        ports: Ports::try_from(Port::ALL.to_vec()).expect("a valid value"),
        peers: Peers::default(),
        revision: Revision { incarnation: Uuid::from_u128(1), version: 1 },
        created_at: Timestamp::stored("2026-11-22T10:00:00.000Z"),
        updated_at: Timestamp::stored("2026-11-22T10:00:00.000Z"),
    }
}

pub(crate) fn connected(text: &str, port: Port, peer: &str) -> Widget {
    let mut widget = widget(text);
    widget.peers.set(port, Some(serial(peer)));
    widget
}

/// Returns a change of the peer of a port.
pub(crate) fn link(text: &str, port: Port, from: Option<&str>, to: Option<&str>) -> Action {
    Action::Update(Update {
        serial: serial(text),
        seen: None,
        links: vec![Link { port, from: from.map(serial), to: to.map(serial) }],
        details: None,
        updated_at: Timestamp::stored("2026-11-22T11:00:00.000Z"),
    })
}
