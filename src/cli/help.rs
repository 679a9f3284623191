//! Pieces of the text below the flags of each help page: examples, exit codes and where to read more.
//!
//! The headings look like clap's own. Their escapes are dropped where there is no colour.

macro_rules! heading {
    ($text:literal) => {
        concat!("\x1b[1m\x1b[4m", $text, ":\x1b[0m\n")
    };
}

macro_rules! exit_codes {
    () => {
        concat!($crate::cli::help::heading!("Exit codes"), "  0 success, 1 failure, 2 wrong usage\n\n")
    };
}

macro_rules! more {
    () => {
        concat!(
            $crate::cli::help::heading!("More"),
            "  docs/settings.md in the source lists every flag with its environment variable"
        )
    };
}

pub(super) use {exit_codes, heading, more};
