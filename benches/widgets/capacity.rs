//! As many widgets as the API creates in some time, some operations on them, and the audit of all.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use widget_registry::client::Client;
use widget_registry::tools::load::{Load, Results, Widgets, create, operate};

use crate::program::Api;
use crate::store::Store;
use crate::usage::usage;

/// More than fit into the time.
const MOST: u32 = 99_999_999;
const OPERATIONS_LAST: Duration = Duration::from_secs(60);
const PER_SECOND: f64 = 500.0;
const CLIENTS: NonZeroUsize = NonZeroUsize::new(32).expect("it is not zero");

pub(crate) async fn report(program: &Path, lasts: Duration) -> anyhow::Result<()> {
    let store = Store::start(program)?;
    let api = Api::start(program, &store.url).await?;
    let client = Client::new(&api.url(), None)?;
    let widgets = Widgets { prefix: "w-".to_owned(), count: MOST };
    let (stop, begin, mut results) = (CancellationToken::new(), Instant::now(), Results::default());
    let (created, ()) = tokio::join!(create(&client, &widgets, &mut results, &stop), async {
        sleep(lasts).await;
        stop.cancel();
    });
    created?;
    let (took, count) = (begin.elapsed().as_secs_f64(), u32::try_from(results.total())?);
    println!("Widgets created through the API in {took:.0} s: {count}, {:.0} per second", f64::from(count) / took);
    let used = usage(&api.process())?;
    let micros = used.cpu_seconds * 1e6 / f64::from(count);
    println!("The API used {micros:.0} µs of CPU time per widget, and at most {:.0} MB", used.peak_mb);
    println!("The store has {:.0} MB", usage(&store.process())?.resident_mb);

    let load = Load {
        url: api.url(),
        token_file: None,
        widgets: Widgets { count, ..widgets },
        rate: PER_SECOND,
        lasts: OPERATIONS_LAST,
        clients: CLIENTS,
        seed: 1,
        json: false,
    };
    let mut results = Results::default();
    operate(&client, &load, &mut results, &CancellationToken::new()).await?;
    println!("\nOperations, {PER_SECOND} per second for {} s:\n\n{results}", OPERATIONS_LAST.as_secs());
    ensure!(results.wrong() == 0, "some answers were wrong");

    println!("Audit:\n");
    let begin = Instant::now();
    let audit = Command::new(program)
        .args(["audit", "--segments", "1"])
        .env("AWS_ENDPOINT_URL_DYNAMODB", &store.url)
        .status()?;
    println!("\n{audit}, after {:.1} s", begin.elapsed().as_secs_f64());
    ensure!(audit.success(), "the audit failed");
    Ok(())
}
