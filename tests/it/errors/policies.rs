//! The policies at work: the whole program before a store that errs, and what becomes of the scans.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::faults::{Proxy, error, http};
use super::injections::{at, scan};
use crate::support::pipeline::{Pipeline, good, ip};
use crate::support::program::{Launch, Program, Signal};
use crate::support::{QUIET, within_patience};
use mini_scan::consumer::ports::{Put, Store, StoreErrorKind};

const HOT_KEY: &str = r#","throttlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded"}]"#;

fn is_write(request: &str) -> bool {
    request.to_ascii_lowercase().contains("x-amz-target: dynamodb_20120810.putitem")
}

/// Whether a request writes the key number `n`.
fn writes_key(request: &str, n: usize) -> bool {
    is_write(request) && request.contains(&format!("{}#80#HTTP", ip(n)))
}

fn through(pipeline: &Pipeline, proxy: &Proxy) -> Launch {
    pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)
}

/// Everything is stored, nothing was given back and nothing is a dead letter.
async fn all_are_stored(pipeline: &Pipeline, consumer: Program, count: usize) {
    assert_eq!(pipeline.rows(count).await.len(), count);
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    let last = exit.said.stdout.last().map(String::as_str);
    let expected = format!("Consumer stopped. Final stats - Processed: {count}, Failed: 0");
    assert_eq!(last, Some(&*expected), "{:#?}", exit.said);
    let mut letters = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
    assert!(letters.next_within(QUIET).await.is_none(), "a dead letter");
}

/// The next line with this text. The summaries that come meanwhile are no reason to wait longer.
async fn line(consumer: &mut Program, text: &str) -> String {
    within_patience(text, consumer.line(text)).await
}

fn write_credentials(file: &Path, id: &str) {
    // Long over, so that they are asked for at each attempt.
    let expiration = "2001-01-01T00:00:00Z";
    let json =
        format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"secret","Expiration":"{expiration}"}}"#);
    std::fs::write(file, json).expect("a file");
}

