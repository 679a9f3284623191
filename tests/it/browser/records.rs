//! Records as scans of the internet find them, and hostile ones.

use std::time::SystemTime;

use mini_scan::scan::{Key, Scan};

use crate::hosts::scan;

/// An address with one record of each kind.
pub(super) const HOST: &str = "198.51.100.7";

const WEB: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.27.2\r\nContent-Type: text/html; charset=utf-8\r\n\
    Strict-Transport-Security: max-age=63072000\r\n\r\n\
    <!DOCTYPE html>\r\n<html lang=\"en\">\r\n<head><title>Welcome to nginx!</title></head>\r\n";

/// A response that attacks browsers, terminals and readers.
const HOSTILE: &str = "HTTP/1.1 200 OK\r\n\r\n<script>hostile=1;alert(1)</script>\r\n\
    <img src=http://198.51.100.66/ onerror=hostile=2>\r\n</pre></details><svg onload=hostile=3>\r\n\
    \u{1b}[2J\u{1b}[31mred\u{1b}[0m invoice\u{202e}fdp.exe\u{2066}";

/// What a server of TLS answers.
fn hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 0x03, 0x03, 0x00, 0x5a, 0x02, 0x00, 0x00, 0x56, 0x03, 0x03];
    bytes.extend((0_u8..32).map(|index| index.wrapping_mul(73).wrapping_add(151)));
    bytes.extend([0x00, 0x13, 0x02, 0x00, 0x00, 0x2e, 0x00, 0x2b, 0x00, 0x02, 0x03, 0x04, 0x00, 0x33, 0x00, 0x24]);
    bytes.extend((0_u8..32).map(|index| index.wrapping_mul(41).wrapping_add(89)));
    bytes
}

/// Returns the records of [`HOST`], which were seen at different times before now.
pub(super) fn records() -> Vec<Scan> {
    let text = |port, service, age, response: &str| Scan {
        response: response.to_owned(),
        timestamp: seconds_ago(age),
        ..scan(HOST, port, service)
    };
    let tls = Scan {
        response: String::from_utf8_lossy(&hello()).into_owned(),
        response_bytes: Some(hello()),
        timestamp: seconds_ago(3 * 86_400),
        ..scan(HOST, 443, "TLS")
    };
    vec![
        text(22, "SSH", 7_300, "SSH-2.0-OpenSSH_9.9p1 Debian-3\r\n"),
        text(80, "HTTP", 90, WEB),
        text(161, "SNMP", 600, ""),
        tls,
        text(8080, "HTTP", 120 * 86_400, HOSTILE),
    ]
}

/// Returns further hosts of the network of [`HOST`].
pub(super) fn neighbours() -> Vec<Scan> {
    let services = [(22, "SSH"), (80, "HTTP"), (443, "TLS"), (3389, "RDP"), (8443, "HTTP")];
    let hosts = (11_usize..80).step_by(7);
    hosts
        .flat_map(|last| {
            let count = 1 + last * 3 % services.len();
            services
                .into_iter()
                .take(count)
                .map(move |(port, service)| scan(&format!("198.51.100.{last}"), port, service))
        })
        .collect()
}

/// Returns a record whose service is hostile as well.
pub(super) fn hostile_service() -> Scan {
    let key = Key::new(HOST.parse().expect("an address"), 9, "<b onmouseover=hostile=4>\u{202e}\"'&/../");
    Scan { key, response: HOSTILE.to_owned(), ..scan(HOST, 9, "") }
}

#[expect(clippy::disallowed_methods, reason = "the page shows the age of records")]
fn seconds_ago(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    now.as_secs() - seconds
}
