//! The paths of topics.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::Value;

use super::super::broker::{Broker, Page};
use super::super::wire;
use super::json::messages::{Published, ToPublish};
use super::json::resources::{Topic, TopicChanges};
use super::{Answer, Shared, empty, no_such_path, page, parse, split_verb};

type Names = Path<(String, String)>;

pub(super) fn routes() -> Router<Arc<Broker>> {
    let topic = get(read).put(create).patch(update).delete(delete).post(publish);
    Router::new()
        .route("/v1/projects/{project}/topics", get(list))
        .route("/v1/projects/{project}/topics/{topic}", topic)
        .route("/v1/projects/{project}/topics/{topic}/subscriptions", get(list_subscriptions))
}

async fn create(State(broker): Shared, names: Names, body: Bytes) -> Answer<Topic> {
    let topic = wire::Topic { name: full_name(&names), ..parse::<Topic>(&body)?.into() };
    Ok(Json(broker.create_topic(topic)?.into()))
}

async fn read(State(broker): Shared, names: Names) -> Answer<Topic> {
    Ok(Json(broker.topic(&full_name(&names))?.into()))
}

async fn update(State(broker): Shared, names: Names, body: Bytes) -> Answer<Topic> {
    let changes: TopicChanges = parse(&body)?;
    let mask = changes.mask();
    let topic = wire::Topic { name: full_name(&names), ..changes.topic.into() };
    Ok(Json(broker.update_topic(topic, Some(&mask))?.into()))
}

async fn delete(State(broker): Shared, names: Names) -> Answer<Value> {
    empty(broker.delete_topic(&full_name(&names)))
}

async fn publish(State(broker): Shared, Path((project, segment)): Names, body: Bytes) -> Answer<Published> {
    let (id, "publish") = split_verb(&segment) else {
        return Err(no_such_path(&format!("projects/{project}/topics/{segment}")));
    };
    let request: ToPublish = parse(&body)?;
    let messages = request.messages.into_iter().map(Into::into).collect();
    let message_ids = broker.publish(&format!("projects/{project}/topics/{id}"), messages)?;
    Ok(Json(Published { message_ids }))
}

async fn list(State(broker): Shared, Path(project): Path<String>, part: Page) -> Answer<Value> {
    let listed = broker.topics(&format!("projects/{project}"), &part)?;
    Ok(page::<_, Topic>("topics", listed))
}

async fn list_subscriptions(State(broker): Shared, names: Names, part: Page) -> Answer<Value> {
    let listed = broker.topic_subscriptions(&full_name(&names), &part)?;
    Ok(page::<_, String>("subscriptions", listed))
}

fn full_name(Path((project, topic)): &Names) -> String {
    format!("projects/{project}/topics/{topic}")
}
