//! Why a stream was replaced. How that is detected is up to the source.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The server closed it.
    Closed,
    /// The subscription does not exist.
    NotFound,
    /// Permission was denied.
    Refused,
    NoCredentials,
    /// Pub/Sub did not answer, or reported that it is unavailable.
    Unreachable,
    /// Pub/Sub considered the request invalid.
    Invalid,
    /// Any other error.
    Failed,
    /// It delivered nothing although messages were waiting, or Pub/Sub did not answer at all.
    Silent,
    /// The client lost its connection and reopened it by itself, so that the server delivered twice the limit of the
    /// worker.
    Overfull,
    /// It delivered nothing, and nothing shows that messages were waiting. This is routine and not a fault.
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

    /// Returns its name in metrics and logs.
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
    fn all_lists_the_causes_in_the_order_of_their_numbers() {
        assert!(Restart::ALL.iter().enumerate().all(|(index, cause)| *cause as usize == index));
    }

    #[test]
    fn only_an_idle_stream_is_replaced_without_a_fault() {
        let routine: Vec<_> = Restart::ALL.into_iter().filter(|cause| !cause.is_fault()).collect();
        assert_eq!(routine, [Restart::Idle]);
    }
}
