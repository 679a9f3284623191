//! The screenshots of the documentation. `make screenshots` keeps them.

use std::path::PathBuf;

use super::driver::browse;
use super::records::{HOST, neighbours, records};
use crate::api::Api;
use crate::hosts::Table;

/// The most bytes of a screenshot, because every clone of the repository has it.
const MOST_BYTES: u64 = 150_000;

#[expect(clippy::disallowed_methods, reason = "the tests have no flags")]
fn folder() -> Option<PathBuf> {
    std::env::var("MINI_SCAN_SCREENSHOTS").ok().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_screenshots_are_small() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let folder = folder().unwrap_or_else(|| scratch.path().to_owned());
    let table = Table::new().await;
    let records = records().into_iter().filter(|record| !record.response.is_empty());
    table.store(records.chain(neighbours())).await;
    let api = Api::of(&table).await;
    browse(async |browser| {
        for (name, path, [width, height], scale, is_phone, colors) in [
            ("page-host", format!("/hosts/{HOST}"), [860, 1150], 1.0, false, "light"),
            ("page-network", "/networks/198.51.100.0/24".to_owned(), [860, 640], 1.0, false, "light"),
            ("page-phone-dark", format!("/hosts/{HOST}"), [390, 844], 1.5, true, "dark"),
        ] {
            browser.emulate(width, height, scale, is_phone).await;
            browser.prefer(colors).await;
            browser.open(&format!("{}{path}", api.url)).await;
            let file = folder.join(name).with_extension("png");
            browser.draw(&file).await;
            let bytes = file.metadata().expect("a file").len();
            assert!((10_000..MOST_BYTES).contains(&bytes), "{name}: {bytes} bytes");
        }
    })
    .await;
}
