//! Answers transactions that have a token, and forwards every other request to the engine's HTTP server.
//!
//! At each transaction the engine looks at the tokens of the last ten minutes, one by one. With 100,000 of them that takes
//! longer than the transaction. Here the engine never receives a token.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use axum::http::uri::{Authority, Scheme};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use dynoxide::actions::transact_write_items::TransactWriteItemsRequest;
use dynoxide::{Database, DynoxideError};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

use crate::tokens::{Known, Tokens};

const TARGET: &str = "DynamoDB_20120810.TransactWriteItems";
const JSON: &str = "application/x-amz-json-1.0";
/// The engine's own limit.
const MAX_BODY: usize = 16 << 20;
/// The engine refuses a longer token.
const MAX_TOKEN: usize = 36;

struct Front {
    database: Database,
    tokens: Mutex<Tokens>,
    answered: AtomicU64,
    engine: Authority,
    client: Client<HttpConnector, Body>,
}

/// Returns the routes of a server in front of the engine's, which listens on this address.
pub(crate) fn router(database: Database, engine: SocketAddr) -> Result<Router, String> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let front = Front {
        database,
        tokens: Mutex::default(),
        answered: AtomicU64::new(0),
        engine: Authority::try_from(engine.to_string()).map_err(|error| error.to_string())?,
        client: Client::builder(TokioExecutor::new()).build(connector),
    };
    Ok(Router::new().fallback(answer).with_state(Arc::new(front)))
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    if request.method() != Method::POST || !is_transaction(request.headers()) {
        return front.forward(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    match Tokened::parse(&body) {
        Some(transaction) => front.response(front.transact(transaction)),
        None => front.forward(Request::from_parts(parts, body.into())).await,
    }
}

/// The engine answers requests without credentials, and those of another type.
fn is_transaction(headers: &HeaderMap) -> bool {
    let is = |name, value| headers.get(name).is_some_and(|found| found == value);
    is("x-amz-target", TARGET) && is(CONTENT_TYPE.as_str(), JSON) && headers.contains_key(AUTHORIZATION)
}

/// A transaction with its token.
struct Tokened {
    token: String,
    items: Value,
    request: TransactWriteItemsRequest,
}

impl Tokened {
    /// Returns nothing for a request that the engine refuses as malformed, or that has no token.
    fn parse(body: &Bytes) -> Option<Tokened> {
        let mut request: TransactWriteItemsRequest = serde_json::from_slice(body).ok()?;
        let token = request.client_request_token.take().filter(|token| (1..=MAX_TOKEN).contains(&token.len()))?;
        let mut body: Value = serde_json::from_slice(body).ok()?;
        Some(Tokened { token, items: body["TransactItems"].take(), request })
    }
}

impl Front {
    /// Runs a transaction unless it was applied before. It does not wait, so repeats come one after the other.
    ///
    /// The answer to a repeat shows no consumed capacity.
    fn transact(&self, transaction: Tokened) -> Result<String, DynoxideError> {
        let Tokened { token, items, request } = transaction;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match tokens.find(&token, &items, Instant::now()) {
            Known::Applied => return Ok("{}".to_owned()),
            Known::OfAnother => {
                let text = "An error occurred (IdempotentParameterMismatchException)";
                return Err(DynoxideError::IdempotentParameterMismatchException(text.to_owned()));
            }
            Known::New => {}
        }
        let applied = self.database.transact_write_items(request)?;
        tokens.remember(&token, &items, Instant::now());
        serde_json::to_string(&applied).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
    }

    fn response(&self, result: Result<String, DynoxideError>) -> Response {
        let (status, body) = match result {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, error.to_json())
            }
        };
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        let headers = [(CONTENT_TYPE.as_str(), JSON.to_owned()), ("x-amzn-requestid", format!("{number:052X}"))];
        (status, headers, body).into_response()
    }

    async fn forward(&self, mut request: Request) -> Response {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(self.engine.clone()));
        let Ok(uri) = Uri::from_parts(uri) else { return StatusCode::BAD_REQUEST.into_response() };
        *request.uri_mut() = uri;
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::warn!(%error, "the engine did not answer");
                StatusCode::BAD_GATEWAY.into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::thread::Running;
    use crate::{Server, Storage};

    struct Store {
        database: Database,
        running: Running,
        client: Client<HttpConnector, Body>,
    }

    impl Store {
        async fn start() -> Store {
            let database = Storage::Memory.open().unwrap();
            let served = database.clone();
            let bind = || async move {
                let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
                Ok((server.address(), server.serve_transactions(served)))
            };
            let running = Running::start("dynamodb", bind).await.unwrap();
            let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
            let store = Store { database, running, client };
            let table = json!({
                "TableName": "counters",
                "AttributeDefinitions": [{ "AttributeName": "name", "AttributeType": "S" }],
                "KeySchema": [{ "AttributeName": "name", "KeyType": "HASH" }],
                "BillingMode": "PAY_PER_REQUEST",
            });
            assert_eq!(store.send("CreateTable", &table).await.0, StatusCode::OK);
            store
        }

        async fn send(&self, operation: &str, body: &Value) -> (StatusCode, Value) {
            let authorization =
                "AWS4-HMAC-SHA256 Credential=a/20261122/r/dynamodb/aws4_request, SignedHeaders=host, Signature=b";
            self.send_as(Some(authorization), operation, body).await
        }

        async fn send_as(&self, authorization: Option<&str>, operation: &str, body: &Value) -> (StatusCode, Value) {
            let mut request = axum::http::Request::post(format!("http://{}/", self.running.address()))
                .header(CONTENT_TYPE, JSON)
                .header("x-amz-date", "20261122T000000Z")
                .header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = self.client.request(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
            assert!(response.headers().contains_key("x-amzn-requestid"), "{operation}: {response:?}");
            let (parts, body) = response.into_parts();
            let body = to_bytes(Body::new(body), MAX_BODY).await.unwrap();
            (parts.status, serde_json::from_slice(&body).unwrap())
        }

        async fn count(&self) -> Value {
            let key = json!({ "name": { "S": "a" } });
            let (status, mut body) = self.send("GetItem", &json!({ "TableName": "counters", "Key": key })).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            body["Item"]["count"]["N"].take()
        }
    }

    /// Adds this number to a counter.
    fn add(token: &str, number: u32) -> Value {
        let update = json!({
            "TableName": "counters",
            "Key": { "name": { "S": "a" } },
            "UpdateExpression": "ADD #count :number",
            "ExpressionAttributeNames": { "#count": "count" },
            "ExpressionAttributeValues": { ":number": { "N": number.to_string() } },
        });
        json!({ "TransactItems": [{ "Update": update }], "ClientRequestToken": token })
    }

    #[tokio::test]
    async fn a_repeated_transaction_changes_nothing_and_the_engine_receives_no_token() {
        let store = Store::start().await;
        for _ in 0..2 {
            assert_eq!(store.send("TransactWriteItems", &add("token", 1)).await, (StatusCode::OK, json!({})));
            assert_eq!(store.count().await, "1");
        }
        // The engine would look at every token that it remembers, at each transaction.
        let request = serde_json::from_value(add("token", 1)).unwrap();
        store.database.transact_write_items(request).unwrap();
        assert_eq!(store.count().await, "2", "the engine remembers the token");
    }

    #[tokio::test]
    async fn a_token_of_another_transaction_is_refused_and_one_that_was_not_applied_is_new() {
        let store = Store::start().await;
        let mut checked = add("token", 1);
        checked["TransactItems"][0]["Update"]["ConditionExpression"] = "attribute_exists(#count)".into();
        let (status, body) = store.send("TransactWriteItems", &checked).await;
        assert_eq!(
            (status, &body["CancellationReasons"][0]["Code"]),
            (StatusCode::BAD_REQUEST, &"ConditionalCheckFailed".into())
        );
        assert_eq!(store.send("TransactWriteItems", &add("token", 1)).await.0, StatusCode::OK);
        let (status, body) = store.send("TransactWriteItems", &add("token", 2)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body["__type"].as_str().unwrap().ends_with("#IdempotentParameterMismatchException"), "{body}");
        assert_eq!(store.count().await, "1");
    }

    #[tokio::test]
    async fn the_engine_answers_transactions_that_it_refuses() {
        let store = Store::start().await;
        let (status, body) = store.send_as(None, "TransactWriteItems", &add("token", 1)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body["__type"].as_str().unwrap().ends_with("#MissingAuthenticationTokenException"), "{body}");
        for malformed in [json!({ "TransactItems": 1, "ClientRequestToken": "token" }), add(&"long".repeat(10), 1)] {
            let (status, body) = store.send("TransactWriteItems", &malformed).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        }
        assert_eq!(store.count().await, Value::Null);
    }
}
