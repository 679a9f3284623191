//! Parts of a request, whose errors are problems.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::{INVALID_REQUEST, Problem, SLOW_BODY, TOO_LARGE};

/// A slow client is no failure of the server, and must not keep a permit for long.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The parameters of the query. A parameter that the type does not have is an error if the type denies unknown fields.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

/// The parameters of the path, percent-decoded.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

/// The whole body.
#[derive(Debug, Clone)]
pub struct Body(pub axum::body::Bytes);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Query(query.0)).map_err(|rejection| Problem::new(&INVALID_REQUEST, rejection.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Path(path.0)).map_err(|rejection| Problem::new(&INVALID_REQUEST, rejection.body_text()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body, Problem> {
        let body = timeout(BODY_TIMEOUT, axum::body::Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| Problem::new(&SLOW_BODY, "the body did not arrive within 5 s"))?;
        body.map(Body).map_err(|rejection: BytesRejection| {
            let detail = rejection.body_text();
            match rejection.into_response().status().as_u16() {
                413 => Problem::new(&TOO_LARGE, detail),
                _ => Problem::new(&INVALID_REQUEST, detail),
            }
        })
    }
}
