//! Asks whether this identity may write to the table, without changing it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb::Problem;

use super::item::KEY;

/// A record cannot both exist and be missing.
const NEVER: &str = "attribute_exists(pk) AND attribute_not_exists(pk)";

/// Sends a write whose condition cannot hold. It costs one write unit, and `Ok` proves that PutItem is allowed.
pub async fn check_write(client: &Client, table: &str) -> Result<(), Problem> {
    let key = AttributeValue::S("mini-scan check".to_owned());
    let request = client.put_item().table_name(table).item(KEY, key).condition_expression(NEVER);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(())
        }
        Err(error) => Err(Problem::of(&error)),
    }
}
