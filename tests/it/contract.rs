//! What the consumer relies on in Pub/Sub and in DynamoDB.
//!
//! The same tests run against the embedded servers and, where `MINI_SCAN_CONTRACT_PUBSUB` and
//! `MINI_SCAN_CONTRACT_DYNAMODB` name them, against Google's emulator and AWS's DynamoDB Local. The measure is what
//! Google and AWS document: where a foreign server departs from it, the test says so and leaves that assertion out.

mod dynamodb;
mod pubsub;
