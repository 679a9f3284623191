//! Who is told what becomes of events.

use tracing::Span;
use webhooks::{Answer, Failure, Post, TraceParent};

use super::StoredEvent;
use crate::ports;

/// What became of a record of the stream, or of an event that was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handled {
    /// Each target has it, or its delivery is durable.
    Delivered,
    /// No target of its client wants this type.
    Unwanted,
    /// The client has no route.
    NoRoute,
    /// The row of the client is no route.
    InvalidRoute,
    /// It was delivered right after its put.
    Direct,
    /// No new event: an event was erased, or changed by hand.
    Other,
    /// The item is no event of this program.
    Unreadable,
}

impl Handled {
    pub const ALL: [Handled; 7] = [
        Handled::Delivered,
        Handled::Unwanted,
        Handled::NoRoute,
        Handled::InvalidRoute,
        Handled::Direct,
        Handled::Other,
        Handled::Unreadable,
    ];

    /// Returns its name in metrics and in dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Handled::Delivered => "delivered",
            Handled::Unwanted => "unwanted",
            Handled::NoRoute => "no_route",
            Handled::InvalidRoute => "invalid_route",
            Handled::Direct => "direct",
            Handled::Other => "other",
            Handled::Unreadable => "unreadable_record",
        }
    }
}

/// Is told what happens beside the reports of the engine. The methods must not block.
pub trait Observer: webhooks::Observer {
    fn handled(&self, handled: Handled);

    /// A dead letter was sent.
    fn dead(&self, reason: &str);

    /// Opens the span of an event, until its deliveries are durable; a disabled span if the event is not traced.
    fn event_span(&self, event: &StoredEvent) -> Span;

    /// The event of this span was delivered, or it cannot be delivered now.
    fn event_ended(&self, event: &Span, result: &Result<Handled, ports::Failure>);

    /// Opens the span of an attempt; a disabled span if its event is not traced.
    fn attempt_span(&self, post: &Post) -> Span;

    /// The attempt of this span ended.
    fn attempt_ended(&self, attempt: &Span, result: &Result<Answer, Failure>);

    /// Returns the context that continues a span, or `None` if the span is disabled.
    fn context(&self, span: &Span) -> Option<TraceParent>;
}
