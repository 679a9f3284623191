//! Event types without a schema.

use super::world::{World, attribute, http_address, metric};
use crate::support::program::{Signal, event_pipeline};

const UNKNOWN: &str = r#"{"client_id":"c","event_type":"typo","data":{}}"#;

#[tokio::test]
async fn with_strict_types_an_event_whose_type_has_no_schema_is_a_dead_letter() {
    let world = World::start().await;
    let schemas = tempfile::tempdir().expect("a directory");
    std::fs::write(schemas.path().join("order.json"), "{}").expect("the file is written");
    let directory = schemas.path().to_str().expect("UTF-8");
    let launch = world.processor(&["--schema-dir", directory, "--http-listen", "127.0.0.1:0"]);
    let mut strict = launch.env("EVENT_PIPELINE_STRICT_TYPES", "true").start();
    let address = http_address(&mut strict).await;
    world.send(&super::event("1"), &[]).await;
    world.send(UNKNOWN, &[]).await;
    world.until_empty().await;
    assert_eq!(world.items().await.len(), 1);
    let dead = world.dead_letters().await;
    assert_eq!((dead.len(), dead[0].body()), (1, Some(UNKNOWN)));
    assert_eq!(attribute(&dead[0], "reason"), Some("unknown_type"));
    assert_eq!(attribute(&dead[0], "pointer"), Some("/event_type"));
    let count = async |metric_with_labels| metric(&address, metric_with_labels).await;
    assert_eq!(count("event_pipeline_dead_letters_total{reason=\"unknown_type\"}").await, 1.0);
    assert_eq!(count("event_pipeline_invalid_total{event_type=\"other\"}").await, 1.0);
    strict.signal(Signal::Terminate).await;
    assert_eq!(strict.exit().await.code, Some(0));

    let _lenient = world.processor(&["--schema-dir", directory]).start();
    world.send(UNKNOWN, &[]).await;
    world.until_empty().await;
    assert_eq!(world.items().await.len(), 2);
}

#[tokio::test]
async fn strict_types_need_schemas() {
    let exit = event_pipeline(["processor", "--strict-types"]).run().await;
    let error = exit.output.stderr.join("\n");
    assert!(exit.code == Some(2) && error.contains("--strict-types needs --schema-dir"), "{exit:#?}");
}
