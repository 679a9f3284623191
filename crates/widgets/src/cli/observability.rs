//! Flags of metrics, health and logs.

use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;

use crate::observe;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Observability")]
pub(super) struct ObservabilityArgs {
    /// Address of /metrics, /livez and /readyz, e.g. 0.0.0.0:9464, or off. The default is 127.0.0.1:9464 if that port
    /// is free
    #[arg(long, env = "WIDGET_REGISTRY_HTTP_LISTEN", value_name = "ADDRESS", next_line_help = true)]
    http_listen: Option<Listen>,

    /// Write logs as text, as json, or as auto: text on a terminal, JSON otherwise
    #[arg(
        long,
        env = "WIDGET_REGISTRY_LOG_FORMAT",
        default_value = "auto",
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    log_format: LogFormat,

    /// Levels of logs, e.g. debug, or warn,widget_registry=debug; the default is warn,widget_registry=info
    #[arg(long, env = "RUST_LOG", value_name = "LEVELS")]
    log_levels: Option<Targets>,
}

impl ObservabilityArgs {
    pub(super) fn http_listen(&self) -> Option<Listen> {
        self.http_listen
    }

    pub(super) fn log_format(&self) -> LogFormat {
        self.log_format
    }

    pub(super) fn log_levels(&self) -> Targets {
        self.log_levels.clone().unwrap_or_else(observe::default_levels)
    }
}
