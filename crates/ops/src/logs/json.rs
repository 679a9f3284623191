//! One JSON object per event, with the field names that Cloud Logging knows.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::StaticField;

pub(super) struct Json {
    pub(super) version: &'static str,
    pub(super) fields: Vec<StaticField>,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(head(self.version, *event.metadata().level()));
        for (name, value) in &self.fields {
            fields.0.insert((*name).into(), value.as_str().into());
        }
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// Returns one line for what no event reports, e.g. an error before logging starts.
pub fn line(version: &str, level: Level, message: &str) -> String {
    let mut fields = head(version, level);
    fields.insert("message".into(), message.into());
    Value::Object(fields).to_string()
}

fn head(version: &str, level: Level) -> Map<String, Value> {
    #[expect(clippy::disallowed_methods, reason = "the time of a log event")]
    let now = SystemTime::now();
    let mut fields = Map::new();
    fields.insert("timestamp".into(), humantime::format_rfc3339_micros(now).to_string().into());
    fields.insert("severity".into(), severity(level).into());
    fields.insert("version".into(), version.into());
    fields
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}
