//! The web page, as a browser without scripts receives it.

use mini_scan::scan::Scan;
use reqwest::redirect::Policy;

use super::{Api, binary, launch};
use crate::hosts::{Table, scan};
use crate::support::program::mini_scan;
use crate::support::with_timeout;

/// A page with its status and headers.
pub(crate) struct Page {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) html: String,
}

pub(crate) async fn open(api: &Api, path: &str) -> Page {
    let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
    let response = with_timeout("a page", client.get(format!("{}{path}", api.url)).send()).await.expect("a response");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Page { status, headers, html: response.text().await.expect("a page") }
}

/// Returns where the page's link to the next page leads.
fn next(page: &Page, path: &str) -> Option<String> {
    let (_, rest) = page.html.split_once("rel=\"next\" href=\"")?;
    Some(format!("{path}{}", rest.split('"').next()?.replace("&amp;", "&")))
}

#[tokio::test]
async fn a_search_leads_to_a_url_that_can_be_linked() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    for (search, url) in [
        ("1.1.1.7", "/hosts/1.1.1.7"),
        ("%20::ffff:1.1.1.7%20", "/hosts/1.1.1.7"),
        ("1.1.1.7:443", "/hosts/1.1.1.7?port=443"),
        ("%5B2001:db8::7%5D:443", "/hosts/2001:db8::7?port=443"),
        ("1.1.1.9/24", "/networks/1.1.1.0/24"),
    ] {
        let page = open(&api, &format!("/?q={search}")).await;
        assert_eq!((page.status, page.headers["location"].to_str().expect("text")), (303, url), "{search}");
    }
    let home = open(&api, "/").await;
    assert!(home.status == 200 && home.html.contains("<input") && home.html.contains("1.1.1.0/24"), "{}", home.html);
}

#[tokio::test]
async fn hostile_responses_are_shown_harmlessly() {
    let table = Table::new().await;
    let script = Scan { response: "<script>alert(1)</script>\u{1b}[2J".to_owned(), ..scan("1.1.1.7", 80, "<b>&\"'") };
    table.store([script, binary("1.1.1.7", 443)]).await;
    let api = Api::of(&table).await;
    for path in ["/hosts/1.1.1.7", "/hosts/1.1.1.7/services/80/%3Cb%3E&%22'", "/networks/1.1.1.0/24"] {
        let Page { status, headers, html } = open(&api, path).await;
        assert_eq!(
            (status, headers["content-type"].to_str().expect("text")),
            (200, "text/html; charset=utf-8"),
            "{html}"
        );
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && headers["x-content-type-options"] == "nosniff", "{policy}");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(!html.contains("<b>") && !html.contains('\u{1b}') && html.contains("&lt;b&gt;&amp;&quot;"), "{html}");
    }
    let host = open(&api, "/hosts/1.1.1.7").await.html;
    assert!(host.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[2J"), "{host}");
    assert!(host.contains("61 ff") && host.contains("stale") && host.contains("2025-02-23 08:08:45 UTC"), "{host}");
    for asset in ["/assets/page.css", "/assets/page.js"] {
        assert_eq!(open(&api, asset).await.status, 200);
    }
}

#[tokio::test]
async fn every_service_is_reached_by_the_links_to_the_next_page() {
    let table = Table::new().await;
    table.store((1..=5).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let api = Api::of(&table).await;
    for path in ["/hosts/1.1.1.7", "/networks/1.1.1.0/24"] {
        let mut page = open(&api, &format!("{path}?page_size=2")).await;
        let mut html = page.html.clone();
        while let Some(url) = next(&page, path) {
            page = open(&api, &url).await;
            assert_eq!(page.status, 200, "{}", page.html);
            html.push_str(&page.html);
        }
        for port in 1..=5 {
            let link = format!("href=\"/hosts/1.1.1.7/services/{port}/HTTP\"");
            assert_eq!(html.matches(&link).count(), 1, "{link}: {html}");
        }
    }
    let filtered = open(&api, "/hosts/1.1.1.7?port=3").await.html;
    assert!(filtered.contains("services/3/HTTP") && !filtered.contains("services/4/HTTP"), "{filtered}");
}

#[tokio::test]
async fn an_empty_result_and_an_error_help() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    for (path, status, help) in [
        ("/hosts/1.1.1.7", 404, "There is no record of this address"),
        ("/hosts/x", 400, "neither IPv4 nor IPv6"),
        ("/?q=x", 400, "1.1.1.0/24"),
        ("/networks/1.0.0.0/8", 400, "mini-scan export"),
        ("/networks/1.1.1.0/24", 200, "No address of this network has a record"),
        ("/hosts/1.1.1.7?page_token=x", 400, "page token"),
        ("/hosts/1.1.1.7/services/80/HTTP", 404, "There is no such record"),
    ] {
        let page = open(&api, path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.html.contains(help) && page.html.contains("<input"), "{path}: {}", page.html);
    }
}

#[tokio::test]
async fn a_browser_asks_for_the_token_as_a_password() {
    let table = Table::new().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("tokens").to_str().expect("UTF-8").to_owned();
    let exit = mini_scan(["api", "token", "person", "--tokens-file", &file]).run().await;
    let api = Api::start(launch(&table).arguments(["--tokens-file", &file, "--allow-writes"])).await;
    let page = open(&api, "/").await;
    assert!(page.status == 401 && page.headers["www-authenticate"].to_str().expect("text").starts_with("Basic "));
    let with_password = async |path: &str| {
        let get = api.client.get(format!("{}{path}", api.url)).basic_auth("anyone", Some(&exit.output.stdout[0]));
        get.send().await.expect("a response").status().as_u16()
    };
    assert_eq!(with_password("/").await, 200);
    // Another site could make a browser send the password to an endpoint that writes.
    assert_eq!(with_password("/v1/hosts/1.1.1.7").await, 401);
}
