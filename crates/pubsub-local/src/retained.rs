//! The acknowledged messages that a seek can restore, in order of acknowledgement. This module is pure.

use std::collections::VecDeque;

use super::backlog::Entry;

// Google retains without a limit. In memory, the messages that were acknowledged first make room for later ones.
pub(super) const MAX_BYTES: usize = 256 << 20;

#[derive(Debug)]
pub(super) struct Retained {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
}

impl Retained {
    pub(super) fn new(max_bytes: usize) -> Retained {
        Retained { entries: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Appends a message. Drops those that were acknowledged first, if all together exceed the limit of bytes.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.bytes > self.max_bytes {
            self.pop();
        }
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= size(&entry);
        Some(entry)
    }

    /// Removes the messages that fulfil `condition`.
    pub(super) fn remove(&mut self, condition: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (removed, kept) = std::mem::take(&mut self.entries).into_iter().partition::<Vec<_>, _>(condition);
        self.entries = kept.into();
        self.bytes -= removed.iter().map(size).sum::<usize>();
        removed
    }

    pub(super) fn clear(&mut self) {
        *self = Retained::new(self.max_bytes);
    }
}

/// Returns the memory of a message, so that tiny messages are bounded too.
fn size(entry: &Entry) -> usize {
    entry.message.len() + size_of::<Entry>()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::super::backlog::Published;
    use super::*;

    fn entry(bytes: usize) -> Entry {
        let published = Published { at: Instant::now(), time: SystemTime::UNIX_EPOCH };
        Entry { message: Bytes::from(vec![0; bytes]), published, attempts: 1, duplicate: false }
    }

    #[test]
    fn the_messages_that_were_acknowledged_first_make_room_for_later_ones() {
        let mut retained = Retained::new(3 * size(&entry(10)));
        (8..=12).for_each(|bytes| retained.push(entry(bytes)));
        let sizes =
            |retained: &Retained| -> Vec<usize> { retained.entries.iter().map(|entry| entry.message.len()).collect() };
        assert_eq!(sizes(&retained), [11, 12]);
        assert_eq!(retained.remove(|entry| entry.message.len() == 11).len(), 1);
        retained.push(entry(14));
        assert_eq!(sizes(&retained), [12, 14]);
        assert_eq!(retained.bytes, size(&entry(12)) + size(&entry(14)));
        retained.clear();
        assert_eq!((retained.pop(), retained.bytes), (None, 0));
    }

    #[test]
    fn a_message_larger_than_the_limit_is_not_retained() {
        let mut retained = Retained::new(100);
        retained.push(entry(1000));
        assert_eq!((retained.first(), retained.bytes), (None, 0));
    }
}
