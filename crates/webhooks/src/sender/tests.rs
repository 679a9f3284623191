//! The sender against receivers on the loopback interface, most of them hostile.

mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::resolver::Addresses;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Much longer than each limit of [`settings`], and much shorter than a receiver that never ends.
const SOON: Duration = Duration::from_secs(20);
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// No receiver may send more than this before its connection is closed: buffers of the sockets, not of the sender.
const FEW_BYTES: usize = 16 << 20;

/// Gives the next list of addresses to each question, and the last one for ever.
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Scripted> {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Scripted { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, _: &'a str) -> Addresses<'a> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(asked).or(self.answers.last()).cloned();
        Box::pin(async { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// Accepts connections, and hands each to a script.
struct Receiver {
    port: u16,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> Receiver
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                scripts.spawn(script(stream));
            }
        });
        Receiver { port, connections, _tasks: tasks }
    }

    /// Answers each request with the same bytes, and keeps the connection.
    async fn answering(answer: &'static str) -> Receiver {
        Receiver::start(move |mut stream| async move {
            while let Some(_request) = read_request(&mut stream).await {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://sink.test:{}/hook?a=b", self.port)
    }

    fn sender(&self) -> HttpSender {
        let target = format!("sink.test:{}", self.port).parse().unwrap();
        sender(Policy { allow_targets: vec![target], ..open() }, Scripted::new(&[&["127.0.0.1"]]))
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request with a body of [`BODY`].
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(BODY.as_bytes()) {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8(request).unwrap())
}

const BODY: &str = r#"{"type":"scan.opened"}"#;

fn open() -> Policy {
    Policy { allow_http: true, ..Policy::default() }
}

fn settings() -> SenderSettings {
    SenderSettings {
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_millis(400),
        ..SenderSettings::default()
    }
}

fn patient() -> SenderSettings {
    SenderSettings { timeout: SOON, connect_timeout: SOON, ..SenderSettings::default() }
}

fn sender(policy: Policy, resolver: Arc<Scripted>) -> HttpSender {
    sender_with(policy, resolver, patient())
}

fn sender_with(policy: Policy, resolver: Arc<Scripted>, settings: SenderSettings) -> HttpSender {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    HttpSender::with_tls(policy, resolver, settings, tls).unwrap()
}

fn post(url: String) -> Post {
    Post {
        url,
        id: "msg_1".into(),
        timestamp: 1000,
        signature: Some("v1,abc".into()),
        trace: TraceParent::parse(TRACE),
        body: Bytes::from_static(BODY.as_bytes()),
    }
}

/// Sends with short limits, and checks that the attempt ends soon.
async fn attempt(receiver: &Receiver, scheme: &str) -> Result<Answer, Failure> {
    let target = format!("sink.test:{}", receiver.port).parse().unwrap();
    let policy = Policy { allow_targets: vec![target], ..open() };
    let started = Instant::now();
    let answer =
        sender_with(policy, Scripted::new(&[&["127.0.0.1"]]), settings()).send(post(receiver.url(scheme))).await;
    assert!(started.elapsed() < SOON, "the attempt took {:?}", started.elapsed());
    answer
}

#[tokio::test]
async fn a_receiver_gets_the_headers_and_the_body() {
    let (requests, mut received) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            requests.send(read_request(&mut stream).await).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let answer = receiver.sender().send(post(receiver.url("http"))).await.unwrap();
    assert_eq!(answer, Answer { status: 204, retry_after: None, body: Bytes::new() });
    let request = received.recv().await.unwrap().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
    let host = format!("host: sink.test:{}", receiver.port);
    let trace = format!("traceparent: {TRACE}");
    let headers = ["webhook-id: msg_1", "webhook-timestamp: 1000", "webhook-signature: v1,abc", &trace, &host];
    for header in headers.into_iter().chain(["content-type: application/json", "content-length: 22"]) {
        assert!(head.lines().any(|line| line == header), "{header} is missing in {head}");
    }
}

#[tokio::test]
async fn connections_serve_several_requests() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let sender = receiver.sender();
    for _ in 0..20 {
        assert_eq!(sender.send(post(receiver.url("http"))).await.unwrap().body, "ok");
    }
    // A connection may be returned to the pool only after the next request started.
    assert!(receiver.connections() < 10, "{} connections for 20 requests", receiver.connections());
}

#[test]
fn retry_after_may_be_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let seconds = |date: &'static str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(date))]);
        retry_after(&headers, now).map(|after| after.as_secs())
    };
    assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
    assert_eq!(seconds("Sun Nov  6 08:50:37 1994"), Some(60));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 CET"), None);
    assert_eq!(seconds("Sun, 32 Nov 1994 08:50:37 GMT"), None);
}

#[tokio::test]
async fn retry_after_is_a_number_of_seconds() {
    for (header, expected) in
        [("7", Some(7)), (" 7 ", Some(7)), ("soon", None), ("-1", None), ("99999999999999999999", None)]
    {
        let answer: &'static str =
            format!("HTTP/1.1 429 No\r\nretry-after: {header}\r\ncontent-length: 0\r\n\r\n").leak();
        let receiver = Receiver::answering(answer).await;
        let answer = receiver.sender().send(post(receiver.url("http"))).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (429, expected.map(Duration::from_secs)), "{header}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let policy = Policy { ports: vec![receiver.port], ..open() };
    for addresses in [&["127.0.0.1"][..], &["::1"], &["1.1.1.1", "127.0.0.1"], &["::ffff:127.0.0.1"]] {
        let refused = sender(policy.clone(), Scripted::new(&[addresses])).send(post(receiver.url("http"))).await;
        assert!(matches!(refused, Err(Failure::Refused(RefusedTarget::InternalAddress(_)))), "{refused:?}");
    }
    let literal = sender(policy, Scripted::new(&[])).send(post(format!("http://127.0.0.1:{}/", receiver.port))).await;
    assert_eq!(literal, Err(Failure::Refused(RefusedTarget::InternalAddress(LOCALHOST))));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_checked_address_is_the_one_that_is_connected_to() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
    let policy = Policy { ports: vec![receiver.port], allow_networks: vec!["127.0.0.1/32".parse().unwrap()], ..open() };
    // The name changes between look-ups. A second look-up for the connection would get the second address.
    let resolver = Scripted::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let sender = sender(policy, Arc::clone(&resolver));
    assert_eq!(sender.send(post(receiver.url("http"))).await.unwrap().status, 200);
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    let rebound = RefusedTarget::InternalAddress("127.0.0.2".parse().unwrap());
    assert_eq!(sender.send(post(receiver.url("http"))).await, Err(Failure::Refused(rebound)));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn redirects_are_answers_and_nothing_follows_them() {
    let internal = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://127.0.0.1:{}/", internal.port);
        let answer = format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").leak();
        let receiver = Receiver::answering(answer).await;
        // Both are allowed, so that only the missing redirect protects the second one.
        let targets = [format!("sink.test:{}", receiver.port), format!("127.0.0.1:{}", internal.port)];
        let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
        let sender = sender(Policy { allow_targets: targets, ..open() }, Scripted::new(&[&["127.0.0.1"]]));
        let answer = sender.send(post(receiver.url("http"))).await.unwrap();
        assert_eq!(answer.status, status);
    }
    assert_eq!(internal.connections(), 0);
}

/// The environment of a process is set when it starts, so the test runs another test of this file in a process of its own.
#[tokio::test]
async fn proxy_variables_have_no_effect() {
    let proxy = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "sender::tests::a_receiver_gets_the_headers_and_the_body"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &proxy_url);
    }
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn unknown_names_and_closed_ports_are_failures() {
    // A socket that does not listen reserves its port and refuses connections.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let policy = Policy { allow_targets: vec![format!("sink.test:{port}").parse().unwrap()], ..open() };
    let url = format!("http://sink.test:{port}/");
    let closed = sender(policy.clone(), Scripted::new(&[&["127.0.0.1"]])).send(post(url.clone())).await;
    assert_eq!(closed, Err(Failure::Connect));
    assert_eq!(sender(policy, Scripted::new(&[])).send(post(url)).await, Err(Failure::Resolve));
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_one_timeout_and_its_connection_is_closed() {
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await;
            let read = stream.read(&mut [0]).await;
            closed.send(matches!(read, Ok(0) | Err(_))).unwrap();
        }
    })
    .await;
    assert_eq!(attempt(&receiver, "http").await, Err(Failure::TimedOut));
    assert_eq!(timeout(SOON, is_closed.recv()).await.unwrap(), Some(true));
}

