//! The items of a transaction: each expression means what `Action::apply` means. Every attribute name is aliased. Pure.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update as UpdateItem,
};
use dynamodb::EXPIRES_AT;
use dynamodb::values::{number, text};

use super::item::{
    ID, INCARNATION, NAME, PORTS, SERIAL, UPDATED_AT, VERSION, key, peer_attribute, ports_value, request_item,
    widget_item,
};
use crate::transaction::{Action, Link, Request, Update};
use crate::widget::{Revision, Serial, Widget};

/// The image tells why a condition failed, without a read.
const OLD_IMAGE: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

/// Conditions and changes, with the names and values in them.
#[derive(Default)]
struct Expressions {
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expressions {
    /// Returns the alias of an attribute.
    fn name(&mut self, name: &str) -> String {
        let alias = format!("#{name}");
        self.names.insert(alias.clone(), name.to_owned());
        alias
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let alias = format!(":{name}");
        self.values.insert(alias.clone(), value);
        alias
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        let set = format!("{} = {}", self.name(name), self.value(name, value));
        self.sets.push(set);
    }

    fn exists(&mut self, name: &str) {
        let name = self.name(name);
        self.conditions.push(format!("attribute_exists({name})"));
    }

    fn is_absent(&mut self, name: &str) {
        let name = self.name(name);
        self.conditions.push(format!("attribute_not_exists({name})"));
    }

    fn is(&mut self, name: &str, alias: &str, value: AttributeValue) {
        let condition = format!("{} = {}", self.name(name), self.value(alias, value));
        self.conditions.push(condition);
    }

    fn is_seen(&mut self, seen: Revision) {
        self.is(INCARNATION, "seen_incarnation", text(seen.incarnation.to_string()));
        self.is(VERSION, "seen_version", number(seen.version));
    }

    fn link(&mut self, link: &Link) {
        let name = peer_attribute(link.port);
        match &link.from {
            Some(from) => self.is(name, &format!("{name}_from"), text(from.as_str())),
            None => self.is_absent(name),
        }
        match &link.to {
            Some(to) => {
                let ports = self.name(PORTS);
                let port = self.value(&format!("{name}_port"), text(link.port.name()));
                self.conditions.push(format!("contains({ports}, {port})"));
                self.set(name, text(to.as_str()));
            }
            None => {
                let name = self.name(name);
                self.removes.push(name);
            }
        }
    }

    fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    fn update(&self) -> String {
        let sets = format!("SET {}", self.sets.join(", "));
        if self.removes.is_empty() { sets } else { format!("{sets} REMOVE {}", self.removes.join(", ")) }
    }

    /// DynamoDB refuses an empty map.
    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

pub(super) fn action(table: &str, action: &Action) -> Result<TransactWriteItem, BuildError> {
    match action {
        Action::Create(widget) => create(table, widget),
        Action::Update(changes) => update(table, changes),
        Action::Delete { serial, seen } => delete(table, serial, *seen),
    }
}

fn create(table: &str, widget: &Widget) -> Result<TransactWriteItem, BuildError> {
    let mut expressions = Expressions::default();
    expressions.is_absent(SERIAL);
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(widget_item(widget)))
        .condition_expression(expressions.condition())
        .set_expression_attribute_names(Some(expressions.names))
        .return_values_on_condition_check_failure(OLD_IMAGE);
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}

fn update(table: &str, changes: &Update) -> Result<TransactWriteItem, BuildError> {
    let mut expressions = Expressions::default();
    // DynamoDB would create a missing item.
    expressions.exists(SERIAL);
    if let Some(seen) = changes.seen {
        expressions.is_seen(seen);
    }
    for link in &changes.links {
        expressions.link(link);
    }
    if let Some((name, ports)) = &changes.details {
        expressions.set(NAME, text(name.as_str()));
        expressions.set(PORTS, ports_value(ports));
    }
    expressions.set(UPDATED_AT, text(changes.updated_at.as_str()));
    let version = expressions.name(VERSION);
    let one = expressions.value("one", number(1));
    expressions.sets.push(format!("{version} = {version} + {one}"));
    let update = UpdateItem::builder()
        .table_name(table)
        .set_key(Some(key(&changes.serial)))
        .condition_expression(expressions.condition())
        .update_expression(expressions.update())
        .set_expression_attribute_values(expressions.values())
        .set_expression_attribute_names(Some(expressions.names))
        .return_values_on_condition_check_failure(OLD_IMAGE);
    Ok(TransactWriteItem::builder().update(update.build()?).build())
}

fn delete(table: &str, serial: &Serial, seen: Revision) -> Result<TransactWriteItem, BuildError> {
    let mut expressions = Expressions::default();
    expressions.is_seen(seen);
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(key(serial)))
        .condition_expression(expressions.condition())
        .set_expression_attribute_values(expressions.values())
        .set_expression_attribute_names(Some(expressions.names))
        .return_values_on_condition_check_failure(OLD_IMAGE);
    Ok(TransactWriteItem::builder().delete(delete.build()?).build())
}

/// DynamoDB deletes expired items days late, so an expired one counts as absent.
pub(super) fn request(table: &str, request: &Request) -> Result<TransactWriteItem, BuildError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(request_item(request)))
        .condition_expression("attribute_not_exists(#id) OR #expires_at <= :now")
        .expression_attribute_names("#id", ID)
        .expression_attribute_names("#expires_at", EXPIRES_AT)
        .expression_attribute_values(":now", number(request.now))
        .return_values_on_condition_check_failure(OLD_IMAGE);
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}
