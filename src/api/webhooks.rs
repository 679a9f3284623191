//! The endpoints of webhooks, which exist only with `--webhooks`. A token sees only the subscriptions that it owns.

mod bodies;
mod deliveries;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_api::problem::INVALID_PAGE_TOKEN;
use http_api::{Body, Caller, Etag, Guard, Path, Problem, ProblemBody, Query, Scope, if_match, json, page_token};
use ops::StoreWatch;
use tracing::info;
use webhooks::{EndpointId, HttpSender, Secret};

use self::bodies::{
    ListParams, NewSubscription, Rotation, SubscriptionPatch, Subscriptions as Listed, TrialBody, WithSecret,
};
use super::now;
use super::problems::{self, PRECONDITION_REQUIRED, SUBSCRIPTION_NOT_FOUND};
use super::queries::{invalid, size};
use crate::hosts;
use crate::subscriptions::operations::{Access, OperationError, Operations, Vault};
use crate::subscriptions::ports::{DeadDeliveries, Subscriptions};
use crate::subscriptions::{Subscription, SubscriptionView};

// The OpenAPI document names these beside their handlers.
pub(super) use self::deliveries::{__path_dead, __path_purge, __path_redrive};

/// An owner with more must remove one first.
const MAX_SUBSCRIPTIONS: usize = 1000;
const MAX_KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the endpoints of webhooks need.
pub struct Webhooks<S, D> {
    pub operations: Operations<S>,
    pub deliveries: D,
    pub vault: Vault,
    pub sender: HttpSender,
}

/// What the handlers share.
struct Shared<S, D> {
    webhooks: Webhooks<S, D>,
    watch: Arc<StoreWatch>,
}

impl<S: Subscriptions, D: DeadDeliveries> Shared<S, D> {
    fn problem(&self, error: &OperationError) -> Problem {
        if let OperationError::Store(error) | OperationError::Deliveries(error) = error {
            let error = hosts::Error::from(error.clone());
            self.watch.log(error.kind.name(), &error);
        }
        problems::of_operation(error)
    }

    /// Whether an answer can only come from the internet. Otherwise a client could read what private hosts answer.
    fn shows_answers(&self) -> bool {
        let policy = &self.webhooks.vault.policy;
        policy.allow_targets.is_empty() && policy.allow_networks.is_empty()
    }

    async fn get(&self, caller: &Caller, id: &EndpointId) -> Result<Subscription, Problem> {
        let found = self.webhooks.operations.get(Access::Owner(&caller.name), id).await;
        found.map_err(|error| self.problem(&error))
    }
}

/// Returns the routes of webhooks, with the scopes that they need.
pub fn webhooks_router<S: Subscriptions, D: DeadDeliveries>(
    webhooks: Webhooks<S, D>,
    watch: Arc<StoreWatch>,
    guard: &Guard,
) -> Router {
    let reads = Router::new()
        .route("/v1/webhooks", get(list::<S, D>))
        .route("/v1/webhooks/{id}", get(show::<S, D>))
        .route("/v1/webhooks/{id}/dead", get(deliveries::dead::<S, D>));
    let writes = Router::new()
        .route("/v1/webhooks", post(add::<S, D>))
        .route("/v1/webhooks/{id}", axum::routing::patch(change::<S, D>).delete(remove::<S, D>))
        .route("/v1/webhooks/{id}/test", post(test::<S, D>))
        .route("/v1/webhooks/{id}/pause", post(pause::<S, D>))
        .route("/v1/webhooks/{id}/resume", post(resume::<S, D>))
        .route("/v1/webhooks/{id}/rotate", post(rotate::<S, D>))
        .route("/v1/webhooks/{id}/dead/redrive", post(deliveries::redrive::<S, D>))
        .route("/v1/webhooks/{id}/dead/purge", post(deliveries::purge::<S, D>));
    let routes = guard.protect(reads, Scope::Webhooks).merge(guard.protect_writes(writes, Scope::Webhooks));
    // Webhooks contain the responses that the scope `read` protects.
    guard.protect(routes, Scope::Read).with_state(Arc::new(Shared { webhooks, watch }))
}

fn id(text: &str) -> Result<EndpointId, Problem> {
    EndpointId::parse(text).map_err(|_| Problem::new(&SUBSCRIPTION_NOT_FOUND, "the path has no id of a subscription"))
}

