//! The policies in the whole program: the store fails in one way, and no scan is lost.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

use super::faults::{Proxy, error, http};
use super::injections::{at, scan};
use crate::support::messages::{CONSUMING, RECOVERED, STILL_UNHEALTHY, UNHEALTHY};
use crate::support::pipeline::{Pipeline, ip, valid_scans};
use crate::support::program::{Launch, Output, Program, Signal};
use crate::support::with_timeout;
use mini_scan::consumer::ports::{Put, Store, StoreErrorKind};

const HOT_KEY: &str = r#","throttlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded"}]"#;

fn is_write(request: &str) -> bool {
    request.to_ascii_lowercase().contains("x-amz-target: dynamodb_20120810.putitem")
}

/// Returns whether a request writes key number `n`.
fn writes_key(request: &str, n: usize) -> bool {
    is_write(request) && request.contains(&format!("{}#80#HTTP", ip(n)))
}

fn through(pipeline: &Pipeline, proxy: &Proxy) -> Launch {
    pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)
}

/// Checks that all scans are stored, and none was nacked or dead-lettered. Returns what the program wrote.
async fn assert_all_stored(pipeline: &Pipeline, consumer: Program, count: usize) -> Output {
    assert_eq!(pipeline.rows(count).await.len(), count);
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    let last = exit.output.stdout.last().map(String::as_str);
    let expected = format!("Consumer stopped. Final stats - Processed: {count}, Failed: 0");
    assert_eq!(last, Some(&*expected), "{:#?}", exit.output);
    pipeline.pubsub.drained(&pipeline.dead_letter_subscription).await;
    exit.output
}

fn write_credentials(file: &Path, id: &str) {
    // They have expired, so that the client gets them again for each attempt.
    let expiration = "2001-01-01T00:00:00Z";
    let json =
        format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"secret","Expiration":"{expiration}"}}"#);
    std::fs::write(file, json).expect("a file");
}

#[tokio::test]
async fn expired_credentials_make_the_instance_unhealthy_until_they_are_renewed() {
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
    pipeline.publish(valid_scans(0..20)).await;

    let mut consumer = through(&pipeline, &proxy).env("AWS_CONFIG_FILE", &config.display().to_string()).start();

    let line = consumer.wait_for_line(UNHEALTHY).await;
    let texts = ["ExpiredTokenException", "aws sso login", r#""error.type":"Credentials""#];
    assert!(texts.iter().all(|text| line.contains(text)), "{line}");
    write_credentials(&credentials, "SECOND");
    consumer.wait_for_line(RECOVERED).await;
    assert_all_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn a_missing_permission_is_logged_and_no_scan_is_lost_until_it_is_granted() {
    let pipeline = Pipeline::new().await;
    let denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:PutItem", "");
    let proxy =
        Proxy::before(&pipeline.dynamo.endpoint, move |request| is_write(request).then(|| denied.clone())).await;
    pipeline.publish(valid_scans(0..20)).await;
    let mut consumer = through(&pipeline, &proxy).start();

    let line = consumer.wait_for_line(UNHEALTHY).await;
    assert!(line.contains("AccessDeniedException") && line.contains("Grant dynamodb:PutItem"), "{line}");
    proxy.forward_all();

    consumer.wait_for_line(RECOVERED).await;
    assert_all_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn an_outage_is_logged_again_when_its_cause_changes() {
    let pipeline = Pipeline::new().await;
    let writes = AtomicU32::new(0);
    let denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:PutItem", "");
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        let unavailable = || http(503, "", "");
        let is_first = || writes.fetch_add(1, Ordering::Relaxed) < 10;
        is_write(request).then(|| if is_first() { unavailable() } else { denied.clone() })
    });
    let proxy = proxy.await;
    pipeline.publish(valid_scans(0..9)).await;
    let mut consumer = through(&pipeline, &proxy).start();

    assert!(consumer.wait_for_line(UNHEALTHY).await.contains("HTTP 503"));
    let line = consumer.wait_for_line(STILL_UNHEALTHY).await;
    assert!(line.contains("Grant dynamodb:PutItem") && line.contains(r#""error.type":"Permission""#), "{line}");
    proxy.forward_all();

    consumer.wait_for_line(RECOVERED).await;
    assert_all_stored(&pipeline, consumer, 9).await;
}

#[tokio::test]
async fn scans_for_a_deleted_table_are_stored_when_it_is_created_again() {
    let pipeline = Pipeline::new().await;
    let mut consumer = pipeline.consumer().start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.dynamo.client.delete_table().table_name(&pipeline.table).send().await.expect("the table is deleted");

    pipeline.publish(valid_scans(0..20)).await;

    let line = consumer.wait_for_line(UNHEALTHY).await;
    let command = format!("mini-scan setup table --table {}", pipeline.table);
    assert!(line.contains("ResourceNotFoundException") && line.contains(&command), "{line}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    consumer.wait_for_line(RECOVERED).await;
    assert_all_stored(&pipeline, consumer, 20).await;
}

#[tokio::test]
async fn single_server_errors_are_retried_and_are_not_an_outage() {
    let pipeline = Pipeline::new().await;
    let writes = AtomicU32::new(0);
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        let fails = is_write(request) && writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        fails.then(|| http(500, "", ""))
    });
    let proxy = proxy.await;
    pipeline.publish(valid_scans(0..50)).await;
    // With one write at a time there are never eight errors in a row, which would open the circuit breaker.
    let consumer = through(&pipeline, &proxy).arguments(["--max-outstanding", "1", "--consumers", "1"]).start();

    pipeline.rows(50).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;

    assert!(!exit.output.stderr.iter().any(|line| line.contains(UNHEALTHY)), "{:#?}", exit.output);
    assert_eq!(exit.output.stdout, ["Consumer stopped. Final stats - Processed: 50, Failed: 0"]);
}

#[tokio::test]
async fn a_hot_key_delays_no_other_key() {
    let pipeline = Pipeline::new().await;
    let throttled = error(400, "ThrottlingException", "Throughput exceeds the current capacity", HOT_KEY);
    let throttles = watch::Sender::new(0);
    let mut throttled_writes = throttles.subscribe();
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        writes_key(request, 0).then(|| {
            throttles.send_modify(|throttles| *throttles += 1);
            throttled.clone()
        })
    });
    let proxy = proxy.await;
    pipeline.publish(valid_scans(0..50)).await;
    let consumer = through(&pipeline, &proxy).start();

    assert_eq!(pipeline.rows(49).await.len(), 49);
    // Eight failures in a row would open the circuit breaker.
    let eight = with_timeout("eight throttled writes", throttled_writes.wait_for(|throttles| *throttles >= 8)).await;
    drop(eight.expect("the proxy runs"));
    proxy.forward_all();

    let output = assert_all_stored(&pipeline, consumer, 50).await;
    assert!(!output.stderr.iter().any(|line| line.contains(UNHEALTHY)), "{output:#?}");
}

