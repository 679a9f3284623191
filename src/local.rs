//! For trying and testing: the embedded servers, the generator and the demo (cargo feature `local`).

pub mod pubsub;
