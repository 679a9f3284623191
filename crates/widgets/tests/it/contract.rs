//! What the registry relies on, with its own items and AWS's client: transactions, reasons, tokens, conditions, snapshots.
//!
//! The tests run against the embedded DynamoDB, or the one that `MINI_SCAN_CONTRACT_DYNAMODB` names. Neither raises
//! conflicts between transactions.

mod conditions;
mod meaning;
mod reads;
mod requests;
mod transactions;
