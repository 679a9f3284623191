//! What a request writes, and which rows of the table a response proves. Pure.

use serde_json::Value;

use super::{Request, Response};

/// The key and the timestamp of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) timestamp: u64,
}

/// What the server's response to a request shows of the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The rows that the table had at that moment: those that were written, and those that failed a condition.
    pub(crate) rows: Vec<Row>,
    /// Whether a write failed because the table does not exist.
    pub(crate) table_is_missing: bool,
}

impl Request {
    /// Returns the rows that the request writes, one for each statement of a batch.
    pub(crate) fn rows(&self) -> Vec<Row> {
        if self.is_put() {
            return vec![row(&self.json()["Item"]).expect("a record has a key and a timestamp")];
        }
        self.statements().iter().map(statement_row).collect()
    }

    /// Returns the statements of a batch. Other requests have none.
    pub(crate) fn statements(&self) -> &[Value] {
        self.json()["Statements"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Returns what the server's response to this request shows of the table.
    pub(crate) fn answer(&self, response: &Response) -> Answer {
        let body = response.json();
        let mut answer = Answer::default();
        if self.is_put() {
            let error = (response.status() != 200).then_some(&body);
            answer.add(error, body["__type"].as_str(), self.rows().remove(0));
        } else if response.status() == 200 {
            let responses = body["Responses"].as_array().expect("a list of responses");
            assert_eq!(responses.len(), self.statements().len(), "one response per statement");
            for (response, row) in responses.iter().zip(self.rows()) {
                let error = response.get("Error");
                answer.add(error, error.and_then(|error| error["Code"].as_str()), row);
            }
        }
        answer
    }
}

impl Answer {
    /// Adds the result of writing `written`.
    fn add(&mut self, error: Option<&Value>, code: Option<&str>, written: Row) {
        let code = code.unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().trim_end_matches("Exception");
        match error {
            None => self.rows.push(written),
            Some(error) if code == "ConditionalCheckFailed" => self.rows.extend(row(&error["Item"])),
            Some(_) => self.table_is_missing |= code == "ResourceNotFound",
        }
    }
}

/// Returns the row of an item in DynamoDB's JSON, if it is a record.
fn row(item: &Value) -> Option<Row> {
    Some(Row { key: item["pk"]["S"].as_str()?.to_owned(), timestamp: item["timestamp"]["N"].as_str()?.parse().ok()? })
}

fn statement_row(statement: &Value) -> Row {
    let text = statement["Statement"].as_str().expect("a statement has a text");
    let parameter = |name: &str| {
        let place = parameter_names(text).position(|found| found == name);
        &statement["Parameters"][place.unwrap_or_else(|| panic!("{text} has no parameter for {name}"))]
    };
    let item = serde_json::json!({ "pk": parameter("pk"), "timestamp": parameter("timestamp") });
    row(&item).expect("a record has a key and a timestamp")
}

/// Returns the name before each `?` of a PartiQL statement: `pk` for `'pk':?` and for `"pk"=?`.
fn parameter_names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('?').filter_map(|(place, _)| text[..place].rsplit(['\'', '"']).nth(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(timestamp: u64) -> Request {
        let item = json!({ "pk": { "S": "a" }, "timestamp": { "N": timestamp.to_string() } });
        Request::new("DynamoDB_20120810.PutItem", &json!({ "TableName": "t", "Item": item }))
    }

    fn batch() -> Request {
        let insert = json!({
            "Statement": r#"INSERT INTO "t" VALUE {'pk':?,'ip':?,'timestamp':?,'response':?}"#,
            "Parameters": [{ "S": "a" }, { "S": "ip" }, { "N": "5" }, { "S": "what?" }],
        });
        let update = json!({
            "Statement": r#"UPDATE "t" SET "ip"=? SET "timestamp"=? REMOVE "x" WHERE "pk"=? AND "timestamp"<?"#,
            "Parameters": [{ "S": "ip" }, { "N": "7" }, { "S": "b" }, { "N": "7" }],
        });
        Request::new("DynamoDB_20120810.BatchExecuteStatement", &json!({ "Statements": [insert, update] }))
    }

    fn found(key: &str, timestamp: u64) -> Row {
        Row { key: key.to_owned(), timestamp }
    }

    #[test]
    fn finds_the_rows_of_both_kinds_of_writes() {
        assert_eq!(put(3).rows(), [found("a", 3)]);
        assert_eq!(batch().rows(), [found("a", 5), found("b", 7)]);
    }

    #[test]
    fn a_response_to_put_item_proves_the_written_or_the_stored_row() {
        let answer = |status, body: Value| put(3).answer(&Response::new(status, &body.to_string())).rows;
        assert_eq!(answer(200, json!({})), [found("a", 3)]);
        let stored = json!({ "pk": { "S": "a" }, "timestamp": { "N": "9" } });
        let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
        assert_eq!(answer(400, json!({ "__type": kind, "Item": stored })), [found("a", 9)]);
        assert_eq!(answer(400, json!({ "__type": kind })), []);
        assert_eq!(answer(500, json!({ "__type": "InternalServerError" })), []);
    }

    #[test]
    fn each_statement_proves_its_own_row() {
        let stored = json!({ "pk": { "S": "b" }, "timestamp": { "N": "9" } });
        let failed = |code: &str| json!({ "Error": { "Code": code, "Message": "m" } });
        let stale = json!({ "Error": { "Code": "ConditionalCheckFailed", "Item": stored } });
        let answer =
            |responses: [Value; 2]| batch().answer(&Response::new(200, &json!({ "Responses": responses }).to_string()));
        assert_eq!(answer([json!({ "TableName": "t" }), stale]).rows, [found("a", 5), found("b", 9)]);
        assert_eq!(answer([failed("DuplicateItem"), failed("ConditionalCheckFailed")]), Answer::default());
        assert!(answer([failed("ResourceNotFound"), failed("ThrottlingError")]).table_is_missing);
    }
}
