//! Matches the two halves of each connection while a scan passes. Pure.
//!
//! A widget that names a peer is one half, and the peer that names it is the other one. The half that comes first is kept
//! until the other one comes, so the memory grows with the halves whose other half was not yet seen: about 80 bytes each.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::widget::{Port, Serial, Widget};

/// Halves without the other one.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// By a hash of the connection and of the side that was seen.
    halves: HashMap<u64, Box<str>>,
    hasher: RandomState,
    connections: u64,
}

impl Matching {
    /// Notes the halves of a widget. Returns whether it breaks a rule by itself.
    pub(super) fn see(&mut self, widget: &Widget) -> bool {
        let mut is_suspect = false;
        for (port, peer) in widget.peers.iter() {
            is_suspect |= *peer == widget.serial || !widget.ports.contains(port);
            self.see_half(&widget.serial, port, peer);
        }
        is_suspect
    }

    fn see_half(&mut self, serial: &Serial, port: Port, peer: &Serial) {
        let other = self.hasher.hash_one((peer, serial, port));
        // Two connections may have one hash. Then both keep their halves, and the snapshot decides.
        if self.halves.get(&other).is_some_and(|seen| **seen == *peer.as_str()) {
            self.halves.remove(&other);
            self.connections += 1;
        } else {
            self.halves.insert(self.hasher.hash_one((serial, peer, port)), serial.as_str().into());
        }
    }

    /// Returns how many connections have both halves.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Returns the widgets whose other halves were not seen, each one once.
    pub(super) fn suspects(self) -> Vec<Serial> {
        let mut serials: Vec<_> = self.halves.into_values().collect();
        serials.sort_unstable();
        serials.dedup();
        serials.into_iter().filter_map(|serial| Serial::try_from(String::from(serial)).ok()).collect()
    }
}
