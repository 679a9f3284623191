//! Where a help page sends its reader.

macro_rules! more {
    () => {
        concat!(ops::heading!("More"), "  crates/widgets/README.md in the source describes the API and the tables")
    };
}

pub(super) use more;
pub(super) use ops::{exit_codes, heading};
