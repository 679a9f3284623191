//! Surrounds the routes of an API with what every request passes: access, limits, panics, headers, and observation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower_http::cors::CorsLayer;
use tracing::{Instrument, Span};

use crate::access::{Access, authorize, authorize_page};
use crate::in_progress::{InParts, Permit, complete};
use crate::origin::{self, Origin};
use crate::problem::{INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, OVERLOADED, Problem, TIMEOUT};
use crate::tokens::Scope;

/// How long a browser may remember what another site may do.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// A repeated request with the same value has the answer of the first one, if the API supports that.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks the answer of an earlier request.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The status of a request whose client left before the response. It exists only in metrics and traces.
const CLIENT_LEFT: u16 = 499;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of the body to the response.
    pub request_timeout: Duration,
    pub body_bytes: usize,
    /// Requests in progress at a time. One is in progress until its response is sent.
    pub requests: usize,
}

/// Is told of every request and its response. It must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request has arrived. Returns the span around it.
    fn arrived(&self, _: &Arrived<'_>) -> Span {
        Span::none()
    }

    fn responded(&self, request: &Span, responded: &Responded<'_>);
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// The path of the route with the names of its parameters. `None` if no route has the path.
    pub route: Option<&'a str>,
    /// A method of HTTP, or `_OTHER`: a client must not choose the labels of metrics.
    pub method: &'static str,
    pub headers: &'a HeaderMap,
}

/// A request and the kind of its response.
#[derive(Debug, Clone, Copy)]
pub struct Responded<'a> {
    /// As in [`Arrived`].
    pub route: Option<&'a str>,
    /// As in [`Arrived`].
    pub method: &'static str,
    pub status: u16,
    pub took: Duration,
}

/// What surrounds the routes.
#[derive(Clone)]
pub struct Guard {
    access: Arc<Access>,
    limits: Limits,
    requests: Arc<Semaphore>,
    observer: Arc<dyn Observer>,
    /// The other sites whose pages may use this API.
    origins: Arc<[Origin]>,
}

impl Guard {
    pub fn new(access: Access, limits: Limits, observer: Arc<dyn Observer>) -> Guard {
        let requests = Arc::new(Semaphore::new(limits.requests));
        Guard { access: Arc::new(access), limits, requests, observer, origins: Arc::default() }
    }

    /// Allows the pages of these sites to use the API with a token (CORS).
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<Origin>) -> Guard {
        self.origins = origins.into();
        self
    }

    /// Requires a scope for these routes. The handlers can then extract the [`Caller`](crate::Caller) as an extension.
    pub fn protect<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>, scope: Scope) -> Router<S> {
        routes.route_layer(from_fn_with_state((self.access.clone(), scope), authorize))
    }

    /// Requires a scope for these routes, which a person opens in a browser: it asks for the token as a password. Such routes
    /// must not change anything, because a browser sends the password with every request, even if another site causes it.
    pub fn protect_pages<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>, scope: Scope) -> Router<S> {
        routes.route_layer(from_fn_with_state((self.access.clone(), scope), authorize_page))
    }

    /// Requires a scope for these routes, and completes their handlers even if the client leaves.
    pub fn protect_writes<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>, scope: Scope) -> Router<S> {
        self.protect(routes.route_layer(from_fn(complete)), scope)
    }

    /// Surrounds all routes, and answers those that are missing.
    pub fn surround(&self, routes: Router) -> Router {
        let routes = routes
            .fallback(async || Problem::new(&NOT_FOUND, "no endpoint has this path"))
            .method_not_allowed_fallback(async || {
                Problem::new(&METHOD_NOT_ALLOWED, "the endpoint of this path has other methods")
            })
            .layer(DefaultBodyLimit::max(self.limits.body_bytes));
        let routes = if self.origins.is_empty() { routes } else { routes.layer(self.cors()) };
        routes.layer(from_fn_with_state(self.clone(), pass))
    }

    /// A browser never sends a password with the requests of other sites, so the pages that ask for one stay closed to them.
    fn cors(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(self.origins.iter().map(|origin| origin.header().clone()).collect::<Vec<_>>())
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY])
            .expose_headers([ETAG, LOCATION, RETRY_AFTER, IDEMPOTENT_REPLAYED])
            .max_age(PREFLIGHT_AGE)
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        match *self.access {
            Access::Tokens(_) => Ok(()),
            Access::Loopback => origin::check_loopback(request.uri(), headers, &self.origins),
            Access::Everyone => origin::check_origin(request.uri(), headers, &self.origins),
        }
    }

    /// Waits until no request is in progress.
    pub async fn idle(&self) {
        let all = u32::try_from(self.limits.requests).unwrap_or(u32::MAX);
        let _ = self.requests.acquire_many(all).await.expect("the semaphore is never closed");
    }

    async fn respond(&self, mut request: Request, next: Next) -> Response {
        if let Err(problem) = self.check(&request) {
            return problem.into_response();
        }
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            let detail = format!("{} requests are in progress", self.limits.requests);
            return Problem::new(&OVERLOADED, detail).retry_after(1).into_response();
        };
        let permit = Permit(Arc::new(permit));
        request.extensions_mut().insert(permit.clone());
        let response = timeout(self.limits.request_timeout, AssertUnwindSafe(next.run(request)).catch_unwind());
        match response.await {
            Ok(Ok(response)) => response.map(|body| Body::new(InParts::new(body, permit))),
            // The panic hook has logged it.
            Ok(Err(_)) => Problem::new(&INTERNAL, "the program failed; its log has the cause").into_response(),
            Err(_) => {
                let detail = format!("the request took longer than {:?}", self.limits.request_timeout);
                Problem::new(&TIMEOUT, detail).retry_after(1).into_response()
            }
        }
    }
}

