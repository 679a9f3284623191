//! For trying and testing: the embedded servers, the generator and the demo (cargo feature `local`).

pub mod demo;
pub mod dynamo;
pub mod generator;
pub mod scanner;
pub mod servers;
pub mod thread;
