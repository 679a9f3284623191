//! The JSON 1.0 protocol of AWS over HTTP: which operation a request asks for, faults, and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::faults::{Fault, Operation};
use super::operations::{self, Call};
use super::service::Service;

// JSON can make a byte of a message six times as long.
const MAX_BODY_BYTES: usize = 8 << 20;

pub(crate) fn router(service: Arc<Service>) -> Router {
    // SDKs send requests to /, and some to the path of the queue's URL.
    Router::new()
        .route("/", get(async || "Ok\n").post(handle))
        .fallback(handle)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
}

async fn handle(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Response {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let id = format!("00000000-0000-4000-8000-{:012x}", REQUESTS.fetch_add(1, Ordering::Relaxed));
    let mut response = match answer(&service, &headers, &body).await {
        Ok(value) => (StatusCode::OK, value.to_string()).into_response(),
        Err(error) => failure(&error),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-amz-json-1.0"));
    if let Ok(id) = id.parse() {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

async fn answer(service: &Service, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = text("x-amz-target");
    let Some(operation) = target.strip_prefix("AmazonSQS.").and_then(Operation::of_name) else {
        let message =
            format!("This server does not support the operation {target:?}. It needs the header X-Amz-Target.");
        return Err(ApiError::new(Code::UnknownOperation, message));
    };
    let fault = service.faults.take(operation);
    match fault {
        Some(Fault::Refuse) => return Err(internal_failure()),
        Some(Fault::Throttle) => return Err(ApiError::new(Code::RequestThrottled, "Request is throttled.")),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::LoseResponse | Fault::FailFirstEntry) | None => {}
    }
    let parameters = serde_json::from_slice(body).map_err(|error| ApiError::new(Code::MalformedInput, error))?;
    let fail_first_entry = fault == Some(Fault::FailFirstEntry);
    let call = Call { parameters: &parameters, host: text("host"), fail_first_entry };
    let result = operations::run(service, operation, call).await;
    if fault == Some(Fault::LoseResponse) { Err(internal_failure()) } else { result }
}

/// The error of an injected fault.
pub(crate) fn internal_failure() -> ApiError {
    ApiError::new(Code::InternalFailure, "The request failed because of an injected fault.")
}

fn failure(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let fault = if error.is_sender_fault() { "Sender" } else { "Receiver" };
    let body = json!({"__type": format!("com.amazonaws.sqs#{}", error.code.name()), "message": error.message});
    (status, [("x-amzn-query-error", format!("{};{fault}", error.code.query_code()))], body.to_string()).into_response()
}