/// Your subscriptions
///
/// Only those that the token has created, by id and without their URLs. A change may be missing for a moment.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "webhooks",
    operation_id = "subscriptions",
    params(ListParams),
    responses(
        (status = 200, description = "The subscriptions.", body = Listed),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn list<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Query(ListParams { page_size, page_token }): Query<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (size, now) = (size(page_size)?, now());
    let query = format!("webhooks {}", caller.name);
    let after = page_token.map(|token| page_token::decode(&token, &query, now)).transpose()?;
    let no_position = |_| Problem::new(&INVALID_PAGE_TOKEN, "the page token has no position in the list");
    let after = after.map(EndpointId::parse).transpose().map_err(no_position)?;
    let page = shared.webhooks.operations.page(Some(&caller.name), after.as_ref()).await;
    let page = page.map_err(|error| shared.problem(&error))?;
    let (mut found, mut next) = (page.subscriptions, page.next);
    found.sort_by(|one, other| one.id.cmp(&other.id));
    if found.len() > size {
        found.truncate(size);
        next = found.last().map(|last| last.id.clone());
    }
    let next_page_token = next.map(|next| page_token::encode(&query, next.as_str(), now));
    let subscriptions = found.iter().map(SubscriptionView::of).collect();
    Ok(json(&headers, &Listed { subscriptions, next_page_token }))
}

/// Create a subscription
///
/// The response has the signing secret, which no other response has. Changes are told from about 5 s later. A token can have
/// 1,000 subscriptions.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    tag = "webhooks",
    operation_id = "subscribe",
    request_body = NewSubscription,
    responses(
        (status = 201, description = "The subscription with its secret.", body = WithSecret),
        (status = 409, description = "There are too many.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn add<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let definition = NewSubscription::parse(&body)?.definition()?;
    let Webhooks { operations, vault, .. } = &shared.webhooks;
    let definition = definition.checked(&vault.policy).map_err(|error| problems::of_operation(&error.into()))?;
    let added = async {
        operations.check_quota(&caller.name, MAX_SUBSCRIPTIONS).await?;
        operations.add(&caller.name, definition, vault, now()).await
    };
    let (subscription, secret) = added.await.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = subscription.id.as_str(), "created a subscription");
    Ok(with_secret(StatusCode::CREATED, &subscription, &secret))
}

/// A subscription
///
/// Its `ETag` is what a change needs.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    operation_id = "subscription",
    params(("id" = String, Path, description = "The id of the subscription.")),
    responses(
        (status = 200, description = "The subscription.", body = SubscriptionView, headers(("ETag", description = "Changes with the body."))),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn show<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let subscription = shared.get(&caller, &id(&text)?).await?;
    Ok(json(&headers, &SubscriptionView::with_url(&subscription)))
}

/// Change a subscription
///
/// Fields that are missing stay. `null` restores the default. A delivery that waits is still made, also if the new filter
/// does not select it.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    operation_id = "change",
    params(
        ("id" = String, Path, description = "The id of the subscription."),
        ("If-Match" = String, Header, description = "The `ETag` of the subscription, or `*` for any."),
    ),
    request_body = SubscriptionPatch,
    responses(
        (status = 200, description = "The changed subscription.", body = SubscriptionView, headers(("ETag", description = "Changes with the body."))),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "The subscription has changed.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn change<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    if !headers.contains_key(IF_MATCH) {
        return Err(Problem::new(&PRECONDITION_REQUIRED, "the request has no header If-Match"));
    }
    let patch = SubscriptionPatch::parse(&body)?;
    let edit = |current: &Subscription| {
        let tag = Etag::of_json(&SubscriptionView::with_url(current));
        match if_match(&headers, &[tag]) {
            Some(true) => Ok(patch.apply_to(current.into())),
            _ => Err(OperationError::ReadBefore),
        }
    };
    let Webhooks { operations, vault, .. } = &shared.webhooks;
    let changed = operations.redefine(Access::Owner(&caller.name), &id, vault, now(), edit).await;
    let changed = changed.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), "changed a subscription");
    Ok(json(&HeaderMap::new(), &SubscriptionView::with_url(&changed)))
}