#[tokio::test]
async fn headers_of_one_byte_at_a_time_cost_one_timeout() {
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: yes".iter().chain(std::iter::repeat(&b'a')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(attempt(&receiver, "http").await, Err(Failure::TimedOut));
}

#[tokio::test]
async fn a_body_of_one_byte_at_a_time_does_not_delay_its_status() {
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
        while stream.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let started = Instant::now();
    let answer = receiver.sender().send(post(receiver.url("http"))).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.iter().all(|byte| *byte == b'a'));
    assert!(started.elapsed() < SOON);
}

/// Writes until the connection is closed, and returns the number of bytes.
async fn flood(stream: &mut TcpStream, start: &str, repeated: &str) -> usize {
    let chunk = repeated.repeat((64 << 10) / repeated.len());
    let mut written = 0;
    if stream.write_all(start.as_bytes()).await.is_err() {
        return 0;
    }
    while let Ok(length) = stream.write(chunk.as_bytes()).await {
        written += length;
        if length == 0 || written > 4 * FEW_BYTES {
            break;
        }
    }
    written
}

#[tokio::test]
async fn endless_answers_are_cut_and_their_connections_are_closed() {
    let endless = [
        ("HTTP/1.1 200 OK\r\n\r\n", "body", Some(200)),
        ("HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n", "4\r\nbody\r\n", Some(500)),
        ("HTTP/1.1 200 OK\r\n", "x-endless: yes\r\n", None),
        ("HTTP/1.1 200 OK\r\nx-endless: ", "yes", None),
        ("HTTP/1.1 200 ", "endless reason ", None),
        ("", "not http ", None),
    ];
    for (start, repeated, status) in endless {
        let (sent, mut written) = mpsc::unbounded_channel();
        let receiver = Receiver::start(move |mut stream| {
            let sent = sent.clone();
            async move {
                read_request(&mut stream).await;
                sent.send(flood(&mut stream, start, repeated).await).unwrap();
            }
        })
        .await;
        let answer = receiver.sender().send(post(receiver.url("http"))).await;
        match status {
            Some(status) => {
                let answer = answer.unwrap();
                assert_eq!((answer.status, answer.body.len()), (status, Answer::MAX_BODY), "{start}");
            }
            None => assert_eq!(answer, Err(Failure::Broken), "{start}{repeated}"),
        }
        let written = timeout(SOON, written.recv()).await.expect("the connection stays open").unwrap();
        assert!(written < FEW_BYTES, "{start}{repeated}: {written} bytes");
    }
}

