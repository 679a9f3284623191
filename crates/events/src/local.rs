//! The embedded servers, and the demo that runs the programs on them.

pub mod demo;
pub mod servers;
