//! The embedded servers, and clients whose every answer is compared with the table: for the demo and the tests.

pub mod clients;
pub mod demo;
pub mod found;
pub mod servers;
pub mod verify;
