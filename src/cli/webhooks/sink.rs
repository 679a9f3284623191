//! The names and the help text of `mini-scan webhooks sink`. `webhook-sink` has its flags.

use crate::cli::help::{exit_codes, heading, more};

/// The flags of `mini-scan webhooks sink`.
pub type SinkArgs = webhook_sink::SinkArgs<Names>;

/// The environment variables of mini-scan.
#[derive(Debug, Clone)]
pub struct Names;

impl webhook_sink::Names for Names {
    const HELP: &'static str = concat!(
        heading!("Examples"),
        "  mini-scan webhooks sink --secret-file secret\n",
        "  mini-scan webhooks sink --fail-for 1m --json\n\n",
        "  To deliver to it, webhooks need --allow-http and --allow-target 127.0.0.1:8090.\n",
        "  The variable MINI_SCAN_SINK_SECRET has the secret in place of a file.\n\n",
        exit_codes!(),
        more!()
    );
    const LISTEN: &'static str = "MINI_SCAN_SINK_LISTEN";
    const SECRET: &'static str = "MINI_SCAN_SINK_SECRET";
    const SECRET_FILE: &'static str = "MINI_SCAN_SINK_SECRET_FILE";
    const JSON: &'static str = "MINI_SCAN_SINK_JSON";
    const STATUS: &'static str = "MINI_SCAN_SINK_STATUS";
    const FAIL_FOR: &'static str = "MINI_SCAN_SINK_FAIL_FOR";
    const FAIL_SHARE: &'static str = "MINI_SCAN_SINK_FAIL_SHARE";
    const HANG: &'static str = "MINI_SCAN_SINK_HANG";
}