#[tokio::test]
async fn expired_credentials_make_the_instance_unready_until_they_are_renewed() {
    let pipeline = Pipeline::new().await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let (config, credentials) = (home.path().join("config"), home.path().join("credentials.json"));
    std::fs::write(&config, format!("[default]\ncredential_process = cat {}\n", credentials.display()))
        .expect("a file");
    write_credentials(&credentials, "FIRST");
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, |request| {
        let is_expired = is_write(request) && request.contains("Credential=FIRST/");
        is_expired
            .then(|| error(400, "ExpiredTokenException", "The security token included in the request is expired", ""))
    });
    let proxy = proxy.await;
    pipeline.publish(good(0..20)).await;

    let mut consumer = through(&pipeline, &proxy).env("AWS_CONFIG_FILE", &config.display().to_string()).start();

    let said = line(&mut consumer, "unhealthy").await;
    let texts = ["ExpiredTokenException", "aws sso login", r#""error.type":"Credentials""#];
    assert!(texts.iter().all(|text| said.contains(text)), "{said}");
    write_credentials(&credentials, "SECOND");
    line(&mut consumer, "recovered").await;
    all_are_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn a_permission_that_is_missing_is_said_and_nothing_is_lost_until_it_is_granted() {
    let pipeline = Pipeline::new().await;
    let denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:PutItem", "");
    let proxy =
        Proxy::before(&pipeline.dynamo.endpoint, move |request| is_write(request).then(|| denied.clone())).await;
    pipeline.publish(good(0..20)).await;
    let mut consumer = through(&pipeline, &proxy).start();

    let said = line(&mut consumer, "unhealthy").await;
    assert!(said.contains("AccessDeniedException") && said.contains("Grant dynamodb:PutItem"), "{said}");
    proxy.pass();

    line(&mut consumer, "recovered").await;
    all_are_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn an_outage_that_becomes_another_is_said_again() {
    let pipeline = Pipeline::new().await;
    let writes = AtomicU32::new(0);
    let denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:PutItem", "");
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        let away = || http(503, "", "");
        is_write(request).then(|| if writes.fetch_add(1, Ordering::Relaxed) < 10 { away() } else { denied.clone() })
    });
    let proxy = proxy.await;
    pipeline.publish(good(0..9)).await;
    let mut consumer = through(&pipeline, &proxy).start();

    assert!(line(&mut consumer, "unhealthy").await.contains("HTTP 503"));
    let said = line(&mut consumer, "still unhealthy").await;
    assert!(said.contains("Grant dynamodb:PutItem") && said.contains(r#""error.type":"Permission""#), "{said}");
    proxy.pass();

    line(&mut consumer, "recovered").await;
    all_are_stored(&pipeline, consumer, 9).await;
}

#[tokio::test]
async fn a_table_that_is_deleted_makes_no_dead_letters_and_is_written_to_when_it_is_there_again() {
    let pipeline = Pipeline::new().await;
    let mut consumer = pipeline.consumer().start();
    line(&mut consumer, "consuming").await;
    pipeline.dynamo.client.delete_table().table_name(&pipeline.table).send().await.expect("it is deleted");

    pipeline.publish(good(0..20)).await;

    let said = line(&mut consumer, "unhealthy").await;
    let step = format!("mini-scan setup table --table {}", pipeline.table);
    assert!(said.contains("ResourceNotFoundException") && said.contains(&step), "{said}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    line(&mut consumer, "recovered").await;
    all_are_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn single_faults_without_a_body_are_retried_and_not_an_outage() {
    let pipeline = Pipeline::new().await;
    let writes = AtomicU32::new(0);
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        let errs = is_write(request) && writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        errs.then(|| http(500, "", ""))
    });
    let proxy = proxy.await;
    pipeline.publish(good(0..50)).await;
    // One write at a time, so that no eight faults are in a row.
    let consumer = through(&pipeline, &proxy).arguments(["--max-outstanding", "1", "--consumers", "1"]).start();

    pipeline.rows(50).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;

    assert!(!exit.said.stderr.iter().any(|line| line.contains("unhealthy")), "{:#?}", exit.said);
    assert_eq!(exit.said.stdout, ["Consumer stopped. Final stats - Processed: 50, Failed: 0"]);
}

#[tokio::test]
async fn a_hot_key_waits_alone() {
    let pipeline = Pipeline::new().await;
    let throttled = error(400, "ThrottlingException", "Throughput exceeds the current capacity", HOT_KEY);
    let proxy =
        Proxy::before(&pipeline.dynamo.endpoint, move |request| writes_key(request, 0).then(|| throttled.clone()))
            .await;
    pipeline.publish(good(0..50)).await;
    let mut consumer = through(&pipeline, &proxy).start();

    assert_eq!(pipeline.rows(49).await.len(), 49);
    let silent = tokio::time::timeout(QUIET, line(&mut consumer, "unhealthy")).await;
    assert!(silent.is_err(), "{silent:?}");
    proxy.pass();

    all_are_stored(&pipeline, consumer, 50).await;
}

#[tokio::test]
async fn an_unknown_answer_for_some_keys_is_said_and_makes_no_dead_letters() {
    const UNKNOWN: usize = 3;
    let pipeline = Pipeline::new().await;
    let unknown = error(400, "NeverHeardOfException", "something new", "");
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        (0..UNKNOWN).any(|key| writes_key(request, key)).then(|| unknown.clone())
    });
    let proxy = proxy.await;
    let mut consumer = through(&pipeline, &proxy).start();
    line(&mut consumer, "consuming").await;
    pipeline.publish(good(0..UNKNOWN)).await;

    // Others are stored meanwhile: without an answer between them the errors would be an outage.
    let mut published = UNKNOWN;
    let others = async {
        loop {
            pipeline.publish(good(published..published + 1)).await;
            published += 1;
            pipeline.rows(published - UNKNOWN).await;
        }
    };
    let said = tokio::select! {
        said = line(&mut consumer, "some writes") => said,
        () = others => unreachable!("it never ends"),
    };

    assert!(said.contains("NeverHeardOfException: something new") && said.contains("docs/errors.md"), "{said}");
    proxy.pass();
    all_are_stored(&pipeline, consumer, published).await;
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_first_answer() {
    // The service is in 2040, and takes a signature of that year only.
    let service = Proxy::before("http://nowhere", |request| {
        let is_current = request.to_ascii_lowercase().contains("x-amz-date: 2040");
        let answer = if is_current {
            http(200, "application/x-amz-json-1.0", "{}")
        } else {
            error(400, "InvalidSignatureException", "Signature expired: 2026 is now earlier than 2040", "")
        };
        let date = "date: Sun, 01 Jan 2040 12:00:00 GMT\r\nx-amzn-requestid: 1\r\n";
        Some(answer.replacen("\r\n", &format!("\r\n{date}"), 1))
    });
    let service = service.await;
    let scans = at(&service.url);

    let first = tokio::time::timeout(Duration::from_secs(3), scans.put(&scan())).await.expect("an answer");
    let second = tokio::time::timeout(Duration::from_secs(3), scans.put(&scan())).await.expect("an answer");

    assert_eq!(first.expect_err("it is signed with a clock of today").kind, StoreErrorKind::Clock);
    assert_eq!(second, Ok(Put::Stored));
}

#[tokio::test]
async fn credentials_that_take_longer_than_an_attempt_still_come() {
    let pipeline = Pipeline::new().await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = home.path().join("config");
    let json = r#"{\"Version\":1,\"AccessKeyId\":\"SLOW\",\"SecretAccessKey\":\"secret\"}"#;
    let script = home.path().join("script.sh");
    std::fs::write(&script, format!("sleep 4; echo \"{json}\"\n")).expect("a file");
    std::fs::write(&config, format!("[default]\ncredential_process = sh {}\n", script.display())).expect("a file");
    pipeline.publish(good(0..20)).await;

    let consumer = pipeline.consumer().env("AWS_CONFIG_FILE", &config.display().to_string()).start();

    all_are_stored(&pipeline, consumer, 20).await;
}
