//! What the program prints about itself.

use crate::support::program::widget_registry;

#[tokio::test]
async fn help_lists_the_commands_in_the_order_of_their_use() {
    let help = widget_registry(["--help"]).succeed().await.stdout.join("\n");
    let position = |command: &str| help.find(&format!("\n  {command} ")).unwrap_or_else(|| panic!("{command}: {help}"));
    let positions = ["setup", "check", "serve", "token", "audit", "tail", "completions"].map(position);
    assert!(positions.is_sorted(), "{help}");
    for command in ["setup", "check", "serve", "token", "audit", "tail", "completions"] {
        let help = widget_registry([command, "--help"]).succeed().await.stdout.join("\n");
        assert!(help.contains("Examples:") && help.contains(&format!("widget-registry {command}")), "{help}");
    }
}

#[tokio::test]
async fn the_version_names_the_features() {
    let version = widget_registry(["--version"]).succeed().await.stdout.join("\n");
    assert!(version.starts_with("widget-registry ") && version.contains("local"), "{version}");
}

#[tokio::test]
async fn a_token_is_printed_once_and_its_line_beside_it() {
    let output = widget_registry(["token", "laptop", "--scope", "write"]).succeed().await;
    assert!(output.stdout[0].starts_with("widget_registry_"), "{output:?}");
    assert!(output.stderr.join("\n").contains("laptop write "), "{output:?}");
    let exit = widget_registry(["token", "laptop", "--scope", "webhooks"]).run().await;
    assert_eq!(exit.code, Some(2), "{exit:?}");
}
