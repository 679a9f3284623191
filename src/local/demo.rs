//! The demonstration: servers, messages, the real consumer and a check of what came out, in one process.

mod truth;
