//! The responses of the null table, with the length of DynamoDB's.

use std::fmt::Write;

use super::records::Decision;

pub(super) const DESCRIPTION: &str = concat!(
    r#"{"Table":{"TableName":"scan-results","TableStatus":"ACTIVE","#,
    r#""AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}],"#,
    r#""KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}}"#,
);

pub(super) fn ok(body: &str) -> Vec<u8> {
    response("200 OK", body)
}

/// Returns PutItem's response for a failed condition, with the existing item.
pub(super) fn stale(timestamp: u64) -> Vec<u8> {
    let body = format!(
        concat!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","#,
            r#""Message":"The conditional request failed","Item":{}}}"#
        ),
        item(timestamp)
    );
    response("400 Bad Request", &body)
}

/// Returns the response to a batch, with one entry per statement.
pub(super) fn batch(decisions: &[Decision]) -> Vec<u8> {
    let mut body = String::with_capacity(32 + 64 * decisions.len());
    body.push_str(r#"{"Responses":["#);
    for (number, decision) in decisions.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let error = |code: &str, message: &str, item: &str| {
            format!(r#""Error":{{"Code":"{code}","Message":"{message}"{item}}},"#)
        };
        let failed = |item: &str| error("ConditionalCheckFailed", "The conditional request failed", item);
        let error = match decision {
            Decision::Stored => String::new(),
            Decision::Stale(timestamp) => failed(&format!(r#","Item":{}"#, item(*timestamp))),
            Decision::Missing => failed(""),
            Decision::Duplicate => error("DuplicateItem", "Duplicate primary key exists in table", ""),
        };
        _ = write!(body, r#"{comma}{{{error}"TableName":"scan-results"}}"#);
    }
    body.push_str("]}");
    ok(&body)
}

/// Returns an item of the usual length.
fn item(timestamp: u64) -> String {
    format!(
        concat!(
            r#"{{"pk":{{"S":"1.1.1.115#48589#HTTP"}},"ip":{{"S":"1.1.1.115"}},"port":{{"N":"48589"}},"#,
            r#""service":{{"S":"HTTP"}},"timestamp":{{"N":"{}"}},"response":{{"S":"{}"}},"data_version":{{"N":"2"}}}}"#
        ),
        timestamp,
        "x".repeat(64)
    )
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    // The consumer rejects a response without a request ID, because DynamoDB always sends one.
    format!(
        "HTTP/1.1 {status}\r\nserver: Server\r\ndate: Sun, 23 Feb 2025 08:08:45 GMT\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\nconnection: keep-alive\r\n\
         x-amzn-requestid: 00000000000000000000000000000000000000000000AAAAAAAA\r\n\r\n{body}"
    )
    .into_bytes()
}
