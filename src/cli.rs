//! The flags: one struct a subcommand, each flag also by environment variable, and the checks that relate them.

mod consumer;
mod dead_letters;
#[cfg(feature = "local")]
mod demo;
mod endpoints;
#[cfg(feature = "local")]
mod local;
mod names;
#[cfg(feature = "local")]
mod scanner;
mod setup;

pub use consumer::ConsumerArgs;
pub use dead_letters::{DeadLettersArgs, DeadLettersTask};
#[cfg(feature = "local")]
pub use demo::DemoArgs;
#[cfg(feature = "local")]
pub use local::LocalArgs;
#[cfg(feature = "local")]
pub use scanner::ScannerArgs;
pub use setup::{SetupArgs, Task};

/// Internet scan results from Google Cloud Pub/Sub into Amazon DynamoDB: the newest of each (ip, port, service) wins
#[derive(Debug, clap::Parser)]
#[command(version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Consumer(ConsumerArgs),
    Setup(SetupArgs),
    DeadLetters(DeadLettersArgs),
    #[cfg(feature = "local")]
    Scanner(ScannerArgs),
    #[cfg(feature = "local")]
    Local(LocalArgs),
    #[cfg(feature = "local")]
    Demo(DemoArgs),
}
