//! The subscriptions of the demo, and their receivers: `mini-scan webhooks sink`, as processes of their own.

use std::net::SocketAddr;

use demo::{Child, POLL_INTERVAL, Ports};
use serde_json::Value;
use tokio::time::Instant;

use super::MAX_IDLE;
use super::children::Children;
use super::told::{self, Receipt, Selection, Told};
use super::waves::Services;
use crate::local::demo::Error;

/// How long the first sink fails, from its first webhook on. The first retry comes later, and the second one much later.
const FAILS: &str = "3s";
const EVERYTHING: &str = "sink-everything";
const SUBSET: &str = "sink-subset";

/// The running sinks.
pub(super) struct Sinks {
    _children: [Child; 2],
    _ports: Ports<2>,
}

impl Sinks {
    /// Adds the subscriptions, and starts their sinks with the secrets.
    pub(super) async fn start(children: &Children, ports: Ports<2>) -> Result<Sinks, Error> {
        let addresses = ports.addresses()?;
        let everything = add(children, addresses[0], &told::EVERYTHING).await?;
        let subset = add(children, addresses[1], &told::SUBSET).await?;
        let nothing = add(children, addresses[1], &told::NOTHING).await?;
        let first = start(children, EVERYTHING, addresses[0], &everything, &["--fail-for", FAILS]).await?;
        let second = start(children, SUBSET, addresses[1], &format!("{subset}\n{nothing}"), &[]).await?;
        Ok(Sinks { _children: [first, second], _ports: ports })
    }

    /// Waits until the sinks have all changes, or until no more arrive. Returns what they logged.
    pub(super) async fn receipts(&self, children: &Children, services: &Services) -> Result<Vec<Receipt>, Error> {
        let (mut last, mut since) = (None, Instant::now());
        loop {
            let receipts =
                [EVERYTHING, SUBSET].map(|name| children.processes.output(name).map(|log| Receipt::all(&log)));
            let [everything, subset] = receipts;
            let receipts = [everything?, subset?].concat();
            let missing = Told { services, receipts: &receipts }.missing();
            if last.replace(missing) != Some(missing) {
                since = Instant::now();
            }
            // The killed instance may have claimed deliveries for a minute.
            if missing == 0 || since.elapsed() > 2 * MAX_IDLE {
                return Ok(receipts);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Adds a subscription. Returns its secret.
async fn add(children: &Children, address: SocketAddr, selection: &Selection) -> Result<String, Error> {
    let url = format!("http://{address}{}", selection.path);
    let arguments = [&["webhooks", "add", "--json", "--url", &url], selection.flags].concat();
    let printed = children.processes.run("add", &arguments).await?;
    let added: Option<Value> = serde_json::from_str(&printed).ok();
    let secret = added.as_ref().and_then(|added| added["secret"].as_str());
    secret.map(str::to_owned).ok_or_else(|| Error::Changes(format!("`webhooks add` printed no secret: {printed}")))
}

async fn start(
    children: &Children,
    name: &str,
    address: SocketAddr,
    secrets: &str,
    flags: &[&str],
) -> Result<Child, Error> {
    let (file, address) = (children.processes.write(&format!("{name}.secret"), secrets)?, address.to_string());
    let arguments = ["webhooks", "sink", "--json", "--listen", &address, "--secret-file", &file];
    Ok(children.processes.start_until(name, &[&arguments, flags].concat(), "The sink listens").await?)
}
