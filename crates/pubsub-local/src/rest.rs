//! HTTP with JSON: the paths of Google's REST API, as the admin clients and curl speak them. Translates and decides
//! nothing; unknown query parameters are ignored.

mod json;
mod subscriptions;
mod topics;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::broker::{Broker, Page};
use super::refusal::{Code, Refusal};

// Base64 makes a request a third longer than what it publishes.
const MAX_BODY_BYTES: usize = 32 << 20;

type Shared = State<Arc<Broker>>;
type Answer<T> = Result<Json<T>, Refusal>;

pub(super) fn router(broker: Arc<Broker>) -> Router {
    Router::new()
        .route("/", get(async || "Ok\n"))
        .merge(topics::routes())
        .merge(subscriptions::routes())
        .route("/v1/{*path}", any(async |path: Path<String>| no_such_path(&path)))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(broker)
}

/// The paging of a list; every other parameter is ignored.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Paging {
    page_size: i32,
    page_token: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Page, Refusal> {
        let paging = Query::<Paging>::from_request_parts(parts, state).await;
        let Query(paging) = paging.map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
        Ok(Page { size: paging.page_size, token: paging.page_token })
    }
}

/// The body as JSON whatever its content type; no body at all is an empty message.
fn parse<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(format_args!("Invalid JSON payload: {error}")))
}

/// Splits `{id}:{verb}`, the last segment of a path that does more than create, get or delete.
fn split_verb(segment: &str) -> (&str, &str) {
    segment.rsplit_once(':').unwrap_or((segment, ""))
}

fn empty<T>(result: Result<T, Refusal>) -> Answer<Value> {
    result.map(|_| Json(json!({})))
}

fn page<T: Into<U>, U: serde::Serialize>(name: &str, (items, next): (Vec<T>, String)) -> Json<Value> {
    let items: Vec<U> = items.into_iter().map(Into::into).collect();
    let mut body = serde_json::Map::new();
    if !items.is_empty() {
        body.insert(name.to_owned(), json!(items));
    }
    if !next.is_empty() {
        body.insert("nextPageToken".to_owned(), json!(next));
    }
    Json(Value::Object(body))
}

fn no_such_path(path: &str) -> Refusal {
    Refusal::new(Code::NotFound, format_args!("No such path: /v1/{path}"))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (http, status) = match self.code {
            Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Code::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
            Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        };
        let error = json!({ "error": { "code": http.as_u16(), "message": self.to_string(), "status": status } });
        (http, Json(error)).into_response()
    }
}
