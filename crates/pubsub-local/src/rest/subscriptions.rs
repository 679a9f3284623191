//! The paths of subscriptions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::broker::{Broker, Page};
use super::super::error::ApiError;
use super::super::pull;
use super::super::wire;
use super::json::messages::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PullRequest, PullResponse, ReceivedMessage, SeekRequest,
};
use super::json::resources::{Subscription, UpdateSubscriptionRequest};
use super::{JsonResult, Shared, empty_object, no_such_path, page, parse, split_verb};

type Names = Path<(String, String)>;

pub(super) fn routes() -> Router<Arc<Broker>> {
    let subscription = get(read).put(create).patch(update).delete(delete).post(custom_method);
    Router::new()
        .route("/v1/projects/{project}/subscriptions", get(list))
        .route("/v1/projects/{project}/subscriptions/{subscription}", subscription)
}

async fn create(State(broker): Shared, names: Names, body: Bytes) -> JsonResult<Subscription> {
    let subscription = wire::Subscription { name: full_name(&names), ..parse::<Subscription>(&body)?.into() };
    Ok(Json(broker.create_subscription(subscription)?.into()))
}

async fn read(State(broker): Shared, names: Names) -> JsonResult<Subscription> {
    Ok(Json(broker.subscription(&full_name(&names))?.resource().into()))
}

async fn update(State(broker): Shared, names: Names, body: Bytes) -> JsonResult<Subscription> {
    let changes: UpdateSubscriptionRequest = parse(&body)?;
    let mask = changes.mask();
    let subscription = wire::Subscription { name: full_name(&names), ..changes.subscription.into() };
    Ok(Json(broker.update_subscription(subscription, Some(&mask))?.into()))
}

async fn delete(State(broker): Shared, names: Names) -> JsonResult<Value> {
    empty_object(broker.delete_subscription(&full_name(&names)))
}

async fn list(State(broker): Shared, Path(project): Path<String>, requested: Page) -> JsonResult<Value> {
    let listed = broker.subscriptions(&format!("projects/{project}"), &requested)?;
    Ok(page::<_, Subscription>("subscriptions", listed))
}

/// Serves `POST …:pull`, `…:acknowledge`, `…:modifyAckDeadline` and `…:seek`.
async fn custom_method(State(broker): Shared, Path((project, segment)): Names, body: Bytes) -> JsonResult<Value> {
    let (id, verb) = split_verb(&segment);
    let name = format!("projects/{project}/subscriptions/{id}");
    match verb {
        "pull" => {
            let request: PullRequest = parse(&body)?;
            let received = pull::once(&broker, &name, request.max_messages, request.return_immediately).await?;
            let received: Result<Vec<ReceivedMessage>, _> = received.into_iter().map(TryInto::try_into).collect();
            let received_messages = received.map_err(ApiError::invalid_argument)?;
            Ok(Json(json!(PullResponse { received_messages })))
        }
        "acknowledge" => {
            let AcknowledgeRequest { ack_ids } = parse(&body)?;
            empty_object(broker.acknowledge(&*broker.subscription(&name)?, &ack_ids))
        }
        "modifyAckDeadline" => {
            let ModifyAckDeadlineRequest { ack_ids, ack_deadline_seconds } = parse(&body)?;
            empty_object(broker.modify_deadline(&*broker.subscription(&name)?, &ack_ids, ack_deadline_seconds))
        }
        "seek" => {
            let request: SeekRequest = parse(&body)?;
            empty_object(broker.seek(&name, request.target()?))
        }
        _ => Err(no_such_path(&format!("projects/{project}/subscriptions/{segment}"))),
    }
}

fn full_name(Path((project, subscription)): &Names) -> String {
    format!("projects/{project}/subscriptions/{subscription}")
}
