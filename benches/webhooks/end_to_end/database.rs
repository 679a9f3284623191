//! Writes of records, by bare requests: this crate has no client of DynamoDB.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

pub(crate) const TABLE: &str = "scan-results";
/// Local servers require its form, and check no signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=local/20261122/us-east-1/dynamodb/aws4_request, \
    SignedHeaders=host;x-amz-date;x-amz-target, Signature=00";
const FIRST_SCAN: u64 = 1_740_000_000;

pub(super) struct Database {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

/// Returns the address of a service. Each change is of another service.
pub(super) fn ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number)
}

impl Database {
    pub(super) fn connect(address: SocketAddr) -> Database {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Database { client: Client::builder(TokioExecutor::new()).build(tcp), address }
    }

    /// Stores a new record.
    pub(super) async fn put(&self, number: u32) -> anyhow::Result<()> {
        let ip = ip(number);
        let item = json!({
            "pk": { "S": format!("{ip}#80#HTTP") },
            "ip": { "S": ip.to_string() },
            "port": { "N": "80" },
            "service": { "S": "HTTP" },
            "timestamp": { "N": (FIRST_SCAN + u64::from(number)).to_string() },
            "response": { "S": "HTTP/1.1 200 OK\r\nserver: bench\r\n\r\n" },
            "data_version": { "N": "2" },
        });
        let request = Request::post(format!("http://{}/", self.address))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "DynamoDB_20120810.PutItem")
            .header("x-amz-date", "20261122T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(Full::from(json!({ "TableName": TABLE, "Item": item }).to_string()))?;
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        ensure!(head.status.is_success(), "a write failed: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
