//! The table as it is, read without the registry.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::verify::Table;
use crate::widget::{Peers, Port, Serial};

/// Reads all widgets.
pub async fn read(client: &dynamodb::Client, table: &str) -> Result<Table, String> {
    let mut found = Table::new();
    let mut pages = client.scan().table_name(table).consistent_read(true).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| format!("cannot read {table}: {}", dynamodb::failed(&error)))?;
        for item in page.items() {
            let serial = serial(item, "serial").ok_or_else(|| format!("an item has no serial number: {item:?}"))?;
            let mut peers = Peers::default();
            for port in Port::ALL {
                peers.set(port, self::serial(item, &port.name().to_ascii_lowercase()));
            }
            found.insert(serial, peers);
        }
    }
    Ok(found)
}

fn serial(item: &HashMap<String, AttributeValue>, attribute: &str) -> Option<Serial> {
    Serial::try_from(item.get(attribute)?.as_s().ok()?.clone()).ok()
}
