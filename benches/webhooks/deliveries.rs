//! What both programs deliver, and how they connect.

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use webhooks::{EndpointId, Secret, WebhookId};

const ROOT: &[u8] = include_bytes!("../../crates/webhooks/src/sender/certificates/root.der");
/// The size of a body: an event with a short response.
const BODY: usize = 1000;

pub(crate) fn body() -> Bytes {
    let start = r#"{"type":"scan.changed","timestamp":"2026-11-22T10:00:00Z","data":{"response":""#;
    format!("{start}{}\"}}}}", "x".repeat(BODY - start.len() - 3)).into()
}

pub(crate) fn secret() -> Secret {
    Secret::from_bytes(&[7; 32]).expect("32 bytes are a secret")
}

pub(crate) fn endpoint_id(number: usize) -> EndpointId {
    EndpointId::parse(format!("endpoint-{number}")).expect("printable characters are an id")
}

pub(crate) fn webhook_id(number: u64, endpoint: &EndpointId) -> WebhookId {
    WebhookId::of(&[&number.to_be_bytes()], endpoint)
}

pub(crate) fn tls() -> anyhow::Result<ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ROOT))?;
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
