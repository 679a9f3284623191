//! Messages per second through send, receive and delete, with a backlog. It measures the server together with a client
//! that only writes and reads bytes, on the same cores.
//!
//! ```sh
//! cargo bench --package sqs-local
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sqs_local::Server;
use tokio::time::Instant;

const BACKLOG: usize = 100_000;
const MESSAGES: usize = 200_000;
const CONNECTIONS: usize = 8;
const BODY_BYTES: usize = 300;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(Server::bind(([127, 0, 0, 1], 0).into())).expect("a free port");
    let address = server.address();
    runtime.spawn(server.serve(std::future::pending()));
    let mut client = Client::connect(address);
    client.call("CreateQueue", &json!({"QueueName": "bench"}));

    let filling = measure(address, BACKLOG, send);
    println!("send alone: {:.0} messages per second, until the backlog is {BACKLOG}", rate(BACKLOG, filling));
    let all = measure(address, MESSAGES, |client| {
        send(client);
        receive_and_delete(client);
    });
    println!("send, receive and delete: {:.0} messages per second with that backlog", rate(MESSAGES, all));
    let attributes = client.call("GetQueueAttributes", &json!({"QueueUrl": URL, "AttributeNames": ["All"]}));
    assert_eq!(attributes["Attributes"]["ApproximateNumberOfMessages"], BACKLOG.to_string());
}

const URL: &str = "http://localhost/000000000000/bench";

/// Runs `round`, which handles 10 messages, on several connections until `messages` are done.
fn measure(address: SocketAddr, messages: usize, round: fn(&mut Client)) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                (0..messages / CONNECTIONS / 10).for_each(|_| round(&mut client));
            });
        }
    });
    start.elapsed()
}

fn rate(messages: usize, elapsed: Duration) -> f64 {
    messages as f64 / elapsed.as_secs_f64()
}

fn send(client: &mut Client) {
    let body = "x".repeat(BODY_BYTES);
    let entries: Vec<Value> = (0..10).map(|id| json!({"Id": id.to_string(), "MessageBody": body})).collect();
    let sent = client.call("SendMessageBatch", &json!({"QueueUrl": URL, "Entries": entries}));
    assert_eq!(sent["Successful"].as_array().map(Vec::len), Some(10));
}

fn receive_and_delete(client: &mut Client) {
    let parameters =
        json!({"QueueUrl": URL, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "AttributeNames": ["All"]});
    let received = client.call("ReceiveMessage", &parameters);
    let messages = received["Messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 10);
    let entry =
        |(id, message): (usize, &Value)| json!({"Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"]});
    let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
    let deleted = client.call("DeleteMessageBatch", &json!({"QueueUrl": URL, "Entries": entries}));
    assert_eq!(deleted["Successful"].as_array().map(Vec::len), Some(10));
}

/// One connection that is kept open.
struct Client {
    connection: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let connection = TcpStream::connect(address).expect("a connection");
        connection.set_nodelay(true).expect("an option of the socket");
        Client { connection, buffer: Vec::new() }
    }

    fn call(&mut self, operation: &str, parameters: &Value) -> Value {
        let body = parameters.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: AmazonSQS.{operation}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.connection.write_all(format!("{head}{body}").as_bytes()).expect("a request");
        self.buffer.clear();
        loop {
            if let Some(head) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
                assert!(text.starts_with("http/1.1 200"), "{text}");
                let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                let end = head + 4 + length.and_then(|length| length.parse::<usize>().ok()).expect("a length");
                if self.buffer.len() >= end {
                    return serde_json::from_slice(&self.buffer[head + 4..end]).expect("JSON");
                }
            }
            let mut chunk = [0; 16_384];
            let read = self.connection.read(&mut chunk).expect("a response");
            assert!(read > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}
