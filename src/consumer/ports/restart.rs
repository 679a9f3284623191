//! Why a stream was replaced by another. Knows nothing of how that is found out.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The server closed it.
    Closed,
    /// The subscription does not exist.
    NotFound,
    /// Permission was denied.
    Refused,
    NoCredentials,
    /// Pub/Sub said that it cannot serve it.
    Unreachable,
    /// Pub/Sub took its request for wrong.
    Invalid,
    /// Any other error.
    Failed,
    /// It gave nothing although there was something to give, or Pub/Sub answered nothing at all.
    Silent,
    /// The client lost its connection and opened it anew by itself, and the server gave on until the worker held twice
    /// the limit.
    Overfull,
    /// It gave nothing, and nothing shows that there was anything to give: routine, and no fault.
    Idle,
}

impl Restart {
    pub const ALL: [Restart; 10] = [
        Restart::Closed,
        Restart::NotFound,
        Restart::Refused,
        Restart::NoCredentials,
        Restart::Unreachable,
        Restart::Invalid,
        Restart::Failed,
        Restart::Silent,
        Restart::Overfull,
        Restart::Idle,
    ];

    /// As it is called where it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Restart::Closed => "closed",
            Restart::NotFound => "not_found",
            Restart::Refused => "refused",
            Restart::NoCredentials => "no_credentials",
            Restart::Unreachable => "unreachable",
            Restart::Invalid => "invalid",
            Restart::Failed => "failed",
            Restart::Silent => "silent",
            Restart::Overfull => "overfull",
            Restart::Idle => "idle",
        }
    }

    pub fn is_fault(self) -> bool {
        self != Restart::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_counted_in_a_place_of_its_own() {
        assert!(Restart::ALL.iter().enumerate().all(|(place, cause)| *cause as usize == place));
    }

    #[test]
    fn only_an_idle_stream_is_replaced_without_a_fault() {
        let routine: Vec<_> = Restart::ALL.into_iter().filter(|cause| !cause.is_fault()).collect();
        assert_eq!(routine, [Restart::Idle]);
    }
}
