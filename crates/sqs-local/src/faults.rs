//! Fault injection: faults that can happen in the real service, which a test plans by operation and number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something that goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The server answers InternalFailure with status 500 and does nothing.
    Refuse,
    /// The server answers RequestThrottled and does nothing.
    Throttle,
    /// The server does what the request asks for, and answers InternalFailure with status 500.
    LoseResponse,
    /// The first entry of a batch fails with InternalFailure, and the others succeed. Single operations succeed.
    FailFirstEntry,
    /// The server waits before it does what the request asks for.
    Delay(Duration),
}

/// Injects faults into a server while it serves. All clones control the same server.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    planned: Arc<Mutex<Vec<(Operation, Fault)>>>,
}

impl Faults {
    /// Plans `fault` for the next `requests` requests of `operation`, after those that are planned already.
    pub fn plan(&self, operation: Operation, requests: usize, fault: Fault) {
        self.planned().extend(std::iter::repeat_n((operation, fault), requests));
    }

    /// Returns the number of planned faults that have not happened yet.
    pub fn pending(&self) -> usize {
        self.planned().len()
    }

    /// Cancels the planned faults.
    pub fn clear(&self) {
        self.planned().clear();
    }

    /// Takes the fault of a request that begins now.
    pub(crate) fn take(&self, operation: Operation) -> Option<Fault> {
        let mut planned = self.planned();
        let position = planned.iter().position(|(of, _)| *of == operation)?;
        Some(planned.remove(position).1)
    }

    fn planned(&self) -> MutexGuard<'_, Vec<(Operation, Fault)>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation of the API that this server implements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        #[non_exhaustive]
        pub enum Operation {
            $($name),*
        }

        impl Operation {
            /// Returns the operation with this name in the API.
            pub(crate) fn of_name(name: &str) -> Option<Operation> {
                match name {
                    $(stringify!($name) => Some(Operation::$name),)*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    CancelMessageMoveTask,
    ChangeMessageVisibility,
    ChangeMessageVisibilityBatch,
    CreateQueue,
    DeleteMessage,
    DeleteMessageBatch,
    DeleteQueue,
    GetQueueAttributes,
    GetQueueUrl,
    ListDeadLetterSourceQueues,
    ListMessageMoveTasks,
    ListQueues,
    PurgeQueue,
    ReceiveMessage,
    SendMessage,
    SendMessageBatch,
    SetQueueAttributes,
    StartMessageMoveTask,
}
