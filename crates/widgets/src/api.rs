//! `widget-registry serve`: the REST API. Turns requests into operations, and their answers into JSON or problems.
//!
//! `http-api` owns what is the same for every API: tokens, limits, problems, page tokens. `registry` owns how an operation
//! is done.

mod answers;
mod associations;
mod batches;
mod bodies;
mod document;
mod headers;
mod problems;
mod requests;
mod watch;
mod widgets;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::routing::{delete, get, post, put};
use http_api::{Guard, Problem, Scope};
use ops::StoreWatch;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::error;

use self::answers::Reply;
use crate::operation::{Operation, Refusal};
use crate::ports::Store;
use crate::registry::{Failure, Registry, RequestKey};

pub use document::openapi;
pub use watch::probe;

/// Operations of all batches in progress at a time. Further ones wait, so that batches do not multiply the limit of requests.
const BATCHED_OPERATIONS: usize = 256;

/// What the handlers share.
pub(crate) struct Api<S> {
    registry: Arc<Registry<S>>,
    watch: Arc<StoreWatch>,
    batched: Semaphore,
}

impl<S: Store> Api<S> {
    async fn run(&self, operation: &Operation, key: Option<&RequestKey>, deadline: Instant) -> Reply {
        match self.registry.run(operation, key, deadline).await {
            Ok(answered) => {
                if let Err(contradiction @ Refusal::Contradiction { .. }) = &answered.answer {
                    error!(%contradiction, operation = operation.name(), "two widgets contradict each other");
                }
                Reply::from(answered)
            }
            Err(failure) => Reply::from(self.problem(&failure)),
        }
    }

    fn problem(&self, failure: &Failure) -> Problem {
        self.watch.log(watch::error_of(failure).kind.name(), failure);
        problems::of_failure(failure)
    }
}

/// Returns every route, surrounded by the guard.
pub fn router<S: Store>(registry: Arc<Registry<S>>, watch: Arc<StoreWatch>, guard: &Guard) -> Router {
    let api = Arc::new(Api { registry, watch, batched: Semaphore::new(BATCHED_OPERATIONS) });
    let reads =
        Router::new().route("/widgets", get(widgets::list::<S>)).route("/widgets/{serial}", get(widgets::show::<S>));
    let writes = Router::new()
        .route("/widgets", post(widgets::create::<S>))
        .route("/widgets/{serial}", delete(widgets::remove::<S>).patch(widgets::change::<S>))
        .route("/widgets:batch", post(batches::widgets::<S>))
        .route("/widgets/associations", put(associations::connect::<S>))
        .route("/widgets/associations/{serial}/{port}", delete(associations::disconnect::<S>))
        .route("/widgets/associations:batch", post(batches::associations::<S>));
    let routes = guard.protect(reads, Scope::Read).merge(guard.protect_writes(writes, Scope::Write));
    guard.surround(routes.with_state(api).merge(document::routes()))
}

/// Reads the clock. Only the age of page tokens depends on it.
#[expect(clippy::disallowed_methods, reason = "no stored value depends on it")]
fn now() -> SystemTime {
    SystemTime::now()
}
