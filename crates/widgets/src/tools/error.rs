//! Why a command failed: what failed, why, and what to do.

use ops::console::ToolError;

use crate::names::Tables;
use crate::observe::PROGRAM;

/// A table and its flag, as errors name it.
#[derive(Debug, Clone, Copy)]
pub struct NamedTable<'a> {
    pub name: &'a str,
    pub flag: &'static str,
}

impl<'a> NamedTable<'a> {
    pub fn widgets(tables: &'a Tables) -> NamedTable<'a> {
        NamedTable { name: &tables.widgets, flag: "--widgets-table" }
    }

    pub fn requests(tables: &'a Tables) -> NamedTable<'a> {
        NamedTable { name: &tables.requests, flag: "--requests-table" }
    }

    /// `endpoint` is the server that `--dynamo-endpoint` chose.
    pub fn error(self, endpoint: Option<&str>, problem: &dynamodb::Problem) -> ToolError {
        let NamedTable { name, flag } = self;
        ToolError(dynamodb::NamedTable { program: PROGRAM.name, name, flag }.text(endpoint, problem))
    }
}
