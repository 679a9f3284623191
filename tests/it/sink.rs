//! `mini-scan webhooks sink`: what it verifies, prints and answers.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use serde_json::{Value, json};
use webhooks::{SIGNATURE, SIGNED_ID, Secret, Signer, TIMESTAMP};

use crate::support::program::{Launch, Program, Signal, mini_scan};
use crate::support::with_timeout;

const BODY: &str = r#"{"type":"scan.opened","data":{"ip":"1.1.1.7"}}"#;

struct Sink {
    program: Program,
    url: String,
    client: reqwest::Client,
}

fn sink<const N: usize>(flags: [&str; N]) -> Launch {
    mini_scan(["webhooks", "sink", "--listen", "127.0.0.1:0"]).arguments(flags)
}

impl Sink {
    async fn start(launch: Launch) -> Sink {
        let mut program = launch.start();
        let line = program.wait_for_line("The sink listens on http://").await;
        let (_, rest) = line.split_once("http://").expect("an address");
        let url = format!("http://{}/hook", rest.split(' ').next().expect("an address"));
        Sink { program, url, client: reqwest::Client::builder().no_proxy().build().expect("a client") }
    }

    /// Posts the body as a webhook that this secret signs.
    fn post(&self, id: &str, secret: &Secret) -> reqwest::RequestBuilder {
        #[expect(clippy::disallowed_methods, reason = "the sink compares the signed time with its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let signature = Signer::new([secret]).sign(id, now, BODY.as_bytes());
        let post = self.client.post(&self.url).header(SIGNED_ID, id).header(TIMESTAMP, now);
        post.header(SIGNATURE, signature).body(BODY)
    }

    async fn status(&self, id: &str, secret: &Secret) -> StatusCode {
        with_timeout("an answer of the sink", self.post(id, secret).send()).await.expect("an answer").status()
    }

    /// Stops the sink. Returns its lines on stdout, and the summary.
    async fn stop(self) -> (Vec<String>, String) {
        self.program.signal(Signal::Interrupt).await;
        let exit = self.program.exit().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        (exit.output.stdout, exit.output.stderr.last().expect("a summary").clone())
    }
}

fn secret(byte: u8) -> Secret {
    Secret::from_bytes(&[byte; 32]).expect("32 bytes")
}

/// Writes these secrets to a file.
fn file(secrets: &[Secret]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let lines: Vec<_> = secrets.iter().map(|secret| format!("{}\n", *secret.reveal())).collect();
    std::fs::write(file.path(), lines.concat()).expect("the file is written");
    file
}

#[tokio::test]
async fn the_sink_verifies_signatures_and_counts_duplicates() {
    let file = file(&[secret(2), secret(1)]);
    let sink = Sink::start(sink(["--secret-file", file.path().to_str().expect("UTF-8")])).await;
    for (id, secret, expected) in [("msg_1", 1, 204), ("msg_2", 2, 204), ("msg_1", 1, 204), ("msg_3", 3, 400)] {
        assert_eq!(sink.status(id, &self::secret(secret)).await, expected, "{id}");
    }
    assert_eq!(sink.client.get(&sink.url).send().await.expect("an answer").status(), 405);
    let (lines, summary) = sink.stop().await;
    let after_time: Vec<_> = lines.iter().map(|line| line.split_once("  ").expect("a time").1).collect();
    assert_eq!(
        after_time,
        [
            "msg_1  scan.opened  204  verified",
            "msg_2  scan.opened  204  verified",
            "msg_1  scan.opened  204  verified  duplicate",
            "msg_3  scan.opened  400  rejected: no signature in the header webhook-signature is valid",
        ]
    );
    assert_eq!(
        summary,
        "Sink stopped. Requests: 4, accepted: 3, of these duplicates: 1, rejected: 1, failed on demand: 0"
    );
}

#[tokio::test]
async fn the_sink_prints_json_with_the_body_and_fails_at_first() {
    let launch = sink(["--json", "--fail-for", "1h"]).env("MINI_SCAN_SINK_SECRET", &secret(1).reveal());
    let sink = Sink::start(launch).await;
    assert_eq!(sink.status("msg_1", &secret(1)).await, 503);
    // A wrong signature is no failure of the sink, so it has precedence.
    assert_eq!(sink.status("msg_2", &secret(2)).await, 400);
    let large = sink.client.post(&sink.url).body(vec![b'x'; 300 << 10]).send().await.expect("an answer");
    assert_eq!(large.status(), 413);
    let (lines, summary) = sink.stop().await;
    let mut lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for line in &mut lines {
        assert!(line.as_object_mut().expect("an object").remove("time").is_some());
    }
    let body = json!({ "type": "scan.opened", "data": { "ip": "1.1.1.7" } });
    let common = json!({ "type": "scan.opened", "duplicate": false, "path": "/hook", "body": body });
    let with = |others: Value| {
        let mut all = common.clone();
        all.as_object_mut().expect("an object").extend(others.as_object().expect("an object").clone());
        all
    };
    let problem = "no signature in the header webhook-signature is valid";
    assert_eq!(
        lines,
        [
            with(json!({ "id": "msg_1", "status": 503, "verified": true })),
            with(json!({ "id": "msg_2", "status": 400, "verified": false, "problem": problem })),
        ]
    );
    assert!(summary.contains("rejected: 1, failed on demand: 1"), "{summary}");
}

#[tokio::test]
async fn a_hanging_sink_prints_webhooks_and_stops_without_an_answer() {
    let mut sink = Sink::start(sink(["--hang"])).await;
    let request = sink.post("msg_1", &secret(1)).send();
    tokio::select! {
        answer = request => panic!("the sink answered: {answer:?}"),
        line = sink.program.wait_for_line("msg_1") => assert!(line.ends_with("  no answer  not verified"), "{line}"),
    }
    sink.stop().await;
}

#[tokio::test]
async fn a_sink_without_usable_settings_does_not_start() {
    let (empty, invalid) = (file(&[]), tempfile::NamedTempFile::new().expect("a file"));
    std::fs::write(invalid.path(), "whsec_confidential").expect("the file is written");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("UTF-8").to_owned();
    for (flags, reason) in [
        (["--secret-file", &path(&empty)], "has no secret"),
        (["--secret-file", &path(&invalid)], "is refused"),
        (["--secret-file", "/nowhere"], "cannot read /nowhere"),
        (["--status", "199"], "it must be from 200 to 599"),
        (["--fail-share", "1.1"], "it must be a number from 0 to 1"),
    ] {
        let exit = sink(flags).run().await;
        let text = exit.output.stderr.join("\n");
        assert!(exit.code == Some(2) && text.contains(reason) && !text.contains("confidential"), "{flags:?}: {text}");
    }
}
