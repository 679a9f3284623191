//! The one integration binary: the program as it is used.

mod consumer;
mod contract;
mod corpus;
mod layering;
mod support;