#[tokio::test]
async fn an_unknown_error_for_some_keys_is_logged_and_causes_no_dead_letters() {
    const UNKNOWN: usize = 3;
    let pipeline = Pipeline::new().await;
    let unknown = error(400, "NeverHeardOfException", "something new", "");
    let proxy = Proxy::before(&pipeline.dynamo.endpoint, move |request| {
        (0..UNKNOWN).any(|key| writes_key(request, key)).then(|| unknown.clone())
    });
    let proxy = proxy.await;
    let mut consumer = through(&pipeline, &proxy).start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.publish(valid_scans(0..UNKNOWN)).await;

    // Other keys are stored meanwhile. Without a success between them the errors would be an outage.
    let (mut published, is_logged) = (UNKNOWN, Cell::new(false));
    let others = async {
        while !is_logged.get() {
            pipeline.publish(valid_scans(published..published + 1)).await;
            published += 1;
            pipeline.rows(published - UNKNOWN).await;
        }
    };
    let logged = async {
        let line = consumer.wait_for_line("some writes").await;
        is_logged.set(true);
        line
    };
    let (line, ()) = tokio::join!(logged, others);

    assert!(line.contains("NeverHeardOfException: something new") && line.contains("docs/errors.md"), "{line}");
    proxy.forward_all();
    assert_all_stored(&pipeline, consumer, published).await;
}

#[tokio::test]
async fn clock_skew_is_corrected_after_the_first_response() {
    // The service's clock is in 2040, and it accepts only signatures of that year.
    let service = Proxy::before("http://nowhere", |request| {
        let is_current = request.to_ascii_lowercase().contains("x-amz-date: 2040");
        let response = if is_current {
            http(200, "application/x-amz-json-1.0", "{}")
        } else {
            error(400, "InvalidSignatureException", "Signature expired: 2026 is now earlier than 2040", "")
        };
        let date = "date: Sun, 01 Jan 2040 12:00:00 GMT\r\nx-amzn-requestid: 1\r\n";
        Some(response.replacen("\r\n", &format!("\r\n{date}"), 1))
    });
    let service = service.await;
    let scans = at(&service.url);

    let first = with_timeout("a result", scans.put(&scan())).await;
    let second = with_timeout("a result", scans.put(&scan())).await;

    assert_eq!(first.expect_err("the signature has the local time").kind, StoreErrorKind::Clock);
    assert_eq!(second, Ok(Put::Stored));
}

#[tokio::test]
async fn credentials_may_take_longer_than_the_timeout_of_an_attempt() {
    let pipeline = Pipeline::new().await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = home.path().join("config");
    let json = r#"{\"Version\":1,\"AccessKeyId\":\"SLOW\",\"SecretAccessKey\":\"secret\"}"#;
    let script = home.path().join("script.sh");
    std::fs::write(&script, format!("sleep 4; echo \"{json}\"\n")).expect("a file");
    std::fs::write(&config, format!("[default]\ncredential_process = sh {}\n", script.display())).expect("a file");
    pipeline.publish(valid_scans(0..20)).await;

    let consumer = pipeline.consumer().env("AWS_CONFIG_FILE", &config.display().to_string()).start();

    assert_all_stored(&pipeline, consumer, 20).await;
}
