//! The names and the help text of `event-pipeline sink`. `webhook-sink` has its flags.

use super::help::{exit_codes, heading, more};

/// The flags of `event-pipeline sink`.
pub type SinkArgs = webhook_sink::SinkArgs<Names>;

/// The environment variables of event-pipeline.
#[derive(Debug, Clone)]
pub struct Names;

impl webhook_sink::Names for Names {
    const HELP: &'static str = concat!(
        heading!("Examples"),
        "  event-pipeline sink --secret-file secret\n",
        "  event-pipeline sink --fail-for 1m --json\n\n",
        "  To deliver to it, `event-pipeline deliver` needs --allow-http and --allow-target 127.0.0.1:8090.\n",
        "  The variable EVENT_PIPELINE_SINK_SECRET has the secret in place of a file.\n\n",
        exit_codes!(),
        more!()
    );
    const LISTEN: &'static str = "EVENT_PIPELINE_SINK_LISTEN";
    const SECRET: &'static str = "EVENT_PIPELINE_SINK_SECRET";
    const SECRET_FILE: &'static str = "EVENT_PIPELINE_SINK_SECRET_FILE";
    const JSON: &'static str = "EVENT_PIPELINE_SINK_JSON";
    const STATUS: &'static str = "EVENT_PIPELINE_SINK_STATUS";
    const FAIL_FOR: &'static str = "EVENT_PIPELINE_SINK_FAIL_FOR";
    const FAIL_SHARE: &'static str = "EVENT_PIPELINE_SINK_FAIL_SHARE";
    const HANG: &'static str = "EVENT_PIPELINE_SINK_HANG";
}
