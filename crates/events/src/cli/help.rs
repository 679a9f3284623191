//! Where a help page sends its reader.

macro_rules! more {
    () => {
        concat!(ops::heading!("More"), "  crates/events/README.md in the source describes events, queues and tables")
    };
}

pub(super) use more;
pub(super) use ops::{exit_codes, heading};
