//! The harness: embedded servers, the real binary, free ports.
