//! Asks an API of mini-scan, and checks what it answers. An API on another machine is not trusted.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::sleep;

use super::Question;
use crate::changes::TimelineEvent;
use crate::hosts::{MAX_PAGE_SIZE, Record};
use crate::scan::{Key, address, check_service};
use crate::service::SetupError;
use ops::terminal::sanitize;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ATTEMPTS: u32 = 5;
const MAX_WAIT: Duration = Duration::from_secs(10);
const MAX_CHARS: usize = 300;
/// Far more than a page of mini-scan, which ends after 4 MB of responses.
const MAX_BODY_BYTES: usize = 64 << 20;

/// An API, and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    url: String,
    token: Option<String>,
}

impl Api {
    /// Returns what is wrong with a URL that requests cannot extend, without the URL: it may contain a password.
    pub fn new(url: &str, token: Option<String>) -> Result<Api, String> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("write it with its scheme, e.g. http://127.0.0.1:8080".to_owned());
        }
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("it must have no user and no password; pass a token with --api-token-file".to_owned());
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("it must have no query (?) and no fragment (#)".to_owned());
        }
        Ok(Api { url: url.to_owned(), token })
    }
}

pub(super) struct Client {
    http: reqwest::Client,
    api: Api,
}

/// A page of one host or of several.
#[derive(Debug, Deserialize)]
struct Page {
    hosts: Option<Vec<Host>>,
    #[serde(flatten)]
    host: Option<Host>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Host {
    ip: String,
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    port: u16,
    service: String,
    timestamp: u64,
    data_version: u64,
    response: String,
    response_base64: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Events {
    events: Vec<TimelineEvent>,
    next_page_token: Option<String>,
}

/// An error as in RFC 9457.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
}

impl Client {
    pub(super) fn new(api: &Api) -> Result<Client, SetupError> {
        // A redirect could lead the token to another host.
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| SetupError(format!("cannot use HTTP: {error}")))?;
        Ok(Client { http, api: api.clone() })
    }

    /// Returns a page of records, and the token of the next one.
    pub(super) async fn page(
        &self,
        question: &Question,
        token: Option<&str>,
    ) -> Result<(Vec<Record>, Option<String>), SetupError> {
        let size = MAX_PAGE_SIZE.to_string();
        let mut parameters = vec![("page_size", size.as_str())];
        parameters.extend(token.map(|token| ("page_token", token)));
        let request = match question {
            Question::Addresses(ips) => {
                let addresses: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
                let body = serde_json::json!({ "addresses": addresses }).to_string();
                let url = self.url("/v1/hosts/lookup", &parameters)?;
                self.http.post(url).header(CONTENT_TYPE, "application/json").body(body)
            }
            Question::Port(ip, port) => {
                let port = port.to_string();
                parameters.push(("port", &port));
                self.http.get(self.url(&format!("/v1/hosts/{ip}"), &parameters)?)
            }
            Question::Network(network) => self.http.get(self.url(&format!("/v1/networks/{network}"), &parameters)?),
        };
        let Some(body) = self.send(request).await? else { return Ok((Vec::new(), None)) };
        let page: Page = serde_json::from_slice(&body).map_err(|error| self.invalid(&error.to_string()))?;
        if page.hosts.is_none() && page.host.is_none() {
            return Err(self.invalid("its page has no host"));
        }
        let records = page.hosts.into_iter().flatten().chain(page.host).flat_map(records);
        let records = records.collect::<Result<_, _>>().map_err(|why| self.invalid(&why))?;
        Ok((records, page.next_page_token))
    }

    /// Returns a page of the events of an address, the newest first, and the token of the next page.
    pub(super) async fn events(
        &self,
        ip: IpAddr,
        with_bodies: bool,
        token: Option<&str>,
    ) -> Result<(Vec<TimelineEvent>, Option<String>), SetupError> {
        let size = MAX_PAGE_SIZE.to_string();
        let mut parameters = vec![("order", "desc"), ("page_size", size.as_str())];
        parameters.extend(with_bodies.then_some(("with", "response")));
        parameters.extend(token.map(|token| ("page_token", token)));
        let request = self.http.get(self.url(&format!("/v1/hosts/{ip}/timeline"), &parameters)?);
        let Some(body) = self.send(request).await? else { return Ok((Vec::new(), None)) };
        let page: Events = serde_json::from_slice(&body).map_err(|error| self.invalid(&error.to_string()))?;
        Ok((page.events, page.next_page_token))
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, SetupError> {
        let text = format!("{}{path}", self.api.url.trim_end_matches('/'));
        let url = Url::parse_with_params(&text, parameters);
        url.map_err(|error| SetupError(format!("{} (--api) is no URL: {error}", self.api.url)))
    }

    /// Returns the body, or `None` if nothing was found. Repeats the request when the API asks for that.
    async fn send(&self, request: RequestBuilder) -> Result<Option<Vec<u8>>, SetupError> {
        let request = match &self.api.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        for attempt in 1.. {
            let again = request.try_clone().expect("the body is in memory");
            let mut response = again.send().await.map_err(|error| self.unreachable(&error))?;
            let (status, wait) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
            let body = self.body(&mut response).await?;
            let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            match (status, wait) {
                (StatusCode::OK, _) => return Ok(Some(body)),
                (StatusCode::NOT_FOUND, _) if is_missing_host(&body) => return Ok(None),
                (_, Some(wait)) if attempt < MAX_ATTEMPTS => sleep(wait.min(MAX_WAIT)).await,
                _ => return Err(self.refused(status, &body)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, SetupError> {
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + part.len() > MAX_BODY_BYTES {
                return Err(self.invalid("its response has more than 64 MiB"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> SetupError {
        let cause = ops::cause(error);
        SetupError(format!(
            "the API at {} (--api) does not answer: {cause}\nStart one with `mini-scan api`.",
            self.api.url
        ))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> SetupError {
        let Problem { title, detail } = serde_json::from_slice(body).unwrap_or_default();
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "\nSet a token with the scope read: --api-token-file or MINI_SCAN_API_TOKEN."
            }
            _ => "",
        };
        let text = sanitize(&format!("{} {title}: {detail}", status.as_u16()), MAX_CHARS);
        SetupError(format!("the API at {} (--api) refused the request: {text}{advice}", self.api.url))
    }

    pub(super) fn invalid(&self, why: &str) -> SetupError {
        let why = sanitize(why, MAX_CHARS);
        SetupError(format!("the server at {} (--api) is no API of mini-scan: {why}", self.api.url))
    }
}

/// Not every 404 means that nothing was found: the URL may have no API.
fn is_missing_host(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    serde_json::from_slice(body).is_ok_and(|kind: Kind| kind.r#type.ends_with("host-not-found"))
}

/// Returns the records of a host. A key that no record can have fails.
fn records(host: Host) -> Vec<Result<Record, String>> {
    let Some(ip) = address(&host.ip) else { return vec![Err(format!("`{}` is no address", host.ip))] };
    let record = |found: Service| {
        check_service(&found.service).map_err(|expected| format!("a service has {expected}"))?;
        let bytes = found.response_base64.map(|text| STANDARD.decode(text)).transpose();
        Ok(Record {
            key: Key::new(ip, found.port, &found.service),
            timestamp: found.timestamp,
            data_version: found.data_version,
            response: found.response,
            response_bytes: bytes.map_err(|error| error.to_string())?,
        })
    };
    host.services.into_iter().map(record).collect()
}
