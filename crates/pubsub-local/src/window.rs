//! Flow control of one stream: how much it holds unsettled, and whether it may have more. Pure.

/// What one stream holds, against what its client allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    max_messages: u64,
    max_bytes: u64,
    messages: u64,
    bytes: u64,
}

impl Window {
    /// A limit of zero or less is no limit.
    pub(super) fn new(max_messages: i64, max_bytes: i64) -> Window {
        let limit = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0).unwrap_or(u64::MAX);
        Window { max_messages: limit(max_messages), max_bytes: limit(max_bytes), messages: 0, bytes: 0 }
    }

    /// Sending stops at the limit of bytes or above it, so one message may overshoot: that is how Google words it, and
    /// it lets a message that is larger than the limit pass.
    pub(super) fn has_room(&self) -> bool {
        self.messages < self.max_messages && self.bytes < self.max_bytes
    }

    pub(super) fn hold(&mut self, bytes: usize) {
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
    fn messages_are_bounded_exactly() {
        let mut window = Window::new(2, 0);
        window.hold(1);
        assert!(window.has_room());
        window.hold(1);
        assert!(!window.has_room());
        window.release(1);
        assert!(window.has_room());
    }

    #[test]
    fn bytes_may_be_overshot_by_one_message() {
        let mut window = Window::new(-1, 10);
        window.hold(9);
        assert!(window.has_room());
        window.hold(100);
        assert!(!window.has_room());
        window.release(100);
        assert!(window.has_room());
    }

    #[test]
    fn no_limit_means_no_limit() {
        let mut window = Window::new(0, -5);
        (0..1000).for_each(|_| window.hold(1 << 30));
        assert!(window.has_room());
    }
}
