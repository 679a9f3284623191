//! The pages of a running program.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::program::Program;
use super::with_timeout;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until the program serves its metrics. Returns the address.
pub(crate) async fn http_address(program: &mut Program) -> String {
    let line = program.wait_for_line("serving http://").await;
    let (_, rest) = line.split_once("http://").expect("an address");
    rest.split('/').next().expect("an address").to_owned()
}

/// Returns the status and the body of a page.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the program listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the program reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the program answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer)
}

/// Waits until the program is ready or unready.
pub(crate) async fn until_ready(address: &str, is_ready: bool) {
    let reached = async {
        while (get(address, "/readyz").await.0 == 200) != is_ready {
            sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(&format!("ready: {is_ready}"), reached).await;
}

/// Returns the value of a metric without labels.
pub(crate) async fn metric(address: &str, name: &str) -> f64 {
    let (_, page) = get(address, "/metrics").await;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name}: {page}"))
}
