//! What the registry needs of its tables. Each method makes one attempt; the registry repeats it.

use dynamodb::StoreError;
use uuid::Uuid;

use crate::transaction::{StoredRequest, Transaction};
use crate::widget::{Serial, Widget};

pub trait Store: Send + Sync + 'static {
    /// Returns the widget as the last write before the call left it.
    fn get(&self, serial: &Serial) -> impl Future<Output = Result<Option<Widget>, StoreError>> + Send;

    /// Returns both widgets, each as in [`Store::get`]. They may belong to different moments.
    fn get_two(&self, serials: [&Serial; 2]) -> impl Future<Output = Result<[Option<Widget>; 2], StoreError>> + Send;

    /// Returns the widgets as they were at one moment.
    fn snapshot(&self, serials: &[Serial]) -> impl Future<Output = Result<Vec<Option<Widget>>, StoreError>> + Send;

    /// Applies all of a transaction or nothing. Within ten minutes, a repeat with the token of an applied transaction
    /// changes nothing and is also answered with [`Commit::Applied`].
    ///
    /// A transaction that met another one fails with a conflict, even if some of its conditions did not hold: what was
    /// seen of the others is unknown.
    fn commit(&self, transaction: &Transaction, token: Uuid)
    -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Returns the widgets that follow this one in an order of the store's choice.
    fn page(&self, after: Option<&Serial>, limit: u16) -> impl Future<Output = Result<Page, StoreError>> + Send;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    Applied,
    /// Some conditions did not hold, so nothing was applied.
    Refused {
        /// For each action whether its condition was met.
        actions: Vec<Condition>,
        /// The request that is stored with the same id, if there is one.
        request: Option<Box<StoredRequest>>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Met,
    /// It did not hold for this item, or because there is none.
    Unmet(Option<Box<Widget>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub widgets: Vec<Widget>,
    /// After which widget the next page starts, if there is one.
    pub next: Option<Serial>,
}
