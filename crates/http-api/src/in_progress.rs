//! How long a request is in progress: until its response is sent, and a write until it has ended, even if the client leaves.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

/// The server asks for the next part when it has sent most of the one before.
const PART_BYTES: usize = 64 << 10;

/// The permit of a request. An extension of every request.
#[derive(Debug, Clone)]
pub(crate) struct Permit(
    #[expect(dead_code, reason = "dropping it returns the permit")] pub(crate) Arc<OwnedSemaphorePermit>,
);

/// Runs a handler that writes to its end: its write is complete and logged, even if the client leaves or the request takes
/// too long.
pub(crate) async fn complete(request: Request, next: Next) -> Response {
    let permit = request.extensions().get::<Permit>().cloned();
    let handler = async move {
        let _permit = permit;
        next.run(request).await
    };
    #[expect(clippy::disallowed_methods, reason = "it must outlive its client, and `Guard::idle` waits for it")]
    let handler = tokio::spawn(handler.in_current_span());
    match handler.await {
        Ok(response) => response,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// A body in parts, which keeps the permit of its request until the last part.
pub(crate) struct InParts {
    body: Body,
    part: Bytes,
    _permit: Permit,
}

impl InParts {
    pub(crate) fn new(body: Body, permit: Permit) -> InParts {
        InParts { body, part: Bytes::new(), _permit: permit }
    }
}

impl HttpBody for InParts {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.part.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.part = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.part.len().min(PART_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.part.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let part = self.part.len() as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(part + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(part + upper);
        }
        hint
    }
}
