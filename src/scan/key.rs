//! The composite key `ip#port#service`, and the rules of its parts.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

const MAX_SERVICE_BYTES: usize = 255;

/// Parses an IPv4 or IPv6 address. Returns an IPv4-mapped IPv6 address as its IPv4 address.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Checks the name of a service. Returns what was expected instead.
pub fn check_service(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_SERVICE_BYTES {
        return Err("1 to 255 bytes");
    }
    if name.contains(char::is_control) {
        return Err("no control character and no lone surrogate");
    }
    Ok(())
}

/// The partition key of a record: `ip#port#service`, with the address in canonical form.
///
/// Different parts always make different keys: an address and a port contain no `#`, and the service is last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: String,
    ip_end: u8,
    service_start: u8,
}

impl Key {
    /// Formats the address as RFC 5952 requires, and an IPv4-mapped IPv6 address as its IPv4 address.
    pub fn new(ip: IpAddr, port: u16, service: &str) -> Key {
        let ip = ip.to_canonical();
        let longest_ip = if ip.is_ipv4() { "255.255.255.255".len() } else { "ffff:".len() * 8 - 1 };
        let mut text = String::with_capacity(longest_ip + "#65535#".len() + service.len());
        match ip {
            IpAddr::V4(ip) => push_ipv4(&mut text, ip),
            IpAddr::V6(ip) => write!(text, "{ip}").expect("writing to a String does not fail"),
        }
        let ip_end = offset(&text);
        text.push('#');
        push_decimal(&mut text, port);
        text.push('#');
        let service_start = offset(&text);
        text.push_str(service);
        Key { text, ip_end, service_start }
    }

    /// Returns the key that [`Key::as_str`] formats as this text. Returns `None` if no key does.
    pub fn parse(text: &str) -> Option<Key> {
        let mut parts = text.splitn(3, '#');
        let (ip, port, service) = (address(parts.next()?)?, parts.next()?.parse().ok()?, parts.next()?);
        check_service(service).ok()?;
        Some(Key::new(ip, port, service)).filter(|key| key.as_str() == text)
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

fn offset(text: &str) -> u8 {
    u8::try_from(text.len()).expect("an address, a port and two `#` are at most 46 bytes")
}

// Writes digit by digit, because std's formatting would be a fifth of the cost of decoding a scan.
fn push_ipv4(text: &mut String, ip: Ipv4Addr) {
    let [first, others @ ..] = ip.octets();
    push_decimal(text, first.into());
    for octet in others {
        text.push('.');
        push_decimal(text, octet.into());
    }
}

fn push_decimal(text: &mut String, number: u16) {
    if let tens @ 1.. = number / 10 {
        push_decimal(text, tens);
    }
    let digit = char::from_digit(u32::from(number % 10), 10);
    text.push(digit.expect("a remainder of a division by ten is a digit"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_parts_are_slices_of_the_key() {
        let key = Key::new(ip("1.1.1.1"), 0, "A#B");
        assert_eq!((key.as_str(), key.ip(), key.port(), key.service()), ("1.1.1.1#0#A#B", "1.1.1.1", "0", "A#B"));
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let key = Key::new(ip(longest), 65535, &"s".repeat(255));
        assert_eq!((key.ip(), key.port(), key.service().len()), (longest, "65535", 255));
    }

    #[test]
    fn an_address_is_formatted_as_rfc_5952_requires() {
        for (input, formatted) in [
            ("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("0:0:0:0:0:0:0:0", "::"),
            ("0::1", "::1"),
            ("1:0:0:0:0:0:0:0", "1::"),
            ("::FFFF:1.1.1.17", "1.1.1.17"),
            ("::ffff:0101:0111", "1.1.1.17"),
            ("::1.2.3.4", "::102:304"),
            ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ] {
            assert_eq!(Key::new(ip(input), 1, "S").ip(), formatted, "{input}");
        }
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        let few = prop::sample::select(vec!["1.1.1.1", "11.1.1.1", "::ffff:1.1.1.1", "::1", "::11", "1::1"]);
        prop_oneof![few.prop_map(ip), any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    /// Uses small alphabets, so that similar keys are common.
    fn parts() -> impl Strategy<Value = (IpAddr, u16, String)> {
        (addresses(), prop_oneof![0..20_u16, any::<u16>()], "[#1:.A]{1,6}")
    }

    #[test]
    fn only_the_text_of_a_key_is_parsed() {
        for text in [
            "",
            "1.1.1.1",
            "1.1.1.1#80",
            "1.1.1.1#80#",
            "1.1.1.1#080#S",
            "1.1.1.1#+80#S",
            "1.1.1.1#65536#S",
            "::ffff:1.1.1.1#80#S",
            "2001:DB8::1#80#S",
            "host#80#S",
            "1.1.1.1#80#S\n",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
        let longest = "s".repeat(255);
        assert_eq!(Key::parse(&format!("::1#0#{longest}")), Some(Key::new(ip("::1"), 0, &longest)));
        assert_eq!(Key::parse(&format!("::1#0#{longest}s")), None);
    }

    proptest! {
        #[test]
        fn a_key_is_parsed_from_its_own_text((address, port, service) in parts()) {
            let key = Key::new(address, port, &service);
            prop_assert_eq!(Key::parse(key.as_str()), Some(key));
        }

        #[test]
        fn keys_are_equal_exactly_when_address_port_and_service_are_equal(a in parts(), b in parts()) {
            let (left, right) = (Key::new(a.0, a.1, &a.2), Key::new(b.0, b.1, &b.2));
            let same = (a.0.to_canonical(), a.1, &a.2) == (b.0.to_canonical(), b.1, &b.2);
            prop_assert_eq!(left.as_str() == right.as_str(), same);
            prop_assert_eq!(left == right, same);
        }

        #[test]
        fn a_key_returns_the_parts_that_it_was_made_of((address, port, service) in parts()) {
            let key = Key::new(address, port, &service);
            prop_assert_eq!(ip(key.ip()), address.to_canonical());
            prop_assert_eq!(key.port(), port.to_string());
            prop_assert_eq!(key.service(), &service);
            prop_assert_eq!(key.as_str(), format!("{}#{}#{}", key.ip(), key.port(), key.service()));
        }
    }
}
