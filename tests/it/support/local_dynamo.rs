//! `mini-scan local dynamo` as a child process, which a test can stop, kill and restart on its data.

use tempfile::TempDir;

use super::dynamo::Dynamo;
use super::program::{Program, Signal, mini_scan};
use super::servers::DynamoServer;

/// The server. Dropping it kills it and removes its data.
pub(crate) struct LocalDynamo {
    /// A client of the running server. A restart replaces it.
    pub(crate) dynamo: Dynamo,
    program: Program,
    data: TempDir,
}

impl LocalDynamo {
    pub(crate) async fn start() -> LocalDynamo {
        let data = tempfile::tempdir().expect("a temporary directory");
        let (program, dynamo) = serve(&data).await;
        LocalDynamo { dynamo, program, data }
    }

    pub(crate) async fn signal(&self, signal: Signal) {
        self.program.signal(signal).await;
    }

    /// Ends the server with `signal` and starts it on the same data, at another address.
    pub(crate) async fn restart(self, signal: Signal) -> LocalDynamo {
        let LocalDynamo { program, data, .. } = self;
        program.signal(signal).await;
        let exit = program.exit().await;
        assert!(matches!(exit.code, None | Some(0)), "{exit:#?}");
        let (program, dynamo) = serve(&data).await;
        LocalDynamo { dynamo, program, data }
    }

    /// Returns `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.dynamo.endpoint.trim_start_matches("http://")
    }
}

async fn serve(data: &TempDir) -> (Program, Dynamo) {
    let directory = data.path().to_str().expect("the path is UTF-8");
    let mut server = mini_scan(["local", "dynamo", "--port", "0", "--data", directory]).start();
    let line = server.wait_for_line("export AWS_ENDPOINT_URL_DYNAMODB=").await;
    let (_, endpoint) = line.split_once('=').expect("the line is an assignment");
    let dynamo = Dynamo::at(DynamoServer::Dynoxide, endpoint.to_owned());
    (server, dynamo)
}
