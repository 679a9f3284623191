//! Keeps a history of what changed: compares the images of the table's stream, and stores what opened, changed or closed.
//!
//! Owns the interface to the history ([`ports`]) and knows no vendor.

pub mod backfill;
mod change;
mod compare;
pub mod diff;
mod entry;
mod handler;
mod health;
mod key;
pub mod masks;
mod past;
pub mod ports;
pub mod preview;
mod repair;
#[cfg(test)]
mod simulation;
mod summary;
mod timeline;

pub use change::{Change, Decision, Responses, Rules, Step, decide, difference, hashes, repair_key, step};
pub use compare::{Image, Images};
pub use entry::{Body, Difference, Entry, Event, Reason};
pub use handler::Recorder;
pub use health::{Condition, Watch};
pub use key::{EntryKey, Sequence, entry_times, summary_key};
pub(crate) use key::{SUMMARY, summarized};
pub use past::{Entries, EntryQuery, Past, PastReader, Summaries};
pub use repair::Correction;
pub use summary::{HASH_BYTES, Hash, Hashes, Position, Repair, Summary};
pub use timeline::{Diff, ResponseText, TimelineEvent};