#[tokio::test]
async fn endless_interim_answers_cost_one_timeout() {
    let receiver = Receiver::start(|mut stream| async move {
        read_request(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(attempt(&receiver, "http").await, Err(Failure::TimedOut));
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_costs_one_timeout_and_its_connection_is_closed() {
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            let mut hello = Vec::new();
            // The end of the handshake's first message is the end of the connection.
            let _ = stream.read_to_end(&mut hello).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    assert_eq!(attempt(&receiver, "https").await, Err(Failure::TimedOut));
    assert_eq!(timeout(SOON, is_closed.recv()).await.unwrap(), Some(()));
}

#[tokio::test]
async fn a_receiver_without_tls_is_a_failed_handshake() {
    let receiver = Receiver::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    assert_eq!(receiver.sender().send(post(receiver.url("https"))).await, Err(Failure::Tls));
}

#[tokio::test]
async fn a_hanging_receiver_does_not_delay_another() {
    let hanging = Receiver::start(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let healthy = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let target = |receiver: &Receiver| format!("sink.test:{}", receiver.port).parse().unwrap();
    let policy = Policy { allow_targets: vec![target(&hanging), target(&healthy)], ..open() };
    let sender = Arc::new(sender(policy, Scripted::new(&[&["127.0.0.1"]])));
    let mut attempts = JoinSet::new();
    for _ in 0..50 {
        let (sender, post) = (Arc::clone(&sender), post(hanging.url("http")));
        attempts.spawn(async move { sender.send(post).await });
    }
    for _ in 0..50 {
        assert_eq!(sender.send(post(healthy.url("http"))).await.unwrap().status, 200);
    }
    assert!(attempts.try_join_next().is_none(), "a hanging receiver answered");
}
