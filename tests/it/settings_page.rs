//! `docs/settings.md`, rendered from the flags of the program. `make settings` writes it.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use mini_scan::cli::Cli;

const PAGE: &str = "docs/settings.md";

const START: &str = "\
# Settings

<!-- `make settings` writes this page from the flags of the program. A test fails if it differs. -->

`mini-scan COMMAND --help` prints the same texts. A flag takes precedence over its environment variable.

- **Names** of topics and subscriptions are ids, e.g. `scan-sub`, or full names, e.g.
  `projects/my-project/subscriptions/scan-sub`. An id needs a project: `--project`, else `MINI_SCAN_PROJECT`, else
  `GOOGLE_CLOUD_PROJECT`, else `test-project` if a local Pub/Sub server is chosen. A full name needs none.
- **Times** have a unit, e.g. `500ms`, `30s`, `15m`, `24h` or `90days`. **Bytes** too, e.g. `64KiB` or `256MiB`.
- `setup`, `check` and `consumer` accept the same flags, so that one line fits all three. `setup` ignores those that
  name nothing to create.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | success |
| 1 | failure, e.g. a check at the start or a check of `mini-scan check` failed |
| 2 | wrong usage: a flag is missing, unknown or out of range |
| 3 | partly done: a redrive or a purge left selected dead letters, or was stopped; an export, a backfill or a replay was stopped |
| 141 | `get`, `export` or `changes masks` ended because the reader of stdout closed it, e.g. `head` |
| 130, 143 | stopped at once by a second SIGINT or SIGTERM |

## Output

Results go to stdout, logs and errors to stderr. With JSON logs (`--log-format json`, or `auto` without a terminal) every
line of `mini-scan consumer` on stderr is a JSON object, errors included. The exceptions are errors of a command line that
cannot be parsed, because they come before the format is known.

With `--log-levels warn,mini_scan=debug` there is one line per settled message: `message_id`, `scan_key` once the scan is
decoded, `outcome`, `error.type` if there was an error, and `latency_ms`. No line contains a payload.
";

const END: &str = "
## Standard environment variables

The clients of both clouds and of OpenTelemetry read more variables than these; their own documentation lists them.

| Variable | Meaning |
|---|---|
| `GOOGLE_APPLICATION_CREDENTIALS` | file with Google credentials; without it, those of `gcloud auth application-default login` or of the machine |
| `GOOGLE_CLOUD_PROJECT` | project, if neither `--project` nor `MINI_SCAN_PROJECT` is set |
| `PUBSUB_EMULATOR_HOST` | local Pub/Sub server, the same as `--pubsub-emulator-host` |
| `AWS_REGION`, `AWS_DEFAULT_REGION` | region of the table; with a DynamoDB on this machine the default is `us-east-1` |
| `AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE` | profile with AWS credentials, and where profiles are |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | AWS credentials |
| `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE` | AWS role to assume with a token, e.g. of Kubernetes or Google Cloud |
| `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL` | DynamoDB server, the same as `--endpoint-url`; the first one wins |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | collector for traces by gRPC, e.g. `http://localhost:4317`; without one there are no traces |
| `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which messages are traced; by default those that their publisher traced |
| `OTEL_TRACES_EXPORTER`, `OTEL_SDK_DISABLED` | the values `none` and `true` turn traces off |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | attributes of every trace |
| `RUST_LOG` | levels of logs, the same as `--log-levels` |
| `NO_COLOR` | if it is not empty, logs and help have no colours; without a terminal or with `TERM=dumb` they never have |
";

/// Commands that only the cargo feature `local` has.
const LOCAL: [&str; 3] = ["demo", "local", "scanner"];

/// The page as the program has it, with the consumer first.
fn page() -> String {
    let mut page = START.to_owned();
    let mut program = Cli::command();
    program.build();
    let is_consumer = |command: &&Command| command.get_name() == "consumer";
    let rest = program.get_subcommands().filter(|command| !is_consumer(command));
    for command in program.get_subcommands().filter(is_consumer).chain(rest) {
        describe(command, "mini-scan", &mut page);
    }
    page + END
}

/// A section for the command, and one for each command below it.
fn describe(command: &Command, above: &str, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    if command.get_name() == "help" {
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    write!(page, "\n## `{name}`\n\n{about}.\n").expect("memory");
    if LOCAL.contains(&command.get_name()) {
        page.push_str("\nProduction builds do not have this command.\n");
    }
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    let mut headings: Vec<_> = command.get_arguments().filter(shown).map(Arg::get_help_heading).collect();
    headings.dedup();
    for (place, heading) in headings.iter().enumerate() {
        if headings[..place].contains(heading) {
            continue;
        }
        let title = heading.unwrap_or("Arguments");
        write!(page, "\n**{title}**\n\n| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n").expect("memory");
        for arg in command.get_arguments().filter(shown).filter(|arg| arg.get_help_heading() == *heading) {
            page.push_str(&row(arg));
        }
    }
    for command in command.get_subcommands() {
        describe(command, &name, page);
    }
}

fn row(arg: &Arg) -> String {
    let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let value = value.map(|names| format!(" {}", names[0])).unwrap_or_default();
    let long = arg.get_long().map_or_else(|| value.trim().to_owned(), |long| format!("--{long}{value}"));
    let flag =
        arg.get_short().map_or_else(|| code(long.clone()), |short| format!("`-{short}`, {}", code(long.clone())));
    let variable = code(arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    let values = if arg.get_action().takes_values() { arg.get_default_values() } else { &[] };
    let shown = if arg.is_hide_default_value_set() { &[] } else { values };
    let default = code(shown.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","));
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if !arg.is_hide_possible_values_set() && arg.get_action().takes_values() {
        let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !values.is_empty() {
            write!(meaning, ". One of {}", values.join(", ")).expect("memory");
        }
    }
    format!("| {flag} | {variable} | {default} | {meaning} |\n")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests have no flags; `make settings` sets the variable")]
fn the_page_is_what_the_flags_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var("MINI_SCAN_BLESS").is_ok_and(|value| !value.is_empty()) {
        std::fs::write(&path, page()).expect("the page is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page().lines().map(str::to_owned)).find(|(old, new)| old != new);
    assert!(written == page(), "{PAGE} differs from the flags; write it with `make settings`: {differs:?}");
}

#[test]
fn every_visible_flag_is_on_the_page_with_its_variable() {
    let page = page();
    let row = "| `-m`, `--max-outstanding NUMBER` | `MINI_SCAN_MAX_OUTSTANDING` | `1000` | Messages that are decoded, ";
    assert!(page.contains(row), "{page}");
    for section in ["## `mini-scan setup pubsub`", "## `mini-scan dead-letters redrive`", "**Throughput**"] {
        assert!(page.contains(section), "without {section}");
    }
    assert!(!page.contains("all-endpoints-url"), "a hidden flag is on the page");
}
