//! Checks the layering rule of ARCHITECTURE.md on the sources: which modules and crates each module may name.

mod cycles;
mod paths;

use std::path::{Path, PathBuf};
use std::{fs, io};

use paths::{Named, paths};

/// What a module under `src` may name. A top-level module without an entry fails the test.
struct Module {
    name: &'static str,
    modules: &'static [&'static str],
    /// The prefixes of the guarded crates that it may name.
    crates: &'static [&'static str],
}

const ALL: &[&str] = &[
    "api",
    "backfill",
    "changes",
    "cli",
    "consumer",
    "dead_changes",
    "dead_letters",
    "dynamo",
    "export",
    "get",
    "hosts",
    "local",
    "observe",
    "pubsub",
    "scan",
    "service",
    "subscriptions",
    "webhook_commands",
];

const MODULES: &[Module] = &[
    Module { name: "scan", modules: &[], crates: &[] },
    Module { name: "consumer", modules: &["scan"], crates: &["tokio", "ops"] },
    // The kinds of errors are those of DynamoDB.
    Module { name: "consumer::ports", modules: &["scan", "consumer"], crates: &["dynamodb", "tokio"] },
    // Tests that count events with the shipped metrics.
    Module { name: "consumer::simulation", modules: &["scan", "consumer", "observe"], crates: &["tokio"] },
    Module { name: "pubsub", modules: &["scan", "consumer"], crates: &["tokio", "google_cloud_", "ops"] },
    Module { name: "hosts", modules: &["scan", "consumer"], crates: &["tokio"] },
    // The production program serves an API, so `axum` is not only for the embedded servers.
    Module {
        name: "api",
        modules: &["scan", "consumer", "hosts", "changes", "subscriptions"],
        crates: &["axum", "http_api", "ops", "tokio", "utoipa", "webhooks"],
    },
    Module {
        name: "changes",
        modules: &["scan", "consumer", "hosts"],
        crates: &["dynamodb_streams", "ops", "regex", "similar", "tokio", "utoipa"],
    },
    Module {
        name: "subscriptions",
        modules: &["scan", "consumer", "changes"],
        crates: &["ops", "tokio", "utoipa", "webhooks"],
    },
    Module {
        name: "dynamo",
        modules: &["scan", "consumer", "hosts", "changes", "subscriptions"],
        crates: &["tokio", "aws_", "delivery_table", "dynamodb", "ops", "webhooks"],
    },
    Module {
        name: "observe",
        modules: &["scan", "changes", "consumer", "hosts", "api", "subscriptions"],
        crates: &["tokio", "dynamodb_streams", "opentelemetry", "ops", "http_api", "webhooks"],
    },
    Module {
        name: "service",
        modules: &["scan", "changes", "consumer", "hosts", "pubsub", "dynamo", "subscriptions"],
        crates: &["tokio", "dynamodb_streams", "ops", "webhooks"],
    },
    Module { name: "dead_letters", modules: &["consumer", "pubsub", "service"], crates: &["ops", "tokio"] },
    Module {
        name: "dead_changes",
        modules: &["consumer", "dead_letters", "dynamo", "service"],
        crates: &["ops", "tokio"],
    },
    Module { name: "export", modules: &["scan", "consumer", "dynamo", "hosts", "service"], crates: &["ops", "tokio"] },
    Module {
        name: "backfill",
        modules: &["scan", "consumer", "changes", "dynamo", "export", "hosts", "service"],
        crates: &["tokio", "dynamodb_streams"],
    },
    Module {
        name: "get",
        modules: &["scan", "changes", "dynamo", "export", "hosts", "service"],
        crates: &["tokio", "reqwest", "ops"],
    },
    Module {
        name: "webhook_commands",
        modules: &["scan", "consumer", "changes", "dynamo", "export", "hosts", "service", "subscriptions"],
        crates: &["ops", "tokio", "webhooks"],
    },
    Module {
        name: "cli",
        modules: &[
            "scan",
            "consumer",
            "api",
            "backfill",
            "changes",
            "service",
            "dead_changes",
            "dead_letters",
            "export",
            "get",
            "hosts",
            "observe",
            "local",
            "subscriptions",
            "webhook_commands",
        ],
        crates: &["dynamodb_local", "ops", "http_api", "webhook_sink", "webhooks"],
    },
    Module { name: "local", modules: ALL, crates: GUARDED },
    Module {
        name: "main",
        modules: ALL,
        crates: &["axum", "dynamodb_streams", "tokio", "ops", "http_api", "webhook_sink", "webhooks"],
    },
    Module { name: "lib", modules: &[], crates: &[] },
];

/// What a crate under `crates` may name of this workspace. A crate without an entry fails the test.
struct Member {
    name: &'static str,
    crates: &'static [&'static str],
}

