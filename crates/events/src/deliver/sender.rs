//! Sends webhooks with a span for each attempt.

use std::sync::Arc;

use webhooks::{Answer, Failure, HttpSender, Post, Sender};

use super::Observer;

/// The sender of the engine. Each attempt continues the trace of its event. Without a span, it sends the `traceparent` that the
/// event came with.
pub struct TracedSender {
    http: HttpSender,
    observer: Arc<dyn Observer>,
}

impl TracedSender {
    pub fn new(http: HttpSender, observer: Arc<dyn Observer>) -> TracedSender {
        TracedSender { http, observer }
    }
}

impl Sender for TracedSender {
    async fn send(&self, mut post: Post) -> Result<Answer, Failure> {
        let span = self.observer.attempt_span(&post);
        if let Some(context) = self.observer.context(&span) {
            post.trace = Some(context);
        }
        let result = self.http.send(post).await;
        self.observer.attempt_ended(&span, &result);
        result
    }
}
