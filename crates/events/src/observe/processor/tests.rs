use tokio::time::advance;

use super::*;

fn settle(metrics: &ProcessorMetrics, client: &str, lag: Duration) {
    let sent = now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - lag;
    metrics.settled(&Settled {
        outcome: Outcome::Stored,
        client: Some(client),
        event_type: Some("order"),
        sent: u64::try_from(sent.as_millis()).unwrap(),
        span: &Span::none(),
    });
}

/// Returns the lines with the lag of a client.
fn lags(metrics: &ProcessorMetrics) -> Vec<String> {
    let mut text = Exposition::default();
    metrics.write(&mut text);
    let page = text.finish();
    page.lines().filter(|line| line.starts_with("event_pipeline_client_lag_seconds{")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn at_most_ten_clients_have_a_lag_and_none_two_minutes_after_their_last_message() {
    let metrics = ProcessorMetrics::default();
    for number in 0..1000 {
        settle(&metrics, &format!("client-{number}"), Duration::from_secs(10 + number));
    }
    let first = lags(&metrics);
    assert_eq!(first.len(), 10);
    assert!((990..1000).all(|number| first.iter().any(|line| line.contains(&format!("\"client-{number}\"")))));

    for number in 0..10 {
        settle(&metrics, &format!("worse-{number}"), Duration::from_secs(5000));
    }
    let second = lags(&metrics);
    assert_eq!(second.len(), 10);
    assert!(
        second.iter().all(|line| line.contains("\"worse-")),
        "a client that leaves the ten is not shown: {second:?}"
    );

    advance(Duration::from_secs(120)).await;
    assert_eq!(lags(&metrics), Vec::<String>::new());
}

#[test]
fn a_hostile_client_adds_neither_a_label_nor_a_line() {
    let metrics = ProcessorMetrics::default();
    settle(&metrics, "a\"} 1\nup{job=\"b\\", Duration::from_secs(60));
    let lines = lags(&metrics);
    assert_eq!(lines.len(), 1);
    let expected = r#"event_pipeline_client_lag_seconds{client_id="a\"} 1\nup{job=\"b\\"} "#;
    assert!(lines[0].starts_with(expected), "{lines:?}");
}
