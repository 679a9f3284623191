//! Converts a message of the client into the consumer's envelope. Does not look at its content.

use std::time::{Duration, SystemTime};

use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;

use crate::consumer::ports::Envelope;

pub(super) fn envelope(message: Message, handler: &Handler) -> Envelope {
    Envelope {
        publish_time: publish_time(&message),
        payload: message.data,
        attributes: message.attributes,
        message_id: message.message_id,
        delivery_attempt: handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok()),
    }
}

pub(super) fn publish_time(message: &Message) -> SystemTime {
    message.publish_time.map_or(SystemTime::UNIX_EPOCH, |time| {
        let seconds = Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0));
        SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(time.nanos()).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use google_cloud_wkt::Timestamp;

    use super::*;

    #[test]
    fn the_publish_time_has_seconds_and_nanoseconds() {
        let message = Message::new().set_publish_time(Timestamp::clamp(1_740_298_125, 250_000_000));
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_740_298_125_250);
        assert_eq!(publish_time(&message), expected);
        assert_eq!(publish_time(&Message::new()), SystemTime::UNIX_EPOCH);
    }
}
