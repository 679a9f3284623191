//! Serves on the address of the first argument, by default 127.0.0.1:9324, until Ctrl-C.
//!
//! ```sh
//! cargo run --package sqs-local --example serve
//! aws --endpoint-url http://127.0.0.1:9324 sqs create-queue --queue-name orders
//! ```

use sqs_local::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9324".to_owned());
    let server = Server::bind(address.parse()?).await?;
    println!("SQS is at http://{}", server.address());
    server.serve(async { _ = tokio::signal::ctrl_c().await }).await?;
    Ok(())
}
