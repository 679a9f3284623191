//! The endpoints of batches: up to 100 independent operations in one request, each with its own result.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use http_api::{Body, Caller, Problem, ProblemBody, Query};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::answers::Reply;
use super::bodies::{AssociationOperation, BatchResults, WidgetOperation};
use super::headers::{Key, NoParams};
use super::{Api, problems, requests};
use crate::operation::Operation;
use crate::ports::Store;
use crate::registry::RequestKey;

/// Operations of one request in progress at a time.
const OPERATIONS_PER_REQUEST: usize = 16;

/// Creates and deletes widgets
///
/// Up to 100 operations, each as a request of its own: some may be done and others refused. Their order is not defined, so a
/// batch should name a widget once.
#[utoipa::path(
    post,
    path = "/widgets:batch",
    tag = "widgets",
    operation_id = "batch_widgets",
    params(("Idempotency-Key" = Option<String>, Header, description = "Each operation of a repeated request with this key has the same answer.")),
    request_body(content = Vec<WidgetOperation>, description = "Any `Content-Type` is accepted."),
    responses(
        (status = 200, description = "What became of each operation.", body = BatchResults),
        (status = 422, description = "The body is no array of 1 to 100 operations.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn widgets<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<BatchResults>, Problem> {
    let key = Key::of(&headers, &caller)?;
    run(&api, &body, &key, requests::of_widget).await
}

/// Connects and disconnects ports
///
/// Up to 100 operations, each as a request of its own: some may be done and others refused. Their order is not defined, so a
/// batch should name a port of a widget once.
#[utoipa::path(
    post,
    path = "/widgets/associations:batch",
    tag = "associations",
    operation_id = "batch_associations",
    params(("Idempotency-Key" = Option<String>, Header, description = "Each operation of a repeated request with this key has the same answer.")),
    request_body(content = Vec<AssociationOperation>, description = "Any `Content-Type` is accepted."),
    responses(
        (status = 200, description = "What became of each operation.", body = BatchResults),
        (status = 422, description = "The body is no array of 1 to 100 operations.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn associations<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<BatchResults>, Problem> {
    let key = Key::of(&headers, &caller)?;
    run(&api, &body, &key, requests::of_association).await
}

/// Runs the operations of a batch until one deadline for all.
async fn run<S: Store>(
    api: &Api<S>,
    body: &[u8],
    key: &Key,
    parse: fn(&Value) -> Result<Operation, Problem>,
) -> Result<Json<BatchResults>, Problem> {
    let body = requests::json(body)?;
    let deadline = api.registry.deadline();
    let parts = requests::batch(&body)?.iter().map(parse).enumerate();
    let parts = parts.map(|(part, parsed)| async move {
        match parsed {
            Ok(operation) => part_of(api, &operation, key.of_part(part), deadline).await,
            Err(problem) => Reply::from(problem),
        }
    });
    let replies = stream::iter(parts.collect::<Vec<_>>()).buffered(OPERATIONS_PER_REQUEST);
    Ok(Json(BatchResults { results: replies.map(Reply::result).collect().await }))
}

async fn part_of<S: Store>(api: &Api<S>, operation: &Operation, key: Option<RequestKey>, deadline: Instant) -> Reply {
    match timeout_at(deadline, api.batched.acquire()).await {
        Ok(Ok(_permit)) if Instant::now() < deadline => api.run(operation, key.as_ref(), deadline).await,
        Ok(_) | Err(_) => Reply::from(problems::not_begun()),
    }
}