/// Remove a subscription
///
/// Nothing is sent after about 5 s. Deliveries that wait are deleted when they are due.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    operation_id = "unsubscribe",
    params(("id" = String, Path, description = "The id of the subscription.")),
    responses(
        (status = 204, description = "The subscription is removed."),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn remove<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let removed = shared.webhooks.operations.remove(Access::Owner(&caller.name), &id).await;
    removed.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), "removed a subscription");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Send a test
///
/// One signed webhook of the type `scan.test`, without retries. `answer` is missing if the operator allows private hosts.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/test",
    tag = "webhooks",
    operation_id = "test",
    params(("id" = String, Path, description = "The id of the subscription.")),
    responses(
        (status = 200, description = "What the endpoint answered.", body = TrialBody),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn test<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let Webhooks { operations, vault, sender, .. } = &shared.webhooks;
    let trial = operations.test(Access::Owner(&caller.name), &id, vault, sender, now()).await;
    let trial = trial.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), accepted = trial.is_accepted(), "sent a test");
    Ok(json(&HeaderMap::new(), &TrialBody::of(&trial, shared.shows_answers())))
}

/// Pause a subscription
///
/// Deliveries are stored for up to seven days, until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/pause",
    tag = "webhooks",
    operation_id = "pause",
    params(("id" = String, Path, description = "The id of the subscription.")),
    responses(
        (status = 200, description = "The paused subscription.", body = SubscriptionView),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn pause<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let paused = shared.webhooks.operations.pause(Access::Owner(&caller.name), &id, now()).await;
    let paused = paused.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), "paused a subscription");
    Ok(json(&HeaderMap::new(), &SubscriptionView::with_url(&paused)))
}

/// Resume a subscription
///
/// Also one that the program has disabled. It is not told of the changes while it was disabled.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/resume",
    tag = "webhooks",
    operation_id = "resume",
    params(("id" = String, Path, description = "The id of the subscription.")),
    responses(
        (status = 200, description = "The active subscription.", body = SubscriptionView),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn resume<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let resumed = shared.webhooks.operations.resume(Access::Owner(&caller.name), &id, now()).await;
    let resumed = resumed.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), "resumed a subscription");
    Ok(json(&HeaderMap::new(), &SubscriptionView::with_url(&resumed)))
}

/// Rotate the secret
///
/// The response has the new signing secret, which no other response has. The old one also signs for `keep_seconds`.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/rotate",
    tag = "webhooks",
    operation_id = "rotate",
    params(("id" = String, Path, description = "The id of the subscription.")),
    request_body(content = Rotation, description = "May be empty."),
    responses(
        (status = 200, description = "The subscription with its new secret.", body = WithSecret),
        (status = 404, description = "The token owns no such subscription.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn rotate<S: Subscriptions, D: DeadDeliveries>(
    State(shared): State<Arc<Shared<S, D>>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (id, Rotation { keep_seconds }) = (id(&text)?, bodies::parse_or_default(&body)?);
    let keep = Duration::from_secs(keep_seconds);
    if keep > MAX_KEEP {
        return Err(invalid(format!("`keep_seconds` is {keep_seconds}; expected 0 to {}", MAX_KEEP.as_secs())));
    }
    let Webhooks { operations, vault, .. } = &shared.webhooks;
    let rotated = operations.rotate(Access::Owner(&caller.name), &id, keep, vault, now()).await;
    let (subscription, secret) = rotated.map_err(|error| shared.problem(&error))?;
    info!(token = &*caller.name, subscription = id.as_str(), "rotated a signing secret");
    Ok(with_secret(StatusCode::OK, &subscription, &secret))
}

/// Returns the only kind of response that has a secret. No cache may keep it.
fn with_secret(status: StatusCode, subscription: &Subscription, secret: &Secret) -> Response {
    let subscription = SubscriptionView::with_url(subscription);
    let location = HeaderValue::from_str(&format!("/v1/webhooks/{}", subscription.id));
    let body = WithSecret { subscription, secret: secret.reveal().as_str().to_owned() };
    let body = serde_json::to_vec(&body).expect("its maps have names as keys");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (LOCATION, location.expect("an id is printable ASCII")),
    ];
    (status, headers, body).into_response()
}
