//! Failures and reasons as texts that stores keep. They never change, because stored deliveries outlive versions.

use crate::delivery::DeadReason;
use crate::ports::DisabledReason;
use crate::sender::Failure;
use crate::target::RefusedTarget;

const REFUSED: &str = "refused:";
const PORT: &str = "port:";
const INTERNAL: &str = "internal:";
const METADATA: &str = "metadata:";

impl Failure {
    /// Returns the text that a store keeps.
    pub fn to_stored(&self) -> String {
        match self {
            Failure::Refused(target) => format!("{REFUSED}{}", refused(target)),
            Failure::NoSecret => "no_secret".to_owned(),
            Failure::Resolve => "resolve".to_owned(),
            Failure::Connect => "connect".to_owned(),
            Failure::Tls => "tls".to_owned(),
            Failure::TimedOut => "timed_out".to_owned(),
            Failure::Broken => "broken".to_owned(),
        }
    }

    /// Reads a text from a store. Other text, e.g. of a newer version, returns None.
    pub fn from_stored(text: &str) -> Option<Failure> {
        if let Some(target) = text.strip_prefix(REFUSED) {
            return refused_target(target).map(Failure::Refused);
        }
        Some(match text {
            "no_secret" => Failure::NoSecret,
            "resolve" => Failure::Resolve,
            "connect" => Failure::Connect,
            "tls" => Failure::Tls,
            "timed_out" => Failure::TimedOut,
            "broken" => Failure::Broken,
            _ => return None,
        })
    }
}

fn refused(target: &RefusedTarget) -> String {
    match target {
        RefusedTarget::InvalidUrl => "invalid_url".to_owned(),
        RefusedTarget::NotHttps => "not_https".to_owned(),
        RefusedTarget::UserInfo => "user_info".to_owned(),
        RefusedTarget::Port(port) => format!("{PORT}{port}"),
        RefusedTarget::InternalAddress(address) => format!("{INTERNAL}{address}"),
        RefusedTarget::MetadataAddress(address) => format!("{METADATA}{address}"),
        RefusedTarget::NoAddress => "no_address".to_owned(),
    }
}

fn refused_target(text: &str) -> Option<RefusedTarget> {
    if let Some(port) = text.strip_prefix(PORT) {
        return port.parse().ok().map(RefusedTarget::Port);
    }
    if let Some(address) = text.strip_prefix(INTERNAL) {
        return address.parse().ok().map(RefusedTarget::InternalAddress);
    }
    if let Some(address) = text.strip_prefix(METADATA) {
        return address.parse().ok().map(RefusedTarget::MetadataAddress);
    }
    Some(match text {
        "invalid_url" => RefusedTarget::InvalidUrl,
        "not_https" => RefusedTarget::NotHttps,
        "user_info" => RefusedTarget::UserInfo,
        "no_address" => RefusedTarget::NoAddress,
        _ => return None,
    })
}

impl DeadReason {
    pub const ALL: [DeadReason; 4] =
        [DeadReason::Exhausted, DeadReason::Gone, DeadReason::Disabled, DeadReason::Missing];

    /// Reads the text of [`DeadReason::as_str`] from a store.
    pub fn from_stored(text: &str) -> Option<DeadReason> {
        DeadReason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl DisabledReason {
    const ALL: [DisabledReason; 2] = [DisabledReason::Gone, DisabledReason::Failing];

    pub fn as_str(self) -> &'static str {
        match self {
            DisabledReason::Gone => "gone",
            DisabledReason::Failing => "failing",
        }
    }

    /// Reads the text of [`DisabledReason::as_str`] from a store.
    pub fn from_stored(text: &str) -> Option<DisabledReason> {
        DisabledReason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_and_reason_is_read_from_its_text() {
        let targets = [
            RefusedTarget::InvalidUrl,
            RefusedTarget::NotHttps,
            RefusedTarget::UserInfo,
            RefusedTarget::Port(25),
            RefusedTarget::InternalAddress([10, 0, 0, 1].into()),
            RefusedTarget::MetadataAddress("fd00:ec2::254".parse().unwrap()),
            RefusedTarget::NoAddress,
        ];
        let failures =
            [Failure::NoSecret, Failure::Resolve, Failure::Connect, Failure::Tls, Failure::TimedOut, Failure::Broken];
        for failure in targets.map(Failure::Refused).into_iter().chain(failures) {
            assert_eq!(Failure::from_stored(&failure.to_stored()), Some(failure));
        }
        for reason in DeadReason::ALL {
            assert_eq!(DeadReason::from_stored(reason.as_str()), Some(reason));
        }
        for reason in DisabledReason::ALL {
            assert_eq!(DisabledReason::from_stored(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn other_text_is_no_failure_and_no_reason() {
        for text in ["", "other", "refused:", "refused:port:x", "refused:internal:x"] {
            assert_eq!((Failure::from_stored(text), DeadReason::from_stored(text)), (None, None), "{text:?}");
            assert_eq!(DisabledReason::from_stored(text), None, "{text:?}");
        }
    }
}
