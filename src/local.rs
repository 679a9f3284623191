//! For demos and tests (cargo feature `local`): the embedded servers, the scanner and its message generator, the demo.

pub mod demo;
pub mod generator;
pub mod scanner;
pub mod servers;
