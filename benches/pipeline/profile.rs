//! The instructions of a message, by source file, crate and function: the consumer under callgrind, one thread, new
//! scans, null table; and its allocations by stage, under DHAT. Two runs of different length, so that start and stop
//! drop out.
//!
//! The simulated processor may lack instructions that the real one has (SHA among them), so signing weighs more here.

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
const WITHIN: Duration = Duration::from_secs(300);
/// What is added up, by parts of the names of its source files.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "Order and pace",
        &[
            "dedup/coalesce.rs",
            "dedup/high_water.rs",
            "dedup/keys.rs",
            "flow/circuit_breaker.rs",
            "flow/limit.rs",
            "flow/concurrency.rs",
            "flow/write_permits.rs",
        ],
    ),
    (
        "Observation",
        &[
            "observe/metrics.rs",
            "observe/durations.rs",
            "observe/traffic.rs",
            "observe/spans.rs",
            "observe/streams.rs",
            "metrics/histogram.rs",
            "ops/src/",
        ],
    ),
];
const ROWS: usize = 20;

/// What [`check`] bounds: a twentieth more is too much. When the compiler is renewed, or a message became cheaper, put in
/// what `make check-instructions` prints.
const INSTRUCTIONS: f64 = 374_000.0;
const TOLERANCE: f64 = 1.05;
const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// `consumer` is the file of the consumer, with line tables, and its flags beside the usual ones.
pub(crate) async fn run(consumer: Consumer<'_>) -> anyhow::Result<()> {
    let [few, many] = MESSAGES;
    let messages = (many - few) as f64;
    report(&counts(consumer).await?, messages);
    let before = allocations::read(&under(Tool::Dhat, consumer, few).await?)?;
    let after = allocations::read(&under(Tool::Dhat, consumer, many).await?)?;
    println!("Allocations a message, and their bytes, by stage\n");
    for stage in allocations::stages() {
        let [before, after] = [&before, &after].map(|all| all.get(stage).copied().unwrap_or_default());
        let (blocks, bytes) = ((after.blocks - before.blocks) as f64, (after.bytes - before.bytes) as f64);
        println!("  {:>6.1}  {:>8.0}  {stage}", blocks / messages, bytes / messages);
    }
    Ok(())
}

/// Fails when a message takes a twentieth more than it did; judged for the compiler alone that the bound was counted with.
pub(crate) async fn check(file: &Path, compiler: &str) -> anyhow::Result<()> {
    let [few, many] = MESSAGES;
    let instructions = counts(Consumer { file, flags: &[] }).await?.total() as f64 / (many - few) as f64;
    println!("{instructions:.0} instructions a message; the bound is {TOLERANCE} × {INSTRUCTIONS:.0}");
    if compiler != COMPILER {
        println!("NOT JUDGED, because the bound is of {COMPILER}, and this is {compiler}");
        return Ok(());
    }
    ensure!(instructions <= TOLERANCE * INSTRUCTIONS, "TOO MUCH: a message takes more instructions than it did");
    Ok(())
}

/// What more messages take.
async fn counts(consumer: Consumer<'_>) -> anyhow::Result<Counts> {
    let [few, many] = MESSAGES;
    let short = Counts::read(&under(Tool::Callgrind, consumer, few).await?)?;
    Ok(Counts::read(&under(Tool::Callgrind, consumer, many).await?)?.minus(&short))
}

/// What is looked into.
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

/// What the tool writes of the consumer of so many messages.
async fn under(tool: Tool, consumer: Consumer<'_>, messages: usize) -> anyhow::Result<String> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    pubsub.publish(Load::New.messages(messages, 0)).await?;
    let directory = crate::directory();
    std::fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{}.{messages}", tool.name()));
    let mut child = start(tool, consumer, &file, &pubsub, &store)?;
    pubsub.until(WITHIN, |counts| counts.acknowledged >= messages as u64).await?;
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    ensure!(stopped.success() && child.wait()?.success(), "the consumer did not stop as it should");
    std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))
}

fn start(tool: Tool, consumer: Consumer<'_>, file: &Path, pubsub: &Pubsub, store: &Store) -> anyhow::Result<Child> {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={}", tool.name())).arg(format!("--{}-out-file={}", tool.name(), file.display()));
    match tool {
        Tool::Callgrind => command.args(["--compress-strings=no", "--compress-pos=no"]),
        // The SDK's calls are nested deeper than is looked by itself.
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
    println!("{:.0} instructions a message (null table, one thread, new scans)\n", total / messages);
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
        print(&format!("{group}, with all that it calls"), files.iter().map(|name| (*name, of(name))).collect());
        let is_one = |file: &str| files.iter().any(|name| file.contains(name));
        let together = counts.of_files(is_one);
        let at_most = together + counts.beside(is_one, hashing);
        println!("  together {:.2} %, and {:.2} % with all hashing beside them\n", share(together), share(at_most));
    }
    print("By source file, inlined lines for the file they stand in", counts.own(|_, file| file));
    print("By crate of the function", counts.own(|function, _| crate_of(function)));
    print("By function", counts.own(|function, _| function));
    print("By function, with all that it calls", counts.with_calls());
}

/// The first name of a path: `hyper` of `<hyper::Body as Trait>::poll`.
fn crate_of(function: &str) -> &str {
    let path = function.trim_start_matches(['<', '&', '*', '(', '[']).trim_start_matches("dyn ");
    let end = path.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(path.len());
    match path[end..].starts_with("::") {
        true => &path[..end],
        false => "C and others",
    }
}
