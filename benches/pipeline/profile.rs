//! Counts the instructions of a message by source file, crate and function, and its allocations by stage. The consumer
//! runs under callgrind and DHAT with one thread, new scans and the null table. The difference of two runs of different
//! length excludes start and stop.
//!
//! The simulated processor may lack instructions of the real one (e.g. SHA), so signing costs more here.

mod allocations;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::callgrind::Counts;
use crate::load::Load;
use crate::scenario::Table;
use crate::stage::{Pubsub, Store, reach};

const MESSAGES: [usize; 2] = [2_000, 6_000];
const TIMEOUT: Duration = Duration::from_secs(300);
/// Groups of source files and folders of this repository whose cost is added up.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "Ordering and flow control",
        &[
            "src/consumer/dedup/coalesce.rs",
            "src/consumer/dedup/high_water.rs",
            "src/consumer/dedup/keys.rs",
            "src/consumer/flow/circuit_breaker.rs",
            "src/consumer/flow/limit.rs",
            "src/consumer/flow/concurrency.rs",
            "src/consumer/flow/write_permits.rs",
        ],
    ),
    (
        "Observation",
        &[
            "src/observe/metrics.rs",
            "src/observe/durations.rs",
            "src/observe/traffic.rs",
            "src/observe/spans.rs",
            "src/observe/streams.rs",
            "crates/ops/src/",
        ],
    ),
];
const ROWS: usize = 20;

/// The instructions per message. [`check`] fails above this times the tolerance. After a compiler upgrade or an
/// optimization, set it to the value that `make check-instructions` prints.
const INSTRUCTIONS: f64 = 374_000.0;
const TOLERANCE: f64 = 1.02;
const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Prints instructions and allocations. The consumer's executable needs line tables.
pub(crate) async fn run(consumer: Consumer<'_>) -> anyhow::Result<()> {
    for file in GROUPS.iter().flat_map(|(_, files)| *files) {
        ensure!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{file} was moved; correct GROUPS");
    }
    let [few, many] = MESSAGES;
    let messages = (many - few) as f64;
    report(&counts(consumer).await?, messages);
    let before = allocations::read(&run_under(Tool::Dhat, consumer, few).await?)?;
    let after = allocations::read(&run_under(Tool::Dhat, consumer, many).await?)?;
    println!("Allocations per message, and their bytes, by stage\n");
    for stage in allocations::stages() {
        let [before, after] = [&before, &after].map(|all| all.get(stage).copied().unwrap_or_default());
        let (blocks, bytes) = ((after.blocks - before.blocks) as f64, (after.bytes - before.bytes) as f64);
        println!("  {:>6.1}  {:>8.0}  {stage}", blocks / messages, bytes / messages);
    }
    Ok(())
}

/// Fails if a message takes 2 % more instructions than the recorded value. Other compilers than the recorded one are not
/// checked.
pub(crate) async fn check(file: &Path, compiler: &str) -> anyhow::Result<()> {
    let [few, many] = MESSAGES;
    let instructions = counts(Consumer { file, flags: &[] }).await?.total() as f64 / (many - few) as f64;
    println!("{instructions:.0} instructions per message; the limit is {TOLERANCE} × {INSTRUCTIONS:.0}");
    if compiler != COMPILER {
        println!("NOT CHECKED: the limit was recorded with {COMPILER}, and this is {compiler}");
        return Ok(());
    }
    ensure!(instructions <= TOLERANCE * INSTRUCTIONS, "TOO MANY: a message takes more instructions than the limit");
    Ok(())
}

/// Returns the instructions of the additional messages of the longer run.
async fn counts(consumer: Consumer<'_>) -> anyhow::Result<Counts> {
    let [few, many] = MESSAGES;
    let short = Counts::read(&run_under(Tool::Callgrind, consumer, few).await?)?;
    Ok(Counts::read(&run_under(Tool::Callgrind, consumer, many).await?)?.minus(&short))
}

/// The profiled consumer: its executable, and its additional flags.
#[derive(Clone, Copy)]
pub(crate) struct Consumer<'a> {
    pub(crate) file: &'a Path,
    pub(crate) flags: &'a [String],
}

#[derive(Clone, Copy)]
enum Tool {
    Callgrind,
    Dhat,
}

/// Runs the consumer under the tool for this many messages, and returns the tool's output.
async fn run_under(tool: Tool, consumer: Consumer<'_>, messages: usize) -> anyhow::Result<String> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    pubsub.publish(Load::New.messages(messages, 0)).await?;
    let directory = crate::directory();
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{}.{messages}", tool.name()));
    let mut child = start(tool, consumer, &file, &pubsub, &store)?;
    pubsub.until(TIMEOUT, |counts| counts.acknowledged >= messages as u64).await?;
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    ensure!(stopped.success() && child.wait()?.success(), "the consumer did not exit successfully");
    std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn start(tool: Tool, consumer: Consumer<'_>, file: &Path, pubsub: &Pubsub, store: &Store) -> anyhow::Result<Child> {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={}", tool.name())).arg(format!("--{}-out-file={}", tool.name(), file.display()));
    match tool {
        Tool::Callgrind => command.args(["--compress-strings=no", "--compress-pos=no"]),
        // The SDK's call stacks are deeper than DHAT's default.
        Tool::Dhat => command.arg("--num-callers=200"),
    };
    command
        .arg(consumer.file)
        .args(["consumer", "--project", "bench", "--threads", "1"])
        .args(consumer.flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    reach(&mut command, pubsub, store);
    command.spawn().context("cannot start valgrind")
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Callgrind => "callgrind",
            Tool::Dhat => "dhat",
        }
    }
}

fn report(counts: &Counts, messages: f64) {
    let total = counts.total() as f64;
    println!("{:.0} instructions per message (null table, one thread, new scans)\n", total / messages);
    let share = |cost: i64| 100.0 * cost as f64 / total;
    let print = |title: &str, rows: Vec<(&str, i64)>| {
        println!("{title}\n");
        for (name, cost) in rows.into_iter().take(ROWS) {
            let name: String = name.chars().take(150).collect();
            println!("  {:>6.2} %  {:>8.0}  {name}", share(cost), cost as f64 / messages);
        }
        println!();
    };
    let hashing = |file: &str| ["hashbrown", "/hash/", "/hash_map", "/map.rs"].iter().any(|part| file.contains(part));
    for (group, files) in GROUPS {
        let of = |name: &str| counts.of_files(|file| file.contains(name));
        print(&format!("{group}, including calls"), files.iter().map(|name| (*name, of(name))).collect());
        let is_one = |file: &str| files.iter().any(|name| file.contains(name));
        let together = counts.of_files(is_one);
        let at_most = together + counts.adjacent(is_one, hashing);
        println!("  together {:.2} %, and {:.2} % with all adjacent hashing\n", share(together), share(at_most));
    }
    print("By source file; inlined lines count for their own file", counts.own(|_, file| file));
    print("By crate of the function", counts.own(|function, _| crate_of(function)));
    print("By function", counts.own(|function, _| function));
    print("By function, including calls", counts.with_calls());
}

/// Returns the first name of a path, e.g. `hyper` of `<hyper::Body as Trait>::poll`.
fn crate_of(function: &str) -> &str {
    let path = function.trim_start_matches(['<', '&', '*', '(', '[']).trim_start_matches("dyn ");
    let end = path.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(path.len());
    match path[end..].starts_with("::") {
        true => &path[..end],
        false => "C and other",
    }
}
