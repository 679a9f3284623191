//! The paths of subscriptions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::broker::{Broker, Page};
use super::super::pull;
use super::super::refusal::Refusal;
use super::super::wire;
use super::json::messages::{AckIds, Deadline, PullOptions, Pulled, ReceivedMessage};
use super::json::resources::{Subscription, SubscriptionChanges};
use super::{Answer, Shared, empty, no_such_path, page, parse, split_verb};

type Names = Path<(String, String)>;

pub(super) fn routes() -> Router<Arc<Broker>> {
    let subscription = get(read).put(create).patch(update).delete(delete).post(act);
    Router::new()
        .route("/v1/projects/{project}/subscriptions", get(list))
        .route("/v1/projects/{project}/subscriptions/{subscription}", subscription)
}

async fn create(State(broker): Shared, names: Names, body: Bytes) -> Answer<Subscription> {
    let subscription = wire::Subscription { name: full_name(&names), ..parse::<Subscription>(&body)?.into() };
    Ok(Json(broker.create_subscription(subscription)?.into()))
}

async fn read(State(broker): Shared, names: Names) -> Answer<Subscription> {
    Ok(Json(broker.subscription(&full_name(&names))?.resource().into()))
}

async fn update(State(broker): Shared, names: Names, body: Bytes) -> Answer<Subscription> {
    let changes: SubscriptionChanges = parse(&body)?;
    let mask = changes.mask();
    let subscription = wire::Subscription { name: full_name(&names), ..changes.subscription.into() };
    Ok(Json(broker.update_subscription(subscription, Some(&mask))?.into()))
}

async fn delete(State(broker): Shared, names: Names) -> Answer<Value> {
    empty(broker.delete_subscription(&full_name(&names)))
}

async fn list(State(broker): Shared, Path(project): Path<String>, part: Page) -> Answer<Value> {
    let listed = broker.subscriptions(&format!("projects/{project}"), &part)?;
    Ok(page::<_, Subscription>("subscriptions", listed))
}

/// `POST …:pull`, `…:acknowledge` and `…:modifyAckDeadline`.
async fn act(State(broker): Shared, Path((project, segment)): Names, body: Bytes) -> Answer<Value> {
    let (id, verb) = split_verb(&segment);
    let name = format!("projects/{project}/subscriptions/{id}");
    match verb {
        "pull" => {
            let options: PullOptions = parse(&body)?;
            let received = pull::once(&broker, &name, options.max_messages, options.return_immediately).await?;
            let received: Result<Vec<ReceivedMessage>, _> = received.into_iter().map(TryInto::try_into).collect();
            let received_messages = received.map_err(Refusal::invalid)?;
            Ok(Json(json!(Pulled { received_messages })))
        }
        "acknowledge" => {
            let AckIds { ack_ids } = parse(&body)?;
            empty(broker.acknowledge(&*broker.subscription(&name)?, &ack_ids))
        }
        "modifyAckDeadline" => {
            let Deadline { ack_ids, ack_deadline_seconds } = parse(&body)?;
            empty(broker.modify_deadline(&*broker.subscription(&name)?, &ack_ids, ack_deadline_seconds))
        }
        _ => Err(no_such_path(&format!("projects/{project}/subscriptions/{segment}"))),
    }
}

fn full_name(Path((project, subscription)): &Names) -> String {
    format!("projects/{project}/subscriptions/{subscription}")
}
