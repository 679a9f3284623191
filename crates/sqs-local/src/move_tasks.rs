//! Tasks that move the messages of a dead-letter queue back to their sources, or to another queue. This module is pure.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::names;
use super::queue::Time;

/// The most tasks of a queue that a list contains.
pub(crate) const MAX_LISTED: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Completed,
    Cancelled,
    Failed(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct MoveTask {
    pub(crate) source: String,
    /// The queue that gets all messages. Otherwise, each message goes to the queue that it came from.
    pub(crate) destination: Option<String>,
    /// Messages per second. Without it, the task moves all messages at once.
    pub(crate) rate: Option<u32>,
    pub(crate) status: Status,
    pub(crate) started: Time,
    pub(crate) moved: u64,
    pub(crate) to_move: usize,
    pub(crate) handle: String,
}

impl MoveTask {
    /// Returns when the task moves its next message.
    pub(crate) fn next_move(&self) -> Option<Time> {
        let interval = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        let moved = u32::try_from(self.moved).unwrap_or(u32::MAX);
        (self.status == Status::Running).then(|| self.started + interval * moved)
    }
}

/// The tasks, with the newest first.
#[derive(Debug, Default)]
pub(crate) struct MoveTasks {
    tasks: VecDeque<MoveTask>,
    started: u64,
}

impl MoveTasks {
    /// Adds a task and returns its handle.
    pub(crate) fn add(&mut self, server: u64, mut task: MoveTask) -> String {
        self.started += 1;
        let id = names::message_id(server, self.started);
        let handle = json!({"taskId": id, "sourceArn": names::arn(&task.source)});
        task.handle = STANDARD.encode(handle.to_string());
        // Tasks of the same source that a list would not contain are forgotten.
        let older = self.of(&task.source).nth(MAX_LISTED - 1).map(|oldest| oldest.handle.clone());
        self.tasks.retain(|it| Some(&it.handle) != older.as_ref());
        self.tasks.push_front(task.clone());
        task.handle
    }

    pub(crate) fn of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a MoveTask> {
        self.tasks.iter().filter(move |task| task.source == source)
    }

    pub(crate) fn with_handle(&mut self, handle: &str) -> Option<&mut MoveTask> {
        self.tasks.iter_mut().find(|task| task.handle == handle)
    }

    pub(crate) fn running(&mut self) -> impl Iterator<Item = &mut MoveTask> {
        self.tasks.iter_mut().filter(|task| task.status == Status::Running)
    }

    pub(crate) fn next_move(&self) -> Option<Time> {
        self.tasks.iter().filter_map(MoveTask::next_move).min()
    }
}
