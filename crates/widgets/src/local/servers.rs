//! The embedded DynamoDB.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dynamodb_local::dynoxide::Database;
use dynamodb_local::thread::Running;
use dynamodb_local::{OpenError, Storage};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the DynamoDB server cannot start because {0} is in use: stop the program that uses it, or choose another port with --dynamo-port"
    )]
    InUse(SocketAddr),
    #[error("the DynamoDB server cannot listen on {address}: choose another address with --host and --dynamo-port")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the DynamoDB server cannot open its storage")]
    Storage(#[from] OpenError),
}

/// A running DynamoDB. Dropping it stops it.
#[derive(Debug)]
pub struct Dynamo(Running);

impl Dynamo {
    pub async fn start(address: SocketAddr, storage: &Storage) -> Result<Dynamo, Error> {
        Dynamo::serve(address, storage.open()?).await
    }

    async fn serve(address: SocketAddr, database: Database) -> Result<Dynamo, Error> {
        let running = Running::start("dynamodb", move || async move {
            let server = dynamodb_local::Server::bind(address).await?;
            Ok((server.address(), server.serve_transactions(database)))
        });
        running.await.map(Dynamo).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse(address),
            _ => Error::Bind { address, source },
        })
    }

    /// Starts one on a free port of this machine, whose tables are in memory.
    pub async fn in_memory() -> Result<Dynamo, Error> {
        Dynamo::start((Ipv4Addr::LOCALHOST, 0).into(), &Storage::Memory).await
    }

    /// Returns a URL that clients on this machine can use.
    pub fn url(&self) -> String {
        let address = self.0.address();
        let ip = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, address.port()))
    }

    /// Waits until the server fails and returns the reason.
    pub async fn failure(&mut self) -> String {
        self.0.failure().await
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
    use serde_json::json;

    use super::*;
    use crate::table::WIDGETS;

    #[tokio::test]
    async fn the_error_for_a_port_in_use_names_the_port_and_its_flag() {
        let dynamo = Dynamo::in_memory().await.unwrap();
        let address = dynamo.0.address();
        let error = Dynamo::start(address, &Storage::Memory).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{address} is in use")) && error.contains("--dynamo-port"), "{error}");
        assert_eq!(dynamo.url(), format!("http://{address}"));
    }

    #[tokio::test]
    async fn the_engine_receives_no_token_because_it_would_look_at_each_one_at_every_transaction() {
        let database = Storage::Memory.open().unwrap();
        let dynamo = Dynamo::serve((Ipv4Addr::LOCALHOST, 0).into(), database.clone()).await.unwrap();
        let client = dynamodb::connect(Some(&dynamo.url()), "tests").await.unwrap();
        dynamodb::create_table(&client, &WIDGETS, "widgets").await.unwrap();
        let put =
            Put::builder().table_name("widgets").item("serial", AttributeValue::S("1".to_owned())).build().unwrap();
        let put = TransactWriteItem::builder().put(put).build();
        client.transact_write_items().transact_items(put).client_request_token("token").send().await.unwrap();
        // It refuses a token that it knows with other items.
        let put = json!({ "TableName": "widgets", "Item": { "serial": { "S": "2" } } });
        let other = json!({ "TransactItems": [{ "Put": put }], "ClientRequestToken": "token" });
        database.transact_write_items(serde_json::from_value(other).unwrap()).unwrap();
    }
}
