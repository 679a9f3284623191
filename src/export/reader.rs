//! Reads the pages of all segments.

use super::pacer::{Cost, Pacer};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::dynamo::{Page, Pages, Position};
use crate::service::SetupError;

pub(super) struct Reader {
    pages: Pages,
    table: String,
    segments: u32,
    pacer: Pacer,
}

impl Reader {
    pub(super) fn new(pages: Pages, table: String, segments: u32, max_read_units: Option<f64>) -> Reader {
        Reader { pages, table, segments, pacer: Pacer::new(max_read_units) }
    }

    /// Returns how many requests DynamoDB has throttled.
    pub(super) fn throttled(&self) -> u64 {
        self.pacer.throttled()
    }

    /// Reads the page of a segment after this key.
    pub(super) async fn read(&self, segment: u32, after: Option<&str>) -> Result<(u32, Page), SetupError> {
        let position = Position { segment, segments: self.segments, after };
        let request = async |limit| {
            let page = self.pages.read(position, limit).await?;
            let cost = Cost { units: page.read_units, rows: page.scanned };
            Ok((page, cost))
        };
        match self.pacer.page(request).await {
            Ok(page) => Ok((segment, page)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn failure(&self, error: &StoreError) -> SetupError {
        let advice = match error.kind {
            StoreErrorKind::Permission => "Grant this identity dynamodb:Scan on the table.",
            StoreErrorKind::MissingTable => "Choose another table with --table, or another region with AWS_REGION.",
            StoreErrorKind::Credentials => "Renew the credentials, e.g. with `aws sso login`.",
            _ => "Run the export again.",
        };
        SetupError(format!("table {} (--table) cannot be read: {}\n{advice}", self.table, error.detail))
    }
}
