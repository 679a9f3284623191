//! Banners like those of real servers: what stays, what differs in every scan, and what a change of the server changes. Pure.

const DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    StaticPage,
    PageWithSession,
    PageBehindCdn,
    PageWithNonce,
    PageWithDuration,
    Smtp,
    SmtpWithTime,
    Pop3,
    Ftp,
    Ssh,
}

impl Server {
    pub const ALL: [Server; 10] = [
        Server::StaticPage,
        Server::PageWithSession,
        Server::PageBehindCdn,
        Server::PageWithNonce,
        Server::PageWithDuration,
        Server::Smtp,
        Server::SmtpWithTime,
        Server::Pop3,
        Server::Ftp,
        Server::Ssh,
    ];

    /// Returns the name of the protocol.
    pub fn service(self) -> &'static str {
        match self {
            Server::StaticPage
            | Server::PageWithSession
            | Server::PageBehindCdn
            | Server::PageWithNonce
            | Server::PageWithDuration => "HTTP",
            Server::Smtp | Server::SmtpWithTime => "SMTP",
            Server::Pop3 => "POP3",
            Server::Ftp => "FTP",
            Server::Ssh => "SSH",
        }
    }

    /// Returns the server of a service of the toy scanner, which knows three of them. Two services of a port differ in their
    /// protocol.
    pub(super) fn of(toy_service: u64, id: u64) -> Server {
        let choice = mix(&[id, 1]) as usize;
        match toy_service {
            0 => Server::ALL[choice % 5],
            1 => Server::Ssh,
            _ => Server::ALL[5 + choice % 4],
        }
    }

    /// Returns the first response of a service's server at a time in Unix seconds. It is a function of its arguments.
    pub fn banner(self, id: u64, now: u64) -> String {
        self.of_version(version(id, now), id, now)
    }

    fn of_version(self, version: u64, id: u64, now: u64) -> String {
        let host = format!("host-{}.example", id % 100_000);
        let random = mix(&[id, now]);
        let (minor, patch) = (version % 8, version % 10);
        match self {
            Server::Smtp => format!("220 {host} ESMTP Postfix 3.{minor}.{patch}\r\n"),
            Server::SmtpWithTime => format!("220 {host} ESMTP Exim 4.9{minor} {} +0000\r\n", date_and_time(now)),
            Server::Pop3 => {
                format!("+OK Dovecot 2.{minor}.{patch} ready. <{:x}.{now}@{host}>\r\n", random % 0x10000)
            }
            Server::Ftp => format!(
                "220---------- Welcome to Pure-FTPd 1.{minor}.{patch} ----------\r\n220-You are user number {} of 50 allowed.\r\n\
                 220-Local time is now {}. Server port: 21.\r\n220 You will be disconnected after 15 minutes.\r\n",
                1 + random % 50,
                &time(now)[..5]
            ),
            Server::Ssh => format!("SSH-2.0-OpenSSH_9.{patch}p1 Debian-{}\r\n", 1 + version % 7),
            page => {
                let (headers, body) = page.headers_and_body(version, id, now);
                format!(
                    "HTTP/1.1 200 OK\r\nDate: {} GMT\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                    date_and_time(now),
                    body.len()
                )
            }
        }
    }

    fn headers_and_body(self, version: u64, id: u64, now: u64) -> (String, String) {
        // What the server makes up for each response.
        let random = |salt| mix(&[id, now, salt]);
        let (minor, patch) = (version % 8, version % 10);
        match self {
            Server::PageWithSession => (
                format!(
                    "Server: Apache/2.4.5{minor}\r\nX-Powered-By: PHP/8.{minor}.{patch}\r\n\
                     Set-Cookie: PHPSESSID={:x}; path=/\r\n",
                    random(1)
                ),
                "<title>Shop</title>".to_owned(),
            ),
            Server::PageBehindCdn => (
                format!(
                    "Server: cloudflare\r\nAge: {}\r\nCF-RAY: {:x}-FRA\r\n\
                     Set-Cookie: __cf_bm={:x}; path=/; expires={} GMT; HttpOnly\r\n",
                    random(1) % 600,
                    random(2),
                    random(3),
                    date_and_time(now + 1800)
                ),
                format!("<title>News, edition {version}</title>"),
            ),
            Server::PageWithNonce => (
                format!(
                    "X-Request-Id: {:x}\r\nX-Runtime: 0.{:06}\r\nETag: W/\"{:x}\"\r\n\
                     Content-Security-Policy: script-src 'nonce-{:016x}'\r\n",
                    random(1),
                    random(2) % 1_000_000,
                    random(3),
                    random(4)
                ),
                format!("<script nonce=\"{:016x}\" src=\"app-{version}.js\"></script>", random(4)),
            ),
            Server::PageWithDuration => (
                format!("Server: Apache/2.4.5{minor}\r\n"),
                format!("<title>Wiki</title><!-- made in 0.{:03} s -->", random(1) % 1000),
            ),
            _ => (
                format!("Server: nginx/1.2{minor}.{patch}\r\nETag: \"{:x}\"\r\n", mix(&[id, version])),
                "<title>Welcome</title>".to_owned(),
            ),
        }
    }
}

/// Returns how often the server of a service has changed by this time. It changes every 10 to 30 days.
pub fn version(id: u64, now: u64) -> u64 {
    let period = DAY * 10 + mix(&[id, 2]) % (DAY * 20);
    (now + mix(&[id, 3]) % period) / period
}

fn date_and_time(now: u64) -> String {
    let (year, month, day) = date(now / DAY);
    let weekday = WEEKDAYS[(now / DAY % 7) as usize];
    format!("{weekday}, {day:02} {month} {year} {}", time(now))
}

fn time(now: u64) -> String {
    format!("{:02}:{:02}:{:02}", now / 3600 % 24, now / 60 % 60, now % 60)
}

/// Returns year, month and day of a number of days since 1970.
fn date(mut days: u64) -> (u64, &'static str, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in MONTHS.into_iter().zip(lengths) {
        if days < length {
            return (year, month, days + 1);
        }
        days -= length;
    }
    unreachable!("a year has as many days as its months")
}

/// Returns a number that looks random. Unlike the standard library's hashes, it is the same in every version of Rust,
/// because a table of the documentation depends on it.
fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| {
        // SplitMix64.
        let mut mixed = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00"),
            (1_740_298_125, "Sun, 23 Feb 2025 08:08:45"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59"),
        ] {
            assert_eq!(date_and_time(seconds), text);
        }
    }

    #[test]
    fn a_change_of_a_server_is_visible() {
        for server in Server::ALL {
            for id in 0..50 {
                assert_ne!(server.of_version(id, id, 0), server.of_version(id + 1, id, 0), "{server:?}");
            }
        }
    }

    #[test]
    fn a_server_changes_every_10_to_30_days() {
        for id in 0..100 {
            let changes = version(id, 300 * DAY) - version(id, 0);
            assert!((10..=30).contains(&changes), "{changes}");
        }
    }

    #[test]
    fn services_of_one_port_have_different_protocols() {
        for id in 0..100 {
            let [a, b, c] = [0, 1, 2].map(|toy| Server::of(toy, id).service());
            assert!(a != b && b != c && a != c);
        }
    }
}
