//! Flags that choose the queues.

use crate::names::Queues;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Queues")]
pub(super) struct QueuesArgs {
    /// SQS queue of the events
    #[arg(long, env = "EVENT_PIPELINE_QUEUE", value_name = "QUEUE", default_value = "events", value_parser = name)]
    queue: String,

    /// SQS queue for events that are invalid or were received too often
    #[arg(
        long,
        env = "EVENT_PIPELINE_DEAD_LETTER_QUEUE",
        value_name = "QUEUE",
        default_value = "events-dlq",
        value_parser = name,
        next_line_help = true
    )]
    dead_letter_queue: String,

    /// SQS queue for deliveries without a route, and those that were given up
    #[arg(
        long,
        env = "EVENT_PIPELINE_DELIVER_DEAD_LETTER_QUEUE",
        value_name = "QUEUE",
        default_value = "deliver-dlq",
        value_parser = name,
        next_line_help = true
    )]
    deliver_dead_letter_queue: String,
}

impl QueuesArgs {
    pub(super) fn queues(&self) -> Queues {
        Queues {
            events: self.queue.clone(),
            events_dead: self.dead_letter_queue.clone(),
            deliver_dead: self.deliver_dead_letter_queue.clone(),
        }
    }
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>
fn name(text: &str) -> Result<String, String> {
    if text.ends_with(".fifo") {
        return Err("it must be a standard queue, because FIFO queues limit the rate of each group".to_owned());
    }
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (1..=80).contains(&text.len()) && text.chars().all(is_legal) {
        true => Ok(text.to_owned()),
        false => Err("the name of a queue has 1 to 80 letters, digits, hyphens and underscores".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_standard_queues_are_accepted() {
        assert_eq!(name("events_2-dlq").as_deref(), Ok("events_2-dlq"));
        for text in ["", "a.b", "events.fifo", "http://127.0.0.1/000000000000/events", &"a".repeat(81)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
