//! The ports: what the consumer needs of a subscription, a table, a dead-letter topic and an observer, and the contract of
//! each. Knows no vendor and no policy.

mod dead_letters;
mod observer;
mod restart;
mod source;
mod store;

pub use dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
pub use observer::{End, Observer, Operation, Settled};
pub use restart::Restart;
pub use source::{Delivery, Envelope, Receipt, Source, SourceError};
pub use store::{Answer, MAX_STATEMENTS, Put, Statement, Store, StoreError, StoreErrorKind, Stored, Verb};

/// The three ports of one thread, named together so that the consumer has one type parameter.
pub trait Ports: 'static {
    type Source: Source;
    type Store: Store;
    type DeadLetters: DeadLetters;
}

/// The receipt that the source of these ports hands out.
pub(crate) type ReceiptOf<P> = <<P as Ports>::Source as Source>::Receipt;
