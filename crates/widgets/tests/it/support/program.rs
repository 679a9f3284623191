//! The real program.

use super::process::launch;
pub(crate) use super::process::{Launch, Program, Signal};

/// Returns `widget-registry` with `arguments`. Its HTTP server is off by default, because tests run concurrently.
pub(crate) fn widget_registry<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    launch(env!("CARGO_BIN_EXE_widget-registry"), arguments).env("WIDGET_REGISTRY_HTTP_LISTEN", "off")
}
