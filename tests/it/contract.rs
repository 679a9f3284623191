//! The behaviour of Pub/Sub and DynamoDB that the consumer and the reader of streams rely on.
//!
//! The tests run against the embedded servers. If `MINI_SCAN_CONTRACT_PUBSUB` and `MINI_SCAN_CONTRACT_DYNAMODB` are
//! set, they run against Google's emulator and AWS's DynamoDB Local. The documentation of Google and AWS is the
//! standard: where a server is known to differ from it, the test prints so and skips the assertion.

mod dynamodb;
mod pubsub;
mod streams;
