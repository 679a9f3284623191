//! Asks for permissions to write as a part of a transaction. A policy may allow a write only there.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};

use super::{NEVER, Permission, TableSpec, UNUSED, check_permission};
use crate::client::Problem;
use crate::table::{built, within_timeout};

/// Asks for a permission as [`check_permission`] does, but for a write inside of a transaction. It costs two write units.
pub async fn check_permission_in_transaction(
    client: &Client,
    spec: &TableSpec,
    name: &str,
    permission: Permission,
) -> Result<(), Problem> {
    let Some(write) = write(spec, name, permission) else {
        return check_permission(client, spec, name, permission).await;
    };
    let write = built(write)?;
    allowed(within_timeout(client.transact_write_items().transact_items(write).send()).await)
}

/// Returns a write that never happens, if the permission is one to write.
fn write(spec: &TableSpec, table: &str, permission: Permission) -> Option<Result<TransactWriteItem, BuildError>> {
    let (key, hash) = (Some(spec.unused_key()), spec.keys[0].0);
    let item = TransactWriteItem::builder();
    let put = || Put::builder().table_name(table).condition_expression(NEVER).expression_attribute_names("#hash", hash);
    let delete =
        || Delete::builder().table_name(table).condition_expression(NEVER).expression_attribute_names("#hash", hash);
    // A transaction requires an expression.
    let update = || {
        let update =
            Update::builder().table_name(table).condition_expression(NEVER).update_expression("REMOVE #unused");
        update.expression_attribute_names("#hash", hash).expression_attribute_names("#unused", UNUSED)
    };
    Some(match permission {
        Permission::Put => put().set_item(key).build().map(|put| item.put(put).build()),
        Permission::Update => update().set_key(key).build().map(|update| item.update(update).build()),
        Permission::Delete => delete().set_key(key).build().map(|delete| item.delete(delete).build()),
        Permission::Get | Permission::Query | Permission::QueryIndex | Permission::Scan => return None,
    })
}

fn allowed<T>(result: Result<T, SdkError<TransactWriteItemsError>>) -> Result<(), Problem> {
    let Err(error) = result else { return Ok(()) };
    let cancelled = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => &[],
    };
    match cancelled.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        true => Ok(()),
        false => Err(Problem::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::*;

    static SPEC: TableSpec = TableSpec { keys: &[hash("serial")], index: None, expires: false, stream: None };

    #[test]
    fn only_a_permission_to_write_needs_a_transaction() {
        use Permission::{Delete, Get, Put, Query, QueryIndex, Scan, Update};
        for permission in [Put, Update, Delete] {
            assert!(write(&SPEC, "widgets", permission).is_some_and(|write| write.is_ok()), "{permission:?}");
        }
        for permission in [Get, Query, QueryIndex, Scan] {
            assert!(write(&SPEC, "widgets", permission).is_none(), "{permission:?}");
        }
    }
}
