//! `mini-scan api`: the REST API of the records. Turns requests into calls of `hosts`, and results into JSON or problems.
//!
//! `http-api` owns what is the same for every API: tokens, limits, problems, page tokens.

mod bodies;
mod document;
mod pages;
mod problems;
mod queries;
mod reads;
mod timeline;
mod watch;
mod webhooks;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::{delete, get, post};
use http_api::{Guard, Problem, Scope};
use ops::StoreWatch;

use self::bodies::{Past, Service};
use crate::changes::PastReader;
use crate::hosts::{self, Hosts, Record, Records, WriteSettings};
use crate::scan::{Key, to_unix_seconds};

pub use document::openapi;
pub use watch::probe;
pub use webhooks::{Webhooks, webhooks_router};

/// The settings of the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A record is stale if its scan is older than this.
    pub stale_after: Duration,
    /// The endpoints that write exist only with these.
    pub writes: Option<WriteSettings>,
}

/// What the handlers share.
pub(crate) struct Api<R> {
    hosts: Hosts<R>,
    history: Option<PastReader>,
    settings: Settings,
    watch: Arc<StoreWatch>,
}

impl<R: Records> Api<R> {
    fn problem(&self, error: hosts::Error) -> Problem {
        self.watch.log(error.kind.name(), &error);
        problems::of_store(&error)
    }

    fn history(&self) -> Result<&PastReader, Problem> {
        self.history.as_ref().ok_or_else(problems::no_history)
    }

    fn history_problem(&self, error: hosts::Error) -> Problem {
        self.watch.log(error.kind.name(), &error);
        problems::of_history(&error)
    }

    /// Returns what the history knows of these services.
    async fn past(&self, history: &PastReader, services: Vec<Key>) -> Result<HashMap<Key, Past>, Problem> {
        let summaries = history.summaries(&services).await.map_err(|error| self.history_problem(error))?;
        Ok(summaries.into_iter().map(|(service, summary)| (service, Past::from(&summary))).collect())
    }

    fn is_stale(&self, record: &Record, now: SystemTime) -> bool {
        let now = to_unix_seconds(now);
        record.timestamp.saturating_add(self.settings.stale_after.as_secs()) < now
    }

    fn service(&self, record: Record, now: SystemTime) -> Service {
        let is_stale = self.is_stale(&record, now);
        Service::of(record, is_stale)
    }
}

/// Returns every route, surrounded by the guard. `webhooks` has those of webhooks, if they are served.
pub fn router<R: Records>(
    hosts: Hosts<R>,
    history: Option<PastReader>,
    settings: Settings,
    webhooks: Router,
    watch: Arc<StoreWatch>,
    guard: &Guard,
) -> Router {
    let api = Arc::new(Api { hosts, history, settings, watch });
    let reads = Router::new()
        .route("/v1/hosts/{ip}", get(reads::host::<R>))
        .route("/v1/hosts/{ip}/services/{port}/{service}", get(reads::record::<R>))
        .route("/v1/hosts/{ip}/timeline", get(timeline::timeline::<R>))
        .route("/v1/hosts/lookup", post(reads::lookup::<R>))
        // A network contains a slash, which clients may or may not encode.
        .route("/v1/networks/{*cidr}", get(reads::network::<R>))
        .route("/v1/services", get(reads::services::<R>));
    let mut routes = guard.protect(reads, Scope::Read);
    if settings.writes.is_some() {
        let writes = Router::new()
            .route("/v1/scans", post(writes::scans::<R>))
            .route("/v1/hosts/{ip}/services/{port}/{service}", delete(writes::forget::<R>));
        routes = routes.merge(guard.protect_writes(writes, Scope::Write));
    }
    let routes = routes.merge(guard.protect_pages(pages::routes(), Scope::Read));
    guard.surround(routes.with_state(api).merge(webhooks).merge(document::routes()).merge(pages::assets()))
}

/// Reads the clock. Only the age of records, page tokens and the arrival of scans depend on it.
#[expect(clippy::disallowed_methods, reason = "no stored value depends on it, except the bound on future timestamps")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Parses the parts of a key in a path.
fn key(ip: &str, port: &str, service: &str) -> Result<Key, Problem> {
    let port = queries::port(port)?;
    let ip = queries::ip(ip)?;
    queries::check_service(service)?;
    Ok(Key::new(ip, port, service))
}
