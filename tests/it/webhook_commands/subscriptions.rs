//! The life of a subscription, and wrong inputs.

use serde_json::{Value, json};
use webhooks::Secret;

use super::{Tables, all, id};
use crate::support::program::mini_scan;
use crate::support::webhook_receiver::{Behaviour, Receiver};

#[tokio::test]
async fn a_subscription_is_added_changed_and_removed_and_its_secret_is_shown_once() {
    let tables = Tables::new().await;
    let receiver = Receiver::start(Behaviour::Answer(204, "")).await;
    let (url, target) = (receiver.url("/p4th?t=t0ken"), receiver.host());
    let guard = ["--allow-http", "--allow-target", &target];
    let filter = ["--network", "1.1.1.7/16", "--port", "443,80", "--event", "scan.opened", "--service", "HTTP"];
    let mut added = tables.add(["--url", &url].into_iter().chain(guard).chain(filter)).await;
    let first = added["secret"].take().as_str().expect("a secret").to_owned();
    let id = id(&added).to_owned();
    assert_eq!((&added["url"], &added["owner"], &added["status"]), (&json!(url), &json!("operator"), &json!("active")));
    assert_eq!((&added["networks"], &added["ports"]), (&json!(["1.1.0.0/16"]), &json!([80, 443])));

    let test = ["test", &id].into_iter().chain(guard);
    assert!(tables.run(test.clone()).await.starts_with("Accepted after "));
    let rotated = tables.run(["rotate", &id]).await;
    let second = rotated.lines().last().expect("a secret").to_owned();
    assert!(second.starts_with("whsec_") && second != first);
    tables.run(test.clone()).await;
    tables.run(["rotate", &id, "--keep", "0s"]).await;
    tables.run(test.clone()).await;
    let received = receiver.received();
    let signed_by = |secret: &str| {
        let secret = Secret::parse(secret).expect("a secret");
        received.iter().map(|it| it.is_signed_by(&secret)).collect::<Vec<_>>()
    };
    assert_eq!((signed_by(&first), signed_by(&second)), (vec![true, true, false], vec![false, true, false]));
    let body: Value = serde_json::from_slice(&received[0].body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]["subscription"]), (&json!("scan.test"), &json!(id)));

    let (list, show) = (tables.run(["list"]).await, tables.run(["show", &id]).await);
    assert!(list.contains(&id) && list.contains(&format!("http://{target}")), "{list}");
    assert!(!list.contains("p4th") && !list.contains("t0ken"), "{list}");
    assert!(show.contains(&url) && show.contains("networks 1.1.0.0/16"), "{show}");
    let mut outputs = vec![list, show];
    for (command, status) in [("pause", "paused"), ("resume", "active")] {
        outputs.push(tables.run([command, &id]).await);
        let shown = tables.json(["show", &id]).await.remove(0);
        assert_eq!(shown["status"], status);
        outputs.push(shown.to_string());
    }
    outputs.push(tables.run(["list", "--json"]).await);
    for output in &outputs {
        assert!(!output.contains("whsec_") && !output.contains("secret\":"), "{output}");
    }
    assert_eq!(tables.json(["list", "--owner", "somebody"]).await, Vec::<Value>::new());
    tables.run(["remove", &id]).await;
    let exit = tables.webhooks(["show", &id]).run().await;
    assert_eq!(exit.code, Some(1));
    assert!(all(&exit).contains("there is no subscription"), "{exit:#?}");
}

#[tokio::test]
async fn a_test_that_is_not_accepted_fails_and_shows_a_hostile_answer_escaped() {
    let tables = Tables::new().await;
    let receiver = Receiver::start(Behaviour::Answer(302, "no\u{1b}[2J\nthanks")).await;
    let (url, target) = (receiver.url("/"), receiver.host());
    let guard = ["--allow-http", "--allow-target", &target];
    let added = tables.add(["--url", &url].into_iter().chain(guard)).await;
    let exit = tables.webhooks(["test", id(&added)].into_iter().chain(guard)).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.output.stdout[0].contains("status 302"), "{exit:#?}");
    assert_eq!(exit.output.stdout[1], "Answer: no\\u{1b}[2J\\nthanks");
    // Without the flags, the guard refuses the stored URL.
    let exit = tables.webhooks(["test", id(&added)]).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(all(&exit).contains("the guard refused the target: the URL must start with https://"), "{exit:#?}");
    assert_eq!(receiver.received().len(), 1);
}

/// None of these reaches the table, so no server is needed.
#[tokio::test]
async fn a_url_that_leads_elsewhere_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("the key is written");
    let key = key.to_str().expect("a path in UTF-8");
    let internal = "the address is not on the internet";
    let metadata = "it is never allowed";
    for (url, why) in [
        ("http://169.254.169.254/", "--allow-http"),
        ("https://169.254.169.254/", metadata),
        ("https://[::ffff:10.0.0.1]/", internal),
        ("https://[fe80::1%25eth0]/", "the URL is not valid"),
        ("https://2130706433/", internal),
        ("https://0177.0.0.1/", internal),
        ("https://0x7f.1/", internal),
        ("https://user:hunter2@example.com/", "must not contain a user name"),
        ("https://example.com:22/", "--webhook-ports"),
        ("ftp://example.com/", "must start with https://"),
        ("hooks", "the URL is not valid"),
    ] {
        let exit = mini_scan(["webhooks", "add", "--url", url, "--secret-key-file", key]).run().await;
        assert_eq!(exit.code, Some(2), "{url}: {exit:#?}");
        assert!(all(&exit).contains(why) && !all(&exit).contains("hunter2"), "{url}: {exit:#?}");
    }
    let metadata_target =
        ["--allow-http", "--allow-target", "169.254.169.254:80", "--allow-networks", "169.254.0.0/16"];
    let add = mini_scan(["webhooks", "add", "--url", "http://169.254.169.254/", "--secret-key-file", key]);
    let exit = add.arguments(metadata_target).run().await;
    assert!(exit.code == Some(2) && all(&exit).contains(metadata), "{exit:#?}");
}

#[tokio::test]
async fn wrong_values_and_a_missing_key_are_refused() {
    let add = ["webhooks", "add", "--url", "https://example.com/"];
    for (arguments, why) in [
        (&[][..], "--secret-key-file"),
        (&["--secret-key-file", "missing"][..], "missing"),
        (&["--network", "1.1.1.1/33"][..], "expected a network"),
        (&["--event", "scan.test"][..], "expected scan.opened"),
        (&["--port", "65536"][..], "65536"),
        (&["--max-concurrency", "0"][..], "1..=100"),
        (&["--max-per-second", "0"][..], "1 to 10000"),
        (&["--owner", "a b"][..], "digits and"),
        (&["--service", ""][..], "the filter is refused"),
    ] {
        let exit = mini_scan(add).arguments(arguments.iter().copied()).run().await;
        assert_eq!(exit.code, Some(2), "{arguments:?}: {exit:#?}");
        assert!(all(&exit).contains(why), "{arguments:?}: {exit:#?}");
    }
    let exit = mini_scan(["webhooks", "show", "7"]).run().await;
    assert!(exit.code == Some(2) && all(&exit).contains("begins with wh_"), "{exit:#?}");
}

#[tokio::test]
async fn a_missing_table_is_an_error_with_its_fix() {
    let tables = Tables::new().await;
    let exit = tables.webhooks(["list", "--webhooks-table", "missing"]).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let text = all(&exit);
    assert!(text.contains("table missing (--webhooks-table)") && text.contains("mini-scan setup webhooks"), "{text}");
}
