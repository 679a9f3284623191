//! A lease table in DynamoDB through AWS's client.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ReturnValue, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TableStatus,
};
use tokio::time::sleep;

use super::error::lease_error;
use super::row::{self, Item};
use crate::lease::Lease;
use crate::ports::{Expected, LeaseError, LeaseErrorKind, LeasePage, LeaseTable, LeaseUpdate, ScanPosition, Updated};

/// How often a new table is described until it is active.
const CREATION_INTERVAL: Duration = Duration::from_millis(500);

/// A table with the string `leaseKey` as its only key attribute. Several streams may share it.
#[derive(Clone, Debug)]
pub struct DynamoDbLeaseTable {
    client: Client,
    name: String,
}

impl DynamoDbLeaseTable {
    /// Uses the configuration of `client` without its retries, because the reader retries.
    pub fn new(client: &Client, name: impl Into<String>) -> DynamoDbLeaseTable {
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        DynamoDbLeaseTable { client: Client::from_conf(config), name: name.into() }
    }

    /// Creates the table if it does not exist, with on-demand capacity, and waits until it is active.
    pub async fn create_if_missing(&self) -> Result<(), LeaseError> {
        let key = KeySchemaElement::builder().attribute_name(row::KEY).key_type(KeyType::Hash).build();
        let attribute =
            AttributeDefinition::builder().attribute_name(row::KEY).attribute_type(ScalarAttributeType::S).build();
        let incomplete =
            |error: aws_sdk_dynamodb::error::BuildError| LeaseError::new(LeaseErrorKind::Unavailable, error);
        let create = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        let create = create.key_schema(key.map_err(incomplete)?);
        let created = create.attribute_definitions(attribute.map_err(incomplete)?).send().await;
        match created {
            Ok(_) => {}
            Err(error) if error.code() == Some("ResourceInUseException") => {}
            Err(error) => return Err(lease_error(&error)),
        }
        loop {
            let described = self.client.describe_table().table_name(&self.name).send().await;
            let described = described.map_err(|error| lease_error(&error))?;
            let table = described.table();
            if table.is_some_and(|table| table.table_status() == Some(&TableStatus::Active)) {
                return Ok(());
            }
            sleep(CREATION_INTERVAL).await;
        }
    }
}

impl LeaseTable for DynamoDbLeaseTable {
    /// Leaves out rows that are not valid. Their shards are not read, and the attempt to create such a row fails with the
    /// reason.
    async fn scan(&self, prefix: &str, after: Option<&ScanPosition>) -> Result<LeasePage, LeaseError> {
        let scan = self.client.scan().table_name(&self.name).consistent_read(true);
        let scan = scan.filter_expression("begins_with(#key, :prefix)").expression_attribute_names("#key", row::KEY);
        let scan = scan.expression_attribute_values(":prefix", row::text(prefix));
        let after = after.map(|position| Item::from([(row::KEY.to_owned(), row::text(&position.0))]));
        let page = scan.set_exclusive_start_key(after).send().await.map_err(|error| lease_error(&error))?;
        let last = page.last_evaluated_key().and_then(|key| key.get(row::KEY)?.as_s().ok());
        Ok(LeasePage {
            leases: page.items().iter().filter_map(|item| row::lease(item).ok()).collect(),
            next: last.cloned().map(ScanPosition),
        })
    }

    async fn create(&self, lease: &Lease) -> Result<Updated, LeaseError> {
        let (item, absent) = (row::item(lease), row::absent());
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item.clone()));
        let put = put.condition_expression(absent.condition()).set_expression_attribute_names(Some(absent.names));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => applied(Some(&item)),
            Err(error) => refused(error),
        }
    }

    async fn update(&self, key: &str, expected: &Expected, update: &LeaseUpdate) -> Result<Updated, LeaseError> {
        let change = row::change(expected, update);
        let request = self.client.update_item().table_name(&self.name).key(row::KEY, row::text(key));
        let request = request.set_update_expression(change.update()).condition_expression(change.condition());
        let request = request.set_expression_attribute_values(change.some_values());
        let request = request.set_expression_attribute_names(Some(change.names)).return_values(ReturnValue::AllNew);
        let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(response) => applied(response.attributes()),
            Err(error) => refused(error),
        }
    }

    async fn delete(&self, key: &str, expected: &Expected) -> Result<Updated, LeaseError> {
        let expected = row::expected(expected);
        let request = self.client.delete_item().table_name(&self.name).key(row::KEY, row::text(key));
        let request = request.condition_expression(expected.condition());
        let request = request.set_expression_attribute_values(expected.some_values());
        let request = request.set_expression_attribute_names(Some(expected.names)).return_values(ReturnValue::AllOld);
        let request = request.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(response) => applied(response.attributes()),
            Err(error) => refused(error),
        }
    }
}

/// Returns the row of an applied write.
fn applied(item: Option<&Item>) -> Result<Updated, LeaseError> {
    let item =
        item.ok_or_else(|| LeaseError::new(LeaseErrorKind::Unavailable, "the response does not contain the row"))?;
    Ok(Updated::Applied(row::lease(item).map_err(invalid_row)?))
}

/// Returns the row that is not as expected, or the error if the condition was not evaluated.
fn refused<E>(error: SdkError<E>) -> Result<Updated, LeaseError>
where
    E: FailedCondition + ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.as_service_error().and_then(FailedCondition::row) {
        None => Err(lease_error(&error)),
        Some(None) => Ok(Updated::Refused(None)),
        Some(Some(item)) => Ok(Updated::Refused(Some(row::lease(item).map_err(invalid_row)?))),
    }
}

fn invalid_row(error: row::InvalidRow) -> LeaseError {
    LeaseError::new(LeaseErrorKind::InvalidRow, error)
}

/// The error of a conditional write.
trait FailedCondition {
    /// Returns the row for which the condition was false, or `Some(None)` if there is no such row. Returns None for other
    /// errors.
    fn row(&self) -> Option<Option<&Item>>;
}

impl FailedCondition for PutItemError {
    fn row(&self) -> Option<Option<&Item>> {
        let PutItemError::ConditionalCheckFailedException(failed) = self else { return None };
        Some(failed.item())
    }
}

impl FailedCondition for UpdateItemError {
    fn row(&self) -> Option<Option<&Item>> {
        let UpdateItemError::ConditionalCheckFailedException(failed) = self else { return None };
        Some(failed.item())
    }
}

impl FailedCondition for DeleteItemError {
    fn row(&self) -> Option<Option<&Item>> {
        let DeleteItemError::ConditionalCheckFailedException(failed) = self else { return None };
        Some(failed.item())
    }
}
