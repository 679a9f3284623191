//! Flow control of one stream: how many messages and bytes are outstanding on it, and whether it may get more. This
//! module is pure.

/// The outstanding messages and bytes of one stream, and the limits that its client set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    max_messages: u64,
    max_bytes: u64,
    messages: u64,
    bytes: u64,
}

impl Window {
    /// A limit of zero or less means no limit.
    pub(super) fn new(max_messages: i64, max_bytes: i64) -> Window {
        let limit = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0).unwrap_or(u64::MAX);
        Window { max_messages: limit(max_messages), max_bytes: limit(max_bytes), messages: 0, bytes: 0 }
    }

    /// Returns whether the stream may get another message.
    ///
    /// Google documents that the server stops sending at or above the limit of bytes. So one message may exceed it, and
    /// a message that is larger than the limit is delivered too.
    pub(super) fn has_room(&self) -> bool {
        self.messages < self.max_messages && self.bytes < self.max_bytes
    }

    pub(super) fn acquire(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn release(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_messages_is_exact() {
        let mut window = Window::new(2, 0);
        window.acquire(1);
        assert!(window.has_room());
        window.acquire(1);
        assert!(!window.has_room());
        window.release(1);
        assert!(window.has_room());
    }

    #[test]
    fn one_message_may_exceed_the_limit_of_bytes() {
        let mut window = Window::new(-1, 10);
        window.acquire(9);
        assert!(window.has_room());
        window.acquire(100);
        assert!(!window.has_room());
        window.release(100);
        assert!(window.has_room());
    }

    #[test]
    fn zero_and_negative_limits_mean_no_limit() {
        let mut window = Window::new(0, -5);
        (0..1000).for_each(|_| window.acquire(1 << 30));
        assert!(window.has_room());
    }
}