const MEMBERS: &[Member] = &[
    Member { name: "delivery-table", crates: &["dynamodb", "ops", "webhooks"] },
    Member { name: "demo", crates: &[] },
    Member { name: "dynamodb", crates: &["ops"] },
    Member { name: "dynamodb-local", crates: &[] },
    Member { name: "dynamodb-streams", crates: &[] },
    Member {
        name: "events",
        crates: &[
            "delivery_table",
            "demo",
            "dynamodb",
            "dynamodb_local",
            "dynamodb_streams",
            "http_api",
            "ops",
            "sqs_local",
            "webhook_sink",
            "webhooks",
        ],
    },
    Member { name: "http-api", crates: &[] },
    Member { name: "ops", crates: &[] },
    Member { name: "pubsub-local", crates: &[] },
    Member { name: "sqs-local", crates: &[] },
    Member { name: "webhook-sink", crates: &["http_api", "ops", "webhooks"] },
    Member { name: "webhooks", crates: &[] },
    Member { name: "widgets", crates: &["demo", "dynamodb", "dynamodb_local", "dynamodb_streams", "http_api", "ops"] },
];

/// Crates that bring a vendor, a protocol, a server, a runtime or work that hostile input can multiply.
const GUARDED: &[&str] = &[
    "aws_",
    "axum",
    "delivery_table",
    "dynamodb",
    "dynamodb_local",
    "dynamodb_streams",
    "dynoxide",
    "google_cloud_",
    "googleapis_",
    "http_api",
    "hyper",
    "opentelemetry",
    "ops",
    "prost",
    "pubsub_local",
    "regex",
    "reqwest",
    "rusqlite",
    "similar",
    "sqs_local",
    "tokio",
    "tonic",
    "tracing_opentelemetry",
    "utoipa",
    "webhook_sink",
    "webhooks",
];

#[test]
fn every_module_names_only_the_modules_and_crates_that_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut violations = Vec::new();
    for file in rust_files(&root.join("src")).unwrap() {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        violations.extend(check(name, &fs::read_to_string(&file).unwrap()));
    }
    assert!(violations.is_empty(), "the layering rule (ARCHITECTURE.md) is broken:\n{}", violations.join("\n"));
}

#[test]
fn every_crate_names_only_the_crates_of_the_workspace_that_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut violations = Vec::new();
    for file in rust_files(&root.join("crates")).unwrap() {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        violations.extend(check_member(name, &fs::read_to_string(&file).unwrap()));
    }
    assert!(violations.is_empty(), "the layering rule (ARCHITECTURE.md) is broken:\n{}", violations.join("\n"));
}

#[test]
fn only_its_module_aws_connects_the_reader_of_streams_to_a_vendor() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/dynamodb-streams/src");
    let is_vendor = |named: &Named| named.path[0].starts_with("aws_");
    let mut of_vendor: Vec<_> = rust_files(&source).unwrap();
    of_vendor.retain(|file| paths(&fs::read_to_string(file).unwrap(), &[]).iter().any(is_vendor));
    assert!(!of_vendor.is_empty());
    assert!(of_vendor.iter().all(|file| file.starts_with(source.join("aws"))), "{of_vendor:?}");
}

#[test]
fn in_the_registry_only_few_modules_name_a_vendor_and_only_the_api_names_axum() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/widgets/src");
    for (prefix, modules) in [("aws_", &["table", "tools", "local"][..]), ("axum", &["api"])] {
        let is_named = |named: &Named| named.path[0].starts_with(prefix);
        let mut files: Vec<_> = rust_files(&source).unwrap();
        files.retain(|file| paths(&fs::read_to_string(file).unwrap(), &[]).iter().any(is_named));
        assert!(!files.is_empty(), "{prefix}");
        let is_allowed = |file: &PathBuf| {
            let inside = file.strip_prefix(&source).unwrap();
            modules.iter().any(|module| inside.starts_with(module) || inside == Path::new(&format!("{module}.rs")))
        };
        files.retain(|file| !is_allowed(file));
        assert!(files.is_empty(), "{prefix} is for {modules:?}: {files:?}");
    }
}

#[test]
fn a_crate_that_names_the_program_is_found() {
    let file = "crates/pubsub-local/src/queue/tests.rs";
    let source = "\nuse crate::queue;\nuse {bytes::Bytes, mini_scan::scan::Scan};\nuse super::super::wire;";
    assert_eq!(
        check_member(file, source),
        [
            "crates/pubsub-local/src/queue/tests.rs:3: `pubsub-local` may not name the crate `mini_scan`; it may name: none"
        ]
    );
    assert_eq!(check_member("crates/pubsub-local/examples/it.rs", "use pubsub_local::Server;"), Vec::<String>::new());
    assert_eq!(
        check_member("crates/extra/src/lib.rs", ""),
        ["crates/extra/src/lib.rs: the crate `extra` has no rule in this test"]
    );
}

