//! The endpoints of dead deliveries.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use http_api::problem::INVALID_PAGE_TOKEN;
use http_api::{Body, Caller, Path, Problem, ProblemBody, Query, json, page_token};
use tokio::time::Instant;
use tracing::info;
use webhooks::EndpointId;

use super::bodies::{
    DeadBody, DeadDeliveries as DeadPage, DeadSelection, ListParams, PositionParams, SettledBody, parse_or_default,
};
use super::{Shared, id};
use crate::api::now;
use crate::api::queries::size;
use crate::subscriptions::dead::{self, DeadPosition, Selection, Verb};
use crate::subscriptions::ports::{DeadDeliveries, Subscriptions};

/// The most dead deliveries that one request redrives or purges.
const MAX_SETTLED: usize = 1000;
const PAGE: usize = 100;
/// A request ends early after this time, so that its client gets an answer.
const MAX_TIME: Duration = Duration::from_secs(4);

/// Dead deliveries
///
/// Those whose attempts all failed, for 30 days. `answer` is missing if the operator allows private hosts.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/dead",
    tag = "webhooks",
    operation_id = "dead",
    params(("id" = String, Path, description = "The id of the subscription."), ListParams),
    responses(
        (status = 200, description = "The dead deliveries.", body = DeadPage),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn dead<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    Query(ListParams { page_size, page_token }): Query<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, size, now) = (id(&text)?, size(page_size)?, now());
    let from = position(&id, page_token, now)?;
    shared.get(&caller, &id).await?;
    let page = dead::list(&shared.webhooks.deliveries, &id, &Selection::default(), from.as_ref(), size).await;
    let page = page.map_err(|error| shared.problem(&error))?;
    let shows_answers = shared.shows_answers();
    let deliveries = page.deliveries.iter().map(|dead| DeadBody::of(dead, shows_answers)).collect();
    let next_page_token = page.next.map(|next| token(&id, &next, now));
    Ok(json(&headers, &DeadPage { deliveries, next_page_token }))
}

/// Redrive dead deliveries
///
/// They are due at once, with all their attempts. One request redrives up to 1,000.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/dead/redrive",
    tag = "webhooks",
    operation_id = "redrive",
    params(("id" = String, Path, description = "The id of the subscription."), PositionParams),
    request_body(content = DeadSelection, description = "May be empty."),
    responses(
        (status = 200, description = "How many were redriven.", body = SettledBody),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn redrive<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    Query(params): Query<PositionParams>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (id, select) = (id(&text)?, selection(&body)?);
    settle(&shared, &caller, &id, Verb::Redrive, &select, params).await
}

/// Purge dead deliveries
///
/// They are deleted for good. One request purges up to 1,000.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/dead/purge",
    tag = "webhooks",
    operation_id = "purge",
    params(("id" = String, Path, description = "The id of the subscription."), PositionParams),
    request_body(content = DeadSelection, description = "May be empty."),
    responses(
        (status = 200, description = "How many were purged.", body = SettledBody),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn purge<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    Query(params): Query<PositionParams>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (id, select) = (id(&text)?, selection(&body)?);
    settle(&shared, &caller, &id, Verb::Purge, &select, params).await
}

async fn settle<S: Subscriptions, D: DeadDeliveries>(
    shared: &Shared<S, D>,
    caller: &Caller,
    id: &EndpointId,
    verb: Verb,
    select: &Selection,
    params: PositionParams,
) -> Result<Response, Problem> {
    let (now, end) = (now(), Instant::now() + MAX_TIME);
    let mut from = position(id, params.page_token, now)?;
    shared.get(caller, id).await?;
    let mut body = SettledBody { settled: 0, skipped: 0, next_page_token: None };
    loop {
        let settled = dead::settle(&shared.webhooks.deliveries, id, verb, select, from.as_ref(), PAGE).await;
        let settled = settled.map_err(|error| shared.problem(&error))?;
        body.settled += settled.settled;
        body.skipped += settled.skipped;
        let Some(next) = settled.next else { break };
        if body.settled + PAGE > MAX_SETTLED || Instant::now() >= end {
            body.next_page_token = Some(token(id, &next, now));
            break;
        }
        from = Some(next);
    }
    let what = match verb {
        Verb::Redrive => "redrove dead deliveries",
        Verb::Purge => "purged dead deliveries",
    };
    info!(token = &*caller.name, subscription = id.as_str(), count = body.settled, "{what}");
    Ok(json(&HeaderMap::new(), &body))
}

fn selection(body: &[u8]) -> Result<Selection, Problem> {
    let select: DeadSelection = parse_or_default(body)?;
    Ok(Selection { reasons: Vec::new(), deliveries: select.ids()? })
}

fn query(id: &EndpointId) -> String {
    format!("dead {id}")
}

fn token(id: &EndpointId, next: &DeadPosition, now: SystemTime) -> String {
    page_token::encode(&query(id), &next.to_string(), now)
}

fn position(id: &EndpointId, token: Option<String>, now: SystemTime) -> Result<Option<DeadPosition>, Problem> {
    let Some(token) = token else { return Ok(None) };
    let position = page_token::decode(&token, &query(id), now)?;
    let position = position.parse().map_err(|_| Problem::new(&INVALID_PAGE_TOKEN, "the page token has no position"));
    position.map(Some)
}
