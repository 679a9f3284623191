//! The sender against receivers that serve TLS. The certificates are of `certificates/make.sh`.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;

const ROOT: &[u8] = include_bytes!("../certificates/root.der");
const CERTIFICATE: &[u8] = include_bytes!("../certificates/sink.der");
const KEY: &[u8] = include_bytes!("../certificates/sink-key.der");

fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(KEY).unwrap();
    let tls = versions.with_no_client_auth().with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key).unwrap();
    Arc::new(tls).into()
}

/// Answers each request with 204, and sends the request to the test.
async fn receiver() -> (Receiver, mpsc::UnboundedReceiver<String>) {
    let (requests, received) = mpsc::unbounded_channel();
    let acceptor = acceptor();
    let receiver = Receiver::start(move |stream| {
        let (acceptor, requests) = (acceptor.clone(), requests.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.is_ok_and(|length| length > 0) {
                if request.ends_with(BODY.as_bytes()) {
                    requests.send(String::from_utf8(std::mem::take(&mut request)).unwrap()).unwrap();
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                }
            }
        }
    });
    (receiver.await, received)
}

/// Allows this host on the port of the receiver, whose address is that of every name.
fn sender_to(host: &str, port: u16, roots: RootCertStore) -> HttpSender {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = versions.with_root_certificates(roots).with_no_client_auth();
    let allow_targets = vec![format!("{host}:{port}").parse().unwrap()];
    // Without `allow_http`, as in production.
    let policy = Policy { allow_targets, ..Policy::default() };
    HttpSender::with_tls(policy, Scripted::new(&[&["127.0.0.1"]]), patient(), tls).unwrap()
}

fn test_root() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ROOT)).unwrap();
    roots
}

#[tokio::test]
async fn a_receiver_with_a_trusted_certificate_gets_webhooks_on_one_connection() {
    let (receiver, mut requests) = receiver().await;
    let sender = sender_to("sink.test", receiver.port, test_root());
    for _ in 0..5 {
        assert_eq!(sender.send(post(receiver.url("https"))).await.unwrap().status, 204);
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n") && request.ends_with(BODY), "{request}");
    }
    assert!(receiver.connections() < 5, "{} connections for 5 requests", receiver.connections());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_root_or_for_another_name_is_a_failed_handshake() {
    let (receiver, mut requests) = receiver().await;
    let unknown_root = sender_to("sink.test", receiver.port, RootCertStore::empty());
    assert_eq!(unknown_root.send(post(receiver.url("https"))).await, Err(Failure::Tls));
    let other_name = sender_to("other.test", receiver.port, test_root());
    let url = format!("https://other.test:{}/", receiver.port);
    assert_eq!(other_name.send(post(url)).await, Err(Failure::Tls));
    assert!(requests.try_recv().is_err());
}
