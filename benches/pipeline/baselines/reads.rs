//! The bare reads: the SDK with its defaults, and the API's two requests for a host. They run on the same runtime as the
//! API, with one client.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};

use super::writes::client;
use crate::bare_read::BareRead;
use crate::load::{Reader, measure};
use crate::record::TABLE;

/// One more than the API's default number of services on a page, which shows whether another page follows.
const LIMIT: i32 = 51;

/// Reads a host, and prints what was measured.
pub(super) fn run(endpoint: &str, bare_read: &BareRead) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        let client = client(endpoint).await;
        let reader = || Bare { client: client.clone(), ip: bare_read.ip.clone(), services: bare_read.services };
        measure(bare_read.load, "self", (0..bare_read.workers).map(|_| reader()).collect()).await
    })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

struct Bare {
    client: Client,
    ip: String,
    services: usize,
}

impl Reader for Bare {
    async fn read(&mut self) -> anyhow::Result<()> {
        let query = self
            .client
            .query()
            .table_name(TABLE)
            .index_name("by-ip")
            .key_condition_expression("ip = :ip")
            .expression_attribute_values(":ip", AttributeValue::S(self.ip.clone()))
            .limit(LIMIT)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let found = query.send().await?.items.context("the answer to the Query has no items")?;
        let keys = found.into_iter().map(|mut item| {
            let key = item.remove("pk").context("an item of the index has no key")?;
            Ok(HashMap::from([("pk".to_owned(), key)]))
        });
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.collect::<anyhow::Result<_>>()?)).build()?;
        let get = self
            .client
            .batch_get_item()
            .request_items(TABLE, keys)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let records = get.send().await?.responses.and_then(|mut tables| tables.remove(TABLE)).unwrap_or_default();
        ensure!(records.len() == self.services, "{} has {} records", self.ip, records.len());
        Ok(())
    }
}
