//! `dynamodb-streams` with the streams and the lease table of the server. Neither server splits or trims a shard, which
//! the simulation of that crate does.

mod leases;
mod reader;
mod responses;
mod source;
