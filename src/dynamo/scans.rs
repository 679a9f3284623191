//! The table of scans as the consumer's store: conditional writes, one at a time or in batches. Leaves retries to the
//! consumer.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::batch::{Templates, answers};
use super::error::{classify, failed, not_from_dynamodb};
use super::item::{TIMESTAMP, item, measure};
use super::table::fit;
use crate::consumer::ports::{Answer, Attempt, Fit, Statement, Store, StoreError};
use crate::scan::{Rejection, Scan};

/// `timestamp` is a reserved word of DynamoDB, so it needs the alias.
const NEWER: &str = "attribute_not_exists(pk) OR #ts < :ts";

/// The table of scans.
#[derive(Debug, Clone)]
pub struct Scans {
    client: Client,
    table: String,
    ttl: Option<Duration>,
    templates: Templates,
}

impl Scans {
    pub fn new(client: Client, table: String, ttl: Option<Duration>) -> Scans {
        Scans { client, templates: Templates::new(&table, ttl.is_some()), table, ttl }
    }
}

impl Store for Scans {
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection> {
        measure(scan, self.ttl)
    }

    async fn put(&self, scan: &Scan) -> Attempt {
        let request = || {
            self.client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item(scan, self.ttl)))
                .condition_expression(NEWER)
                .expression_attribute_names("#ts", TIMESTAMP)
                .expression_attribute_values(":ts", AttributeValue::N(scan.timestamp.to_string()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        };
        // The SDK's future is 6 KB. In a box, it takes no memory in messages that wait for a write permit.
        match Box::pin(request().send()).await {
            Ok(answer) if answer.request_id().is_some() => Ok(Answer::Stored),
            Ok(_) => Err(not_from_dynamodb()),
            Err(error) => classify(error, scan.timestamp, |stored| *stored == item(scan, self.ttl)),
        }
    }

    async fn batch(&self, statements: &[Statement]) -> Result<Vec<Option<Attempt>>, StoreError> {
        let requests = statements.iter().map(|statement| self.templates.request(statement, self.ttl)).collect();
        match self.client.batch_execute_statement().set_statements(Some(requests)).send().await {
            Ok(answer) if answer.request_id().is_some() => {
                answers(answer.responses.unwrap_or_default(), statements, self.ttl)
            }
            Ok(_) => Err(not_from_dynamodb()),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn describe(&self) -> Result<Fit, StoreError> {
        // Boxed because it is rare and large.
        Box::pin(fit(&self.client, &self.table)).await
    }
}
