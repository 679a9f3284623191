//! A program as a child process. It inherits no environment variable of the tests. The tests of each of our programs include this
//! file.
#![expect(dead_code, reason = "no program's tests use all of it")]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TIMEOUT, with_timeout};

/// The unit of processor times in `/proc`: `USER_HZ` is 100 for user space on Linux.
const MILLISECONDS_PER_TICK: u64 = 10;

/// The program before its start: its arguments, its environment variables and an empty home directory.
pub(crate) struct Launch {
    command: Command,
    home: TempDir,
}

/// The running program. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    lines: mpsc::UnboundedReceiver<(Stream, String)>,
    output: Output,
    _readers: JoinSet<()>,
    _home: TempDir,
}

/// The lines that the program has written so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    Terminate,
    Interrupt,
    Kill,
    /// Suspends the process until `Continue`.
    Stop,
    Continue,
}

/// Returns a program with `arguments`, in an empty home directory.
pub(crate) fn launch<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home.path()).current_dir(home.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Launch { command, home }
}

impl Launch {
    pub(crate) fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Launch {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Launch {
        self.command.env_remove(name);
        self
    }

    /// Gives the program this text on stdin.
    pub(crate) fn input(mut self, text: &str) -> Launch {
        let path = self.home.path().join("stdin");
        std::fs::write(&path, text).expect("the file is written");
        self.command.stdin(std::fs::File::open(path).expect("the file exists"));
        self
    }

    pub(crate) fn start(mut self) -> Program {
        let mut child = self.command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        readers.spawn(read(Stream::Stdout, child.stdout.take().expect("it is piped"), sender.clone()));
        readers.spawn(read(Stream::Stderr, child.stderr.take().expect("it is piped"), sender));
        Program { child, lines, output: Output::default(), _readers: readers, _home: self.home }
    }

    /// Runs the program until it exits by itself with success. Returns its lines.
    pub(crate) async fn succeed(self) -> Output {
        let exit = self.run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        exit.output
    }

    /// Runs the program until it exits by itself.
    pub(crate) async fn run(self) -> Exit {
        self.start().exit().await
    }
}

impl Program {
    /// Waits for the next line on either stream that contains `text`, and returns it.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                match self.next_line().await {
                    Some(line) if line.contains(text) => return line,
                    Some(_) => {}
                    None => panic!("the program ended before it wrote {text:?}: {:#?}", self.output),
                }
            }
        };
        with_timeout(text, reading).await
    }

    pub(crate) async fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        let id = self.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().await;
        assert!(sent.expect("sh runs").success(), "SIG{name} was not sent; the program wrote {:#?}", self.output);
    }

    /// Waits until the program has closed its output, which it does when it ends.
    pub(crate) async fn end_of_output(&mut self) {
        while self.next_line().await.is_some() {}
    }

    /// Returns all lines on stderr so far.
    pub(crate) fn log(&mut self) -> &[String] {
        while let Ok((stream, line)) = self.lines.try_recv() {
            self.note(stream, line);
        }
        &self.output.stderr
    }

    /// Returns the processor time that the program has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the program runs, on Linux");
        // The name is in brackets and may contain anything. After it, `utime` and `stime` are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * MILLISECONDS_PER_TICK)
    }

    /// Returns the process id. The system does not reuse it before `exit` has waited for the process.
    fn id(&self) -> u32 {
        self.child.id().expect("only `exit` waits for the program")
    }

    /// Waits until the program exits by itself.
    pub(crate) async fn exit(mut self) -> Exit {
        // A drain of thousands of messages prints nothing until its end.
        while timeout(4 * TIMEOUT, self.next_line()).await.expect("the program ends").is_some() {}
        let status: ExitStatus =
            with_timeout("the exit code", self.child.wait()).await.expect("the child is waited for");
        Exit { code: status.code(), output: self.output }
    }

    async fn next_line(&mut self) -> Option<String> {
        let (stream, line) = self.lines.recv().await?;
        self.note(stream, line.clone());
        Some(line)
    }

    fn note(&mut self, stream: Stream, line: String) {
        match stream {
            Stream::Stdout => self.output.stdout.push(line),
            Stream::Stderr => self.output.stderr.push(line),
        }
    }
}

async fn read(stream: Stream, from: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<(Stream, String)>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to.send((stream, line)).is_err() {
            break;
        }
    }
}
