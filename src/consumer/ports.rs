//! The interfaces to a subscription, a table, a dead-letter topic and an observer, with the contract of each. Knows no
//! vendor and no policy.

mod dead_letters;
mod observer;
mod restart;
mod source;
mod store;

pub use dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
pub use observer::{End, Observer, Operation, Settled, Throttle};
pub use restart::Restart;
pub use source::{Delivery, Envelope, Receipt, Source, SourceError};
pub use store::{Answer, Attempt, Fit, MAX_STATEMENTS, Record, Statement, Store, StoreError, StoreErrorKind, Verb};

/// The ports of one thread, combined so that the consumer needs only one type parameter.
pub trait Ports: 'static {
    type Source: Source;
    type Store: Store;
    type DeadLetters: DeadLetters;
}

/// The receipts of these ports' source.
pub(crate) type ReceiptOf<P> = <<P as Ports>::Source as Source>::Receipt;