/// A request that is reported when it has ended, also if its client leaves before the response.
struct Reported<'a> {
    observer: &'a dyn Observer,
    span: &'a Span,
    route: Option<&'a str>,
    method: &'static str,
    began: Instant,
    status: u16,
}

impl Drop for Reported<'_> {
    fn drop(&mut self) {
        let Reported { route, method, status, .. } = *self;
        self.observer.responded(self.span, &Responded { route, method, status, took: self.began.elapsed() });
    }
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    const SECURITY: [(HeaderName, HeaderValue); 2] = [
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let observer = &*guard.observer;
    let span = &observer.arrived(&Arrived { route, method, headers: request.headers() });
    let mut reported = Reported { observer, span, route, method, began: Instant::now(), status: CLIENT_LEFT };
    let mut response = guard.respond(request, next).instrument(span.clone()).await;
    response.headers_mut().extend(SECURITY);
    reported.status = response.status().as_u16();
    drop(reported);
    response
}

fn name(method: &Method) -> &'static str {
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"];
    NAMES.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use std::pin::Pin;

    use axum::body::HttpBody;
    use axum::routing::{get, post};
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<(Option<String>, u16)>>);

    impl Observer for Seen {
        fn responded(&self, _: &Span, responded: &Responded<'_>) {
            self.0.lock().unwrap().push((responded.route.map(str::to_owned), responded.status));
        }
    }

    const LIMITS: Limits = Limits { request_timeout: Duration::from_secs(1), body_bytes: 4, requests: 1 };

    fn router(access: Access, seen: &Arc<Seen>) -> Router {
        let guard = Guard::new(access, LIMITS, seen.clone());
        let routes = Router::new()
            .route("/a/{b}", get(async || "a"))
            .route("/hang", get(std::future::pending::<String>))
            .route("/panic", get(async || -> String { panic!("a test") }))
            .route("/body", post(async |body: crate::Body| body.0));
        guard.surround(guard.protect(routes, Scope::Read))
    }

    async fn send(router: &Router, method: &str, path: &str, host: &str, body: &'static str) -> Response {
        let request = hyper::Request::builder().method(method).uri(path).header("host", host);
        router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn every_response_is_observed_and_every_failure_is_a_problem() {
        let seen = Arc::<Seen>::default();
        let router = router(Access::Loopback, &seen);
        for (method, path, host, body, status) in [
            ("GET", "/a/1", "localhost", "", 200),
            ("GET", "/a/1", "example.com", "", 403),
            ("GET", "/missing", "localhost", "", 404),
            ("POST", "/a/1", "localhost", "", 405),
            ("GET", "/hang", "localhost", "", 503),
            ("GET", "/panic", "localhost", "", 500),
            ("POST", "/body", "localhost", "1234", 200),
            ("POST", "/body", "localhost", "12345", 413),
        ] {
            let response = send(&router, method, path, host, body).await;
            assert_eq!(response.status(), status, "{method} {path}");
            let is_problem = response.headers().get("content-type").is_some_and(|it| it == "application/problem+json");
            assert_eq!(is_problem, status != 200, "{method} {path}");
            assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        }
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.len(), 8);
        assert_eq!(seen[0], (Some("/a/{b}".to_owned()), 200));
        assert_eq!(seen[2], (None, 404));
    }

    #[tokio::test]
    async fn a_page_of_an_allowed_site_may_write_with_a_key_and_follow_the_location() {
        let guard = Guard::new(Access::Everyone, LIMITS, Arc::<Seen>::default());
        let guard = guard.with_origins(vec!["https://example.com".parse().unwrap()]);
        let router = guard.surround(Router::new().route("/", post(async || "")));
        let request = |method: &str| {
            let request = hyper::Request::builder().method(method).uri("/").header("host", "localhost");
            let request = request.header("origin", "https://example.com");
            let request = request.header("access-control-request-method", "PUT");
            request.header("access-control-request-headers", "idempotency-key").body(Body::empty()).unwrap()
        };
        let preflight = router.clone().oneshot(request("OPTIONS")).await.unwrap();
        let listed = |response: &Response, name: &str| response.headers()[name].to_str().unwrap().to_lowercase();
        assert!(listed(&preflight, "access-control-allow-methods").contains("put"));
        assert!(listed(&preflight, "access-control-allow-headers").contains("idempotency-key"));
        // A request is in progress until its response is sent.
        drop(preflight);
        let response = router.oneshot(request("POST")).await.unwrap();
        let exposed = listed(&response, "access-control-expose-headers");
        assert!(exposed.contains("location") && exposed.contains("idempotent-replayed"), "{exposed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_the_fault_of_the_client() {
        let limits = Limits { request_timeout: Duration::from_secs(10), ..LIMITS };
        let guard = Guard::new(Access::Everyone, limits, Arc::<Seen>::default());
        let router = guard.surround(Router::new().route("/", post(async |body: crate::Body| body.0)));
        let body = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
        let request = hyper::Request::builder().method("POST").uri("/").body(body).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), 408);
    }

    #[tokio::test]
    async fn a_write_is_completed_after_its_client_has_left() {
        let seen = Arc::<Seen>::default();
        let guard = Guard::new(Access::Everyone, LIMITS, seen.clone());
        let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let written = Arc::new(Notify::new());
        let (began_too, go_on_too, written_too) = (began.clone(), go_on.clone(), written.clone());
        let write = async move || {
            began_too.notify_one();
            go_on_too.notified().await;
            written_too.notify_one();
        };
        let router = guard.surround(guard.protect_writes(Router::new().route("/", post(write)), Scope::Write));
        tokio::select! {
            _ = send(&router, "POST", "/", "localhost", "") => unreachable!("the write waits"),
            () = began.notified() => {}
        }
        assert_eq!(seen.0.lock().unwrap()[..], [(Some("/".to_owned()), CLIENT_LEFT)]);
        assert_eq!(send(&router, "POST", "/", "localhost", "").await.status(), 503, "it is still in progress");
        go_on.notify_one();
        guard.idle().await;
        written.notified().await;
    }

    #[tokio::test]
    async fn a_request_is_in_progress_until_its_response_is_sent() {
        let guard = Guard::new(Access::Everyone, LIMITS, Arc::<Seen>::default());
        let router = guard.surround(Router::new().route("/", get(async || "x".repeat(100_000))));
        let mut body = send(&router, "GET", "/", "localhost", "").await.into_body();
        assert_eq!(body.size_hint().exact(), Some(100_000));
        assert_eq!(send(&router, "GET", "/", "localhost", "").await.status(), 503);
        let mut length = 0;
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, 100_000);
        drop(body);
        assert_eq!(send(&router, "GET", "/", "localhost", "").await.status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_too_many_is_refused_at_once() {
        let router = router(Access::Everyone, &Arc::default());
        let (hanging, refused) = tokio::join!(
            send(&router, "GET", "/hang", "example.com", ""),
            send(&router, "GET", "/a/1", "example.com", "")
        );
        assert_eq!((hanging.status().as_u16(), refused.status().as_u16()), (503, 503));
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(send(&router, "GET", "/a/1", "example.com", "").await.status(), 200);
    }
}
