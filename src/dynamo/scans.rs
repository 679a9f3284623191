//! The table of scans as the consumer's store: conditional writes, one at a time or in batches. Leaves retries to the
//! consumer.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use dynamodb::{failed, not_from_dynamodb};

use super::batch::{Templates, answers};
use super::error::classify;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::consumer::ports::StoreErrorKind;
    use crate::dynamo::connect;
    use crate::dynamo::item::tests::scan;

    /// Writes a scan to a server that sends this response. Returns the result and the body of the request.
    async fn put(response: &str) -> (Attempt, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = connect(Some(&format!("http://{}", listener.local_addr().unwrap()))).await.unwrap();
        let respond = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).await.unwrap();
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8(body).unwrap()
        };
        let scan = Scan { timestamp: 7, ..scan("hello".to_owned()) };
        let store = Scans::new(client, "scans".to_owned(), None);
        tokio::join!(store.put(&scan), respond)
    }

    #[tokio::test]
    async fn only_a_response_with_a_request_id_proves_that_a_scan_is_stored() {
        let (stored, _) = put("HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(stored, Ok(Answer::Stored));
        let (other, _) = put("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(other.unwrap_err().kind, StoreErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_failed_condition_is_a_stale_write() {
        let body = concat!(
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"failed","#,
            r#""Item":{"timestamp":{"N":"8"}}}"#
        );
        let head = format!("HTTP/1.1 400 Bad Request\r\nx-amzn-requestid: 1\r\ncontent-length: {}", body.len());
        let (stale, request) = put(&format!("{head}\r\n\r\n{body}")).await;
        assert!(matches!(stale, Ok(Answer::Stale(stored)) if stored.timestamp == 8), "{stale:?}");
        assert!(request.contains(r#""ReturnValuesOnConditionCheckFailure":"ALL_OLD""#), "{request}");
    }
}
