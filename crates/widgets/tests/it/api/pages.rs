//! Lists of widgets, in pages.

use std::collections::BTreeSet;

use super::Api;

#[tokio::test]
async fn pages_list_each_widget_once() {
    let names: Vec<String> = (0..23).map(|number| format!("w {number}")).collect();
    let api = Api::new().await.with(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut listed, mut pages, mut path) = (Vec::new(), 0, "/widgets?page_size=5".to_owned());
    loop {
        let page = api.get(&path).await.is(200).body;
        let widgets = page["widgets"].as_array().expect("widgets");
        assert!(widgets.len() <= 5);
        listed.extend(widgets.iter().map(|it| it["serial_number"].as_str().expect("text").to_owned()));
        pages += 1;
        match page["next_page_token"].as_str() {
            Some(token) => path = format!("/widgets?page_size=5&page_token={token}"),
            None => break,
        }
    }
    assert!(pages >= 5, "{pages}");
    assert_eq!(listed.len(), names.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names.into_iter().collect());
    let all = api.get("/widgets").await.is(200).body;
    assert_eq!(all["widgets"].as_array().map(Vec::len), Some(23));
    assert!(all.get("next_page_token").is_none());
}

#[tokio::test]
async fn parameters_out_of_range_are_refused() {
    let api = Api::new().await;
    for query in ["page_size=0", "page_size=1001", "page_size=-1", "page_size=x", "limit=5", "page_size=1&page_size=2"]
    {
        api.get(&format!("/widgets?{query}")).await.is_problem(400, "invalid-request");
    }
    for token in ["", "x", "AQAAAA", "%ff", "%00"] {
        let answer = api.get(&format!("/widgets?page_token={token}")).await.is(400);
        assert!(["invalid-page-token", "invalid-request"].contains(&answer.problem()), "{token}: {answer:?}");
    }
    for size in [1, 1000] {
        api.get(&format!("/widgets?page_size={size}")).await.is(200);
    }
}
