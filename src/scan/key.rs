//! The composite key `ip#port#service`.

use std::net::IpAddr;

/// The partition key of a record: `ip#port#service`, the address in canonical text.
///
/// Injective, because neither an address nor a port can hold a `#` and the service is last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: String,
    ip_end: u8,
    service_start: u8,
}

impl Key {
    pub fn new(ip: IpAddr, port: u16, service: &str) -> Key {
        let _ = (ip, port, service);
        todo!()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn ip(&self) -> &str {
        &self.text[..usize::from(self.ip_end)]
    }

    pub fn port(&self) -> &str {
        &self.text[usize::from(self.ip_end) + 1..usize::from(self.service_start) - 1]
    }

    pub fn service(&self) -> &str {
        &self.text[usize::from(self.service_start)..]
    }
}
