//! `event-pipeline routes`.

use aws_sdk_dynamodb::types::AttributeValue;

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

/// 32 bytes in base64.
const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[tokio::test]
async fn a_target_is_added_listed_and_removed() {
    let servers = Servers::set_up().await;
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), KEY).unwrap();
    let url = "https://hooks.example.com/token";
    let flags = ["routes", "add", "acme", url, "--event-type", "a", "--secret-key-file", key.path().to_str().unwrap()];
    let added = event_pipeline(flags).against(&servers).succeed().await;
    assert!(added.stdout[1].starts_with("Signing secret: whsec_"), "{added:#?}");
    let further = ["routes", "add", "acme", "https://audit.example.com/", "--name", "audit", "--json"];
    let further = event_pipeline(further).against(&servers).succeed().await;
    assert!(further.stdout[0].contains(r#""secret":null"#), "{further:#?}");

    let list = event_pipeline(["routes", "list"]).against(&servers).succeed().await;
    let expected = [
        "CLIENT  TARGET  URL                          EVENT TYPES  SIGNED  STATE",
        "acme    audit   https://audit.example.com/   all          no      active",
        "acme    main    https://hooks.example.com/…  a            yes     active",
    ];
    assert_eq!(list.stdout, expected);
    for name in ["main", "audit"] {
        event_pipeline(["routes", "remove", "acme", "--name", name]).against(&servers).succeed().await;
    }
    let again = event_pipeline(["routes", "remove", "acme"]).against(&servers).run().await;
    assert_eq!(again.code, Some(1));
    let count = servers.dynamo.client.scan().table_name("routes").send().await.unwrap().count;
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_row_of_a_script_is_listed_and_one_that_is_no_route_is_named() {
    let servers = Servers::set_up().await;
    for (client, url) in
        [("acme", AttributeValue::S("http://mock-sink:8080/".to_owned())), ("bad", AttributeValue::Bool(true))]
    {
        let put = servers.dynamo.client.put_item().table_name("routes");
        put.item("client_id", AttributeValue::S(client.to_owned())).item("target_url", url).send().await.unwrap();
    }
    let exit = event_pipeline(["routes", "list", "--json"]).against(&servers).run().await;
    assert_eq!((exit.code, exit.output.stdout.len()), (Some(3), 1), "{exit:#?}");
    assert!(exit.output.stdout[0].contains(r#""client_id":"acme""#), "{exit:#?}");
    assert!(exit.output.stderr.join("\n").contains("client \"bad\""), "{exit:#?}");
}

#[tokio::test]
async fn a_url_that_the_policy_refuses_is_wrong_usage_with_the_flag_that_allows_it() {
    for (url, advice) in [
        ("http://hooks.example.com/", "--allow-http"),
        ("https://10.0.0.1/", "--allow-target HOST:PORT"),
        ("https://hooks.example.com:25/", "--target-ports"),
        ("https://user:password@hooks.example.com/", "Put a secret into the path"),
    ] {
        let exit = event_pipeline(["routes", "add", "acme", url]).run().await;
        assert_eq!(exit.code, Some(2), "{url}");
        assert!(exit.output.stderr.join("\n").contains(advice), "{url}: {exit:#?}");
    }
    let allowed = ["--allow-http", "--allow-target", "mock-sink:8080"];
    let servers = Servers::set_up().await;
    let add = ["routes", "add", "acme", "http://mock-sink:8080/"].into_iter().chain(allowed);
    event_pipeline(add).against(&servers).succeed().await;
    for flags in [&["routes", "add", "", "https://a.example/"][..], &["routes", "remove", "acme", "--name", "a.b"]] {
        assert_eq!(event_pipeline(flags.iter().copied()).run().await.code, Some(2), "{flags:?}");
    }
}
