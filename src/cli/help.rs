//! Pieces of the text below the flags of each help page: examples, exit codes and where to read more.

macro_rules! more {
    () => {
        concat!(
            ops::heading!("More"),
            "  docs/settings.md in the source lists every flag with its environment variable"
        )
    };
}

pub(super) use more;
pub(super) use ops::{exit_codes, heading};
