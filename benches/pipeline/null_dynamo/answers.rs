//! The answers of the null table, as long as DynamoDB's.

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

/// PutItem's failed condition, with the item that is there.
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

/// One answer to each statement of a batch.
pub(super) fn batch(verdicts: &[Decision]) -> Vec<u8> {
    let mut body = String::with_capacity(32 + 64 * verdicts.len());
    body.push_str(r#"{"Responses":["#);
    for (number, verdict) in verdicts.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let error = |code: &str, message: &str, item: &str| {
            format!(r#""Error":{{"Code":"{code}","Message":"{message}"{item}}},"#)
        };
        let failed = |item: &str| error("ConditionalCheckFailed", "The conditional request failed", item);
        let error = match verdict {
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

/// As long as a usual one.
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
    // An answer without a request id is not DynamoDB's.
    format!(
        "HTTP/1.1 {status}\r\nserver: Server\r\ndate: Sun, 23 Feb 2025 08:08:45 GMT\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\nconnection: keep-alive\r\n\
         x-amzn-requestid: 00000000000000000000000000000000000000000000AAAAAAAA\r\n\r\n{body}"
    )
    .into_bytes()
}
