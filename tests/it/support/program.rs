//! The real program in a process of its own, in an environment that holds nothing of this one.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dynamo::Dynamo;
use super::pubsub::Pubsub;
use super::within_patience;

/// `USER_HZ`, which Linux keeps at 100 for whoever reads its files.
const MILLISECONDS_A_TICK: u64 = 10;

/// The program as it will be started: its arguments, and an environment that holds only what is put into it and a
/// home directory with nothing in it.
pub(crate) struct Launch {
    command: Command,
    home: TempDir,
}

/// The program, running. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    lines: mpsc::UnboundedReceiver<(Stream, String)>,
    said: Said,
    _readers: JoinSet<()>,
    _home: TempDir,
}

/// What the program has written, by stream.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) said: Said,
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
    /// It is there and does nothing, until it may continue.
    Stop,
    Continue,
}

/// `mini-scan` with `arguments`. A consumer is not watched unless told where: tests run beside each other.
pub(crate) fn mini_scan<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    launch(env!("CARGO_BIN_EXE_mini-scan"), arguments)
}

/// Another program with `arguments`, in the same empty environment.
pub(crate) fn launch<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home.path()).current_dir(home.path());
    command.env("MINI_SCAN_HTTP_LISTEN", "off");
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

    /// Points the program at these servers, as a person would.
    pub(crate) fn against(self, pubsub: &Pubsub, dynamo: &Dynamo) -> Launch {
        self.env("PUBSUB_EMULATOR_HOST", &pubsub.address)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint)
            .env("AWS_REGION", "us-east-1")
    }

    pub(crate) fn start(mut self) -> Program {
        let mut child = self.command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        readers.spawn(read(Stream::Stdout, child.stdout.take().expect("it is piped"), sender.clone()));
        readers.spawn(read(Stream::Stderr, child.stderr.take().expect("it is piped"), sender));
        Program { child, lines, said: Said::default(), _readers: readers, _home: self.home }
    }

    /// Runs the program to its end, which must come by itself.
    pub(crate) async fn run(self) -> Exit {
        self.start().exit().await
    }
}

impl Program {
    /// Waits until a line of either stream that was not read before contains `text`, and gives that line.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        let said = async {
            loop {
                match self.next_line().await {
                    Some(line) if line.contains(text) => return line,
                    Some(_) => {}
                    None => panic!("the program ended before it said {text:?}: {:#?}", self.said),
                }
            }
        };
        within_patience(text, said).await
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
        assert!(sent.expect("sh runs").success(), "SIG{name} was not sent; the program said {:#?}", self.said);
    }

    /// Waits until it writes no more, which is when it has ended.
    pub(crate) async fn silence(&mut self) {
        while self.next_line().await.is_some() {}
    }

    /// Everything it has written to stderr so far.
    pub(crate) fn log(&mut self) -> &[String] {
        while let Ok((stream, line)) = self.lines.try_recv() {
            self.note(stream, line);
        }
        &self.said.stderr
    }

    /// The processor time that it has used, as the operating system counts it.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the program runs, on Linux");
        // After the name, which is in brackets and may hold anything, `utime` and `stime` are the 12th and 13th.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * MILLISECONDS_A_TICK)
    }

    /// The id is the program's own as long as nobody has waited for it, which only `exit` does.
    fn id(&self) -> u32 {
        self.child.id().expect("nobody has waited for the program")
    }

    /// Waits for the end of the program, which must come by itself.
    pub(crate) async fn exit(mut self) -> Exit {
        while within_patience("the end of the program", self.next_line()).await.is_some() {}
        let status: ExitStatus = within_patience("the exit code", self.child.wait()).await.expect("it is our child");
        Exit { code: status.code(), said: self.said }
    }

    async fn next_line(&mut self) -> Option<String> {
        let (stream, line) = self.lines.recv().await?;
        self.note(stream, line.clone());
        Some(line)
    }

    fn note(&mut self, stream: Stream, line: String) {
        match stream {
            Stream::Stdout => self.said.stdout.push(line),
            Stream::Stderr => self.said.stderr.push(line),
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
