//! Pieces of the text below the flags of a help page.
//!
//! The headings look like clap's own. Their escapes are dropped where there is no colour.

/// Formats a heading, for `concat!`.
#[macro_export]
macro_rules! heading {
    ($text:literal) => {
        concat!("\x1b[1m\x1b[4m", $text, ":\x1b[0m\n")
    };
}

/// Lists the exit codes of a command that has only the usual ones, for `concat!`.
#[macro_export]
macro_rules! exit_codes {
    () => {
        concat!($crate::heading!("Exit codes"), "  0 success, 1 failure, 2 wrong usage\n\n")
    };
}