#[test]
fn finds_a_forbidden_module_in_every_notation() {
    for source in [
        "use crate::pubsub::Source;",
        "use crate::{scan::Scan, pubsub::{self, Source}};",
        "use super::pubsub;",
        "use super::super::pubsub::Source;",
        "mod tests { use super::super::super::pubsub; }",
        "fn f() -> crate::pubsub::Source { todo!() }",
        "type Name = Vec<mini_scan::pubsub::Source>;",
    ] {
        let file = if source.starts_with("use super::pubsub") { "src/dynamo.rs" } else { "src/dynamo/item.rs" };
        assert_eq!(
            check(file, source),
            [format!(
                "{file}:1: `dynamo` may not name `crate::pubsub`; it may name: scan, consumer, hosts, changes, subscriptions"
            )],
            "{source}"
        );
    }
}

#[test]
fn finds_a_forbidden_crate_and_its_line() {
    for source in ["\nuse aws_config;", "\nuse {aws_config::Region};", "\nfn f(_: aws_config::Region) {}"] {
        assert_eq!(
            check("src/consumer/worker.rs", source),
            ["src/consumer/worker.rs:2: `consumer` may not name the crate `aws_config`; it may name: tokio, ops"],
            "{source}"
        );
    }
    assert_eq!(check("src/dynamo.rs", "use aws_config::Region;").len(), 0);
    assert_eq!(check("src/dynamo.rs", "use google_cloud_pubsub::client;").len(), 1);
    assert_eq!(check("src/scan/decode.rs", "use tokio::time::sleep;").len(), 1);
}

#[test]
fn accepts_everything_that_is_not_a_path_to_a_module() {
    let source = r###"
        //! Not [`crate::pubsub`], nor /* crate::dynamo
        /* crate::pubsub /* nested */ use crate::dynamo; */
        use super::worker::Worker;
        mod tests { use super::super::pubsub; }
        fn f<'a>(aws_region: &'a str) { g("crate::pubsub \" use aws_config;", r#"crate::"dynamo"#, '"', '\'', b"\\") }
        fn pubsub() { self::pubsub(); crate::scan::decode(aws_region) }
    "###;
    assert_eq!(check("src/consumer/worker.rs", source), Vec::<String>::new());
}

#[test]
fn a_module_without_a_rule_is_a_violation() {
    assert_eq!(check("src/extra/thing.rs", ""), ["src/extra/thing.rs: the module `extra` has no rule in this test"]);
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the violations of one file, each with file, line and rule.
fn check(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let named = |length: usize| {
        let name = module[..module.len().min(length)].join("::");
        MODULES.iter().find(|rule| rule.name == name)
    };
    let Some(rule) = named(2).or_else(|| named(1)) else {
        return vec![format!("{file}: the module `{}` has no rule in this test", module[0])];
    };
    let mut violations = Vec::new();
    for Named { line, path } in paths(source, &module) {
        let first = path[0].as_str();
        if first == "crate" || first == "mini_scan" {
            let Some(other) = path.get(1).filter(|other| ALL.contains(&other.as_str())) else { continue };
            if other != rule.name && !rule.modules.contains(&other.as_str()) {
                let may = list(rule.modules);
                violations
                    .push(format!("{file}:{line}: `{}` may not name `crate::{other}`; it may name: {may}", rule.name));
            }
        } else if GUARDED.iter().any(|name| first.starts_with(name))
            && !rule.crates.iter().any(|name| first.starts_with(name))
        {
            let may = list(rule.crates);
            violations
                .push(format!("{file}:{line}: `{}` may not name the crate `{first}`; it may name: {may}", rule.name));
        }
    }
    violations.dedup();
    violations
}

/// The violations of one file of a crate under `crates`.
fn check_member(file: &str, source: &str) -> Vec<String> {
    let name = file.split('/').nth(1).unwrap_or_default();
    let Some(member) = MEMBERS.iter().find(|member| member.name == name) else {
        return vec![format!("{file}: the crate `{name}` has no rule in this test")];
    };
    let own = name.replace('-', "_");
    let of_workspace =
        |first: &str| first == "mini_scan" || MEMBERS.iter().any(|it| it.name.replace('-', "_") == first);
    let mut violations = Vec::new();
    // The place of the file in its crate decides nothing here.
    for Named { line, path } in paths(source, &[]) {
        let first = path[0].as_str();
        if of_workspace(first) && first != own && !member.crates.contains(&first) {
            let may = list(member.crates);
            violations.push(format!("{file}:{line}: `{name}` may not name the crate `{first}`; it may name: {may}"));
        }
    }
    violations.dedup();
    violations
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Returns the module of a file: `src/scan/key.rs` is `scan::key`.
fn module_of(file: &str) -> Vec<String> {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').map(str::to_owned).collect()
}
