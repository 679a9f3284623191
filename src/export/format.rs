//! A record as one line of JSON or one row of CSV. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::dynamo::Row;
use ops::terminal::ascii_json;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    JsonLines,
    /// JSON lines of printable ASCII, for a terminal.
    AsciiJsonLines,
    /// CSV in which no cell is a formula for a spreadsheet.
    Csv,
    /// CSV with the exact values.
    RawCsv,
}

/// The fields in the order of the output.
#[derive(Serialize)]
struct Line<'a> {
    ip: &'a str,
    port: u16,
    service: &'a str,
    timestamp: u64,
    data_version: u64,
    response: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

const COLUMNS: [&str; 8] =
    ["ip", "port", "service", "timestamp", "data_version", "response", "response_base64", "expires_at"];

impl Format {
    /// Returns what comes before the first record.
    pub(super) fn header(self) -> &'static str {
        match self {
            Format::JsonLines | Format::AsciiJsonLines => "",
            Format::Csv | Format::RawCsv => {
                "ip,port,service,timestamp,data_version,response,response_base64,expires_at\n"
            }
        }
    }

    /// Formats the records, each with the end of its line.
    pub(crate) fn rows<'a>(self, rows: impl IntoIterator<Item = &'a Row>) -> Vec<u8> {
        match self {
            Format::JsonLines => json(rows, |line| line),
            Format::AsciiJsonLines => json(rows, |line| ascii_json(&line)),
            Format::Csv => csv(rows, without_formula),
            Format::RawCsv => csv(rows, str::to_owned),
        }
    }
}

fn json<'a>(rows: impl IntoIterator<Item = &'a Row>, finish: impl Fn(String) -> String) -> Vec<u8> {
    let mut lines = Vec::new();
    for Row { record, expires_at } in rows {
        let line = Line {
            ip: record.key.ip(),
            port: record.key.port().parse().unwrap_or_default(),
            service: record.key.service(),
            timestamp: record.timestamp,
            data_version: record.data_version,
            response: &record.response,
            response_base64: record.response_bytes.as_ref().map(|bytes| STANDARD.encode(bytes)),
            expires_at: *expires_at,
        };
        let line = serde_json::to_string(&line).expect("text and numbers are JSON");
        lines.extend_from_slice(finish(line).as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn csv<'a>(rows: impl IntoIterator<Item = &'a Row>, cell: impl Fn(&str) -> String) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for Row { record, expires_at } in rows {
        let bytes = record.response_bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let row: [String; COLUMNS.len()] = [
            record.key.ip().to_owned(),
            record.key.port().to_owned(),
            cell(record.key.service()),
            record.timestamp.to_string(),
            record.data_version.to_string(),
            cell(&record.response),
            bytes.unwrap_or_default(),
            expires_at.map(|time| time.to_string()).unwrap_or_default(),
        ];
        writer.write_record(row).expect("writing to memory does not fail, and all rows have the same length");
    }
    writer.into_inner().expect("writing to memory does not fail")
}

/// Puts an apostrophe before a text that a spreadsheet would run as a formula.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn without_formula(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hosts::Record;
    use crate::scan::Key;

    fn row(service: &str, response: &str, response_bytes: Option<Vec<u8>>) -> Row {
        let key = Key::new("1.1.1.7".parse().unwrap(), 443, service);
        let record =
            Record { key, timestamp: 1_740_298_125, data_version: 2, response: response.into(), response_bytes };
        Row { record, expires_at: None }
    }

    fn record(response: &str, bytes: Option<Vec<u8>>) -> Row {
        row("HTTP", response, bytes)
    }

    fn text(format: Format, record: &Row) -> String {
        String::from_utf8(format.rows([record])).unwrap()
    }

    #[test]
    fn a_json_line_has_the_bytes_only_if_they_are_not_text() {
        let start =
            r#"{"ip":"1.1.1.7","port":443,"service":"HTTP","timestamp":1740298125,"data_version":2,"response":"#;
        assert_eq!(text(Format::JsonLines, &record("a\"\nb", None)), format!("{start}\"a\\\"\\nb\"}}\n"));
        let binary = record("\u{fffd}", Some(vec![0xff]));
        assert_eq!(text(Format::JsonLines, &binary), format!("{start}\"\u{fffd}\",\"response_base64\":\"/w==\"}}\n"));
    }

    #[test]
    fn a_terminal_gets_no_control_character() {
        let line = text(Format::AsciiJsonLines, &record("\u{1b}[2J\u{9b}\u{202e}", None));
        assert!(line.trim_end().chars().all(|c| (' '..='~').contains(&c)), "{line}");
    }

    #[test]
    fn a_csv_row_quotes_what_needs_quotes() {
        let row = text(Format::Csv, &record("a,\"b\"\r\nc", None));
        assert_eq!(row, "1.1.1.7,443,HTTP,1740298125,2,\"a,\"\"b\"\"\r\nc\",,\n");
        assert_eq!(Format::Csv.header(), COLUMNS.join(",") + "\n");
    }

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe_unless_raw() {
        for formula in ["=1+1", "+OK ready", "-ERR", "@SUM(A1)", "\t=1", "\r=1"] {
            let cell = |format| {
                let rows = text(format, &record(formula, None));
                let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rows.as_bytes());
                reader.records().next().unwrap().unwrap()[5].to_owned()
            };
            assert_eq!(cell(Format::Csv), format!("'{formula}"));
            assert_eq!(cell(Format::RawCsv), formula);
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_json_and_raw_csv(response: String, service in "[^\\p{Cc}]{1,50}") {
            let record = row(&service, &response, None);
            let line: serde_json::Value = serde_json::from_str(&text(Format::JsonLines, &record)).unwrap();
            prop_assert_eq!(line["response"].as_str(), Some(response.as_str()));
            prop_assert_eq!(text(Format::JsonLines, &record).lines().count(), 1);
            let rows = text(Format::RawCsv, &record);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rows.as_bytes());
            let row = reader.records().next().unwrap().unwrap();
            prop_assert_eq!((&row[2], &row[5]), (service.as_str(), response.as_str()));
            prop_assert!(reader.records().next().is_none());
        }
    }
}
