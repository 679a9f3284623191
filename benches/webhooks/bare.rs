//! The bare loop: it signs and posts with the client of the crate `webhooks`, with the same settings, and nothing else.

use std::time::UNIX_EPOCH;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use webhooks::{Clock, EndpointId, SIGNATURE, SIGNED_ID, Secret, SenderSettings, Signer, SystemClock, TIMESTAMP};

use crate::deliveries::{body, endpoint_id, secret, tls, webhook_id};
use crate::load::{Figures, Load, Poster, measure};

struct Bare {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoints: Vec<(EndpointId, hyper::Uri)>,
    secret: Secret,
    body: Bytes,
}

pub(crate) async fn run(load: Load) -> anyhow::Result<Figures> {
    let settings = SenderSettings::default();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1();
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.max_idle_per_host)
        .build(connector.wrap_connector(tcp));
    let endpoints = load.urls.iter().enumerate().map(|(number, url)| anyhow::Ok((endpoint_id(number), url.parse()?)));
    let endpoints: Vec<_> = endpoints.collect::<Result<_, _>>()?;
    let count = endpoints.len();
    measure(Bare { client, endpoints, secret: secret(), body: body() }, count).await
}

impl Poster for Bare {
    async fn post(&self, endpoint: usize, number: u64) -> anyhow::Result<()> {
        let (endpoint, uri) = &self.endpoints[endpoint];
        let id = webhook_id(number, endpoint);
        let timestamp = SystemClock.now().duration_since(UNIX_EPOCH)?.as_secs();
        let request = Request::post(uri.clone())
            .header(SIGNATURE, Signer::new([&self.secret]).sign(id.as_str(), timestamp, &self.body))
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "bare")
            .header(SIGNED_ID, id.as_str())
            .header(TIMESTAMP, timestamp)
            .body(Full::new(self.body.clone()))?;
        let response = self.client.request(request).await?;
        ensure!(response.status().is_success(), "the receiver answered {}", response.status());
        response.into_body().collect().await?;
        Ok(())
    }
}
