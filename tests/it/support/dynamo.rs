//! A DynamoDB client for tests: creates tables, and writes and reads rows.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    Select, StreamSpecification, StreamViewType, TimeToLiveSpecification, WriteRequest,
};
use futures_util::StreamExt;

use super::servers::DynamoServer;
use super::{TIMEOUT, test_name, unique, with_timeout};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The chosen server and a client for it. The client never retries.
#[derive(Clone)]
pub(crate) struct Dynamo {
    pub(crate) server: DynamoServer,
    /// The value for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) endpoint: String,
    pub(crate) client: Client,
}

impl Dynamo {
    pub(crate) fn connect() -> Dynamo {
        let (server, endpoint) = DynamoServer::choose();
        println!("{}: against {}", test_name(), server.name());
        Dynamo::at(server, endpoint)
    }

    /// Connects to a server that runs already.
    pub(crate) fn at(server: DynamoServer, endpoint: String) -> Dynamo {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        Dynamo { server, endpoint, client: Client::from_conf(config.build()) }
    }

    /// Returns a client for the streams of the same server.
    pub(crate) fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        use aws_sdk_dynamodbstreams::config::{BehaviorVersion, Credentials, Region};
        let config = aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "tests"));
        aws_sdk_dynamodbstreams::Client::from_conf(config.build())
    }

    /// Returns whether to skip `assertion`, because `server` is known to differ from AWS's documentation there. Prints
    /// what is skipped.
    pub(crate) fn skips(&self, server: DynamoServer, assertion: &str) -> bool {
        let skipped = self.server == server;
        if skipped {
            println!("{}: SKIPPED against {}: {assertion}", test_name(), server.name());
        }
        skipped
    }

    /// Returns the request that creates a table as `mini-scan setup --no-host-index` does, without time to live.
    pub(crate) fn create(&self, name: &str) -> CreateTableFluentBuilder {
        let stream = StreamSpecification::builder().stream_enabled(true);
        self.client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk", ScalarAttributeType::S))
            .key_schema(key("pk", KeyType::Hash))
            .stream_specification(
                stream.stream_view_type(StreamViewType::NewAndOldImages).build().expect("a complete specification"),
            )
    }

    /// Creates a table whose key does not fit scans.
    pub(crate) async fn create_with_another_key(&self, name: &str) {
        let create = self.client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(attribute("id", ScalarAttributeType::S));
        create.key_schema(key("id", KeyType::Hash)).send().await.expect("the table is created");
    }

    /// Creates a table and returns its name.
    pub(crate) async fn table(&self) -> String {
        let name = unique("table");
        with_timeout("a new table", self.create(&name).send()).await.expect("the table is created");
        name
    }

    pub(crate) async fn put(&self, table: &str, item: Item) {
        let put = self.client.put_item().table_name(table).set_item(Some(item));
        put.send().await.expect("the item is stored");
    }

    /// Writes many rows, 25 per request and four requests at a time.
    pub(crate) async fn put_all(&self, table: &str, items: impl IntoIterator<Item = Item>) {
        let mut requests = items.into_iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(item)).build().expect("a complete request");
            WriteRequest::builder().put_request(put).build()
        });
        let batches =
            std::iter::from_fn(|| Some(requests.by_ref().take(25).collect::<Vec<_>>()).filter(|it| !it.is_empty()));
        let writes = futures_util::stream::iter(batches).map(async |batch| {
            let written = self.client.batch_write_item().request_items(table, batch).send().await;
            let left = written.expect("the rows are stored").unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "{left:?}");
        });
        writes.buffer_unordered(4).for_each(async |()| {}).await;
    }

    pub(crate) async fn get(&self, table: &str, pk: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(table).consistent_read(true).key("pk", text(pk));
        get.send().await.expect("the item is read").item
    }

    /// Returns the number of rows of the table.
    pub(crate) async fn count(&self, table: &str) -> usize {
        let scan = self.client.scan().table_name(table).consistent_read(true).select(Select::Count);
        let mut pages = scan.into_paginator().send();
        let mut count = 0;
        while let Some(page) = with_timeout("a page of a count", pages.next()).await {
            count += usize::try_from(page.expect("the page is counted").count).expect("a count is not negative");
        }
        count
    }

    /// Returns every row of the table by its key.
    pub(crate) async fn scan(&self, table: &str) -> BTreeMap<String, Item> {
        let mut pages = self.client.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let mut rows = BTreeMap::new();
        while let Some(item) = with_timeout("a page of a scan", pages.next()).await {
            let item = item.expect("the page is read");
            let pk = item["pk"].as_s().expect("the key is a string").clone();
            assert!(rows.insert(pk, item).is_none(), "the scan returned a key twice");
        }
        rows
    }
}

pub(crate) fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("a complete definition")
}

pub(crate) fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a complete key")
}

pub(crate) fn time_to_live(name: &str) -> TimeToLiveSpecification {
    TimeToLiveSpecification::builder().attribute_name(name).enabled(true).build().expect("a complete specification")
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
