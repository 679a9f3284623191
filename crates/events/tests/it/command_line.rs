//! The command line as a whole: version, help and wrong usage.

use crate::support::program::event_pipeline;

#[tokio::test]
async fn the_version_names_the_revision_and_the_features() {
    let exit = event_pipeline(["--version"]).run().await;
    let expected = concat!("event-pipeline ", env!("CARGO_PKG_VERSION"), " (unknown, features: local)");
    assert_eq!((exit.code, exit.output.stdout.join("\n").as_str()), (Some(0), expected));
}

#[tokio::test]
async fn an_unknown_command_is_wrong_usage() {
    let exit = event_pipeline(["procesor"]).run().await;
    assert_eq!(exit.code, Some(2));
    assert!(exit.output.stderr.join("\n").contains("unrecognized subcommand 'procesor'"), "{exit:#?}");
}
