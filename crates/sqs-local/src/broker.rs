//! All queues, and the operations on them. This module is pure: times are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::{ApiError, Code};
use super::message::{Content, md5_of_body};
use super::move_tasks::{MoveTask, MoveTasks, Status};
use super::names::{self, Receipt};
use super::queue::{Message, Queue, State, Time};
use super::settings::{Number, Settings};

/// Attributes of queues by name.
pub(crate) type Given = BTreeMap<String, String>;

#[derive(Debug)]
pub(crate) struct Broker {
    /// A random number that is part of receipt handles and message ids.
    pub(crate) server: u64,
    queues: BTreeMap<String, Queue>,
    tasks: MoveTasks,
    next_message: u64,
}

impl Broker {
    pub(crate) fn new(server: u64) -> Broker {
        Broker { server, queues: BTreeMap::new(), tasks: MoveTasks::default(), next_message: 0 }
    }

    /// Does everything that is due: delays, visibility timeouts, retention and move tasks.
    pub(crate) fn advance(&mut self, now: Time) {
        self.queues.values_mut().for_each(|queue| queue.advance(now));
        let mut tasks = std::mem::take(&mut self.tasks);
        tasks.running().for_each(|task| self.run(task, now));
        self.tasks = tasks;
    }

    /// Returns when something is due next. Retention is not included, because no client waits for it.
    pub(crate) fn next_event(&self) -> Option<Time> {
        self.queues.values().filter_map(Queue::next_event).chain(self.tasks.next_move()).min()
    }

    pub(crate) fn queue(&mut self, name: &str) -> Result<&mut Queue, ApiError> {
        self.queues.get_mut(name).ok_or_else(ApiError::no_such_queue)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// Returns the queues whose dead letters go to `target`.
    pub(crate) fn sources<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a str> {
        let is_source = move |queue: &Queue| queue.settings.redrive.as_ref().is_some_and(|it| it.target == target);
        self.queues.iter().filter(move |(_, queue)| is_source(queue)).map(|(name, _)| name.as_str())
    }

    /// Creates a queue, unless it exists with the same values of the given attributes.
    pub(crate) fn create(&mut self, name: &str, given: &Given, now: Time) -> Result<(), ApiError> {
        names::check(name)?;
        let Some(existing) = self.queues.get(name) else {
            let settings = self.with(Settings::default(), given)?;
            self.queues.insert(name.to_owned(), Queue::new(settings, now));
            return Ok(());
        };
        for (attribute, value) in given {
            let same = Given::from([(attribute.clone(), value.clone())]);
            if self.with(existing.settings.clone(), &same)? != existing.settings {
                let message = format!(
                    "A queue already exists with the same name and a different value for attribute {attribute}"
                );
                return Err(ApiError::new(Code::QueueNameExists, message));
            }
        }
        Ok(())
    }

    pub(crate) fn set_attributes(&mut self, name: &str, given: &Given, now: Time) -> Result<(), ApiError> {
        let settings = self.with(self.queues.get(name).ok_or_else(ApiError::no_such_queue)?.settings.clone(), given)?;
        let queue = self.queue(name)?;
        queue.settings = settings;
        queue.modified = now;
        Ok(())
    }

    fn with(&self, mut settings: Settings, given: &Given) -> Result<Settings, ApiError> {
        let exists = |name: &str| self.queues.contains_key(name);
        given.iter().try_for_each(|(name, value)| settings.set(name, value, exists))?;
        Ok(settings)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), ApiError> {
        let queue = self.queues.remove(name).ok_or_else(ApiError::no_such_queue)?;
        queue.arrivals.notify_waiters();
        Ok(())
    }

    /// Adds a message and returns its id and its MD5.
    pub(crate) fn send(
        &mut self,
        name: &str,
        content: Content,
        delay: Option<Duration>,
        now: Time,
    ) -> Result<(String, Arc<str>), ApiError> {
        let id = self.next_id();
        let server = self.server;
        let queue = self.queue(name)?;
        let max_bytes = usize::try_from(queue.settings.number(Number::MaxBytes)).unwrap_or(usize::MAX);
        content.check(max_bytes)?;
        let delay = delay.unwrap_or_else(|| queue.seconds(Number::Delay));
        let md5: Arc<str> = md5_of_body(&content.body).into();
        queue.put(id, Message::new(Arc::new(content), Arc::clone(&md5), now), delay, now);
        Ok((names::message_id(server, id), md5))
    }

    /// Receives messages, and moves those that were received too often to the dead-letter queue.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        max: usize,
        visibility: Option<Duration>,
        now: Time,
    ) -> Result<Vec<(Receipt, Message)>, ApiError> {
        let redrive = self.queue(name)?.settings.redrive.clone();
        // Messages stay in the queue if their dead-letter queue was deleted.
        let redrive = redrive.filter(|redrive| self.queues.contains_key(&redrive.target));
        let queue = self.queue(name)?;
        let visibility = visibility.unwrap_or_else(|| queue.seconds(Number::Visibility));
        let mut dead_letters = Vec::new();
        let max_receives = redrive.as_ref().map(|redrive| redrive.max_receives);
        let received = queue.receive(max, visibility, max_receives, &mut dead_letters, now);
        if let Some(redrive) = redrive {
            let target = self.queue(&redrive.target)?;
            for (id, mut message) in dead_letters {
                message.source = Some(name.to_owned());
                target.put(id, message, Duration::ZERO, now);
            }
        }
        received
    }

    /// Starts to move the messages of a dead-letter queue. Returns the handle of the task.
    pub(crate) fn start_move(
        &mut self,
        source: &str,
        destination: Option<&str>,
        rate: Option<u32>,
        now: Time,
    ) -> Result<String, ApiError> {
        let invalid = |message: &str| Err(ApiError::new(Code::InvalidParameterValue, message));
        let Some(of_source) = names::of_arn(source).and_then(|name| Some((name, self.queues.get(name)?))) else {
            return Err(no_such_resource("SourceArn"));
        };
        let (source, to_move) = (of_source.0, of_source.1.count(State::Visible));
        if self.sources(source).next().is_none() {
            return invalid("Source queue must be configured as a Dead Letter Queue.");
        }
        let destination = match destination {
            Some(arn) => {
                let existing = names::of_arn(arn).filter(|name| self.queues.contains_key(*name));
                Some(existing.ok_or_else(|| no_such_resource("DestinationArn"))?.to_owned())
            }
            None => None,
        };
        if destination.as_deref() == Some(source) {
            return invalid("Source queue arn and destination queue arn cannot be the same.");
        }
        if self.tasks.of(source).any(|task| task.status == Status::Running) {
            return invalid(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            );
        }
        let source = source.to_owned();
        let (status, handle) = (Status::Running, String::new());
        let task = MoveTask { source, destination, rate, status, started: now, moved: 0, to_move, handle };
        let handle = self.tasks.add(self.server, task);
        self.advance(now);
        Ok(handle)
    }

    /// Stops a task and returns how many messages it has moved.
    pub(crate) fn cancel_move(&mut self, handle: &str) -> Result<u64, ApiError> {
        let task = self.tasks.with_handle(handle).ok_or_else(|| {
            ApiError::new(Code::ResourceNotFound, "The task handle that you specified doesn't exist.")
        })?;
        if task.status != Status::Running {
            let message = "Only active tasks can be cancelled.";
            return Err(ApiError::new(Code::UnsupportedOperation, message));
        }
        task.status = Status::Cancelled;
        Ok(task.moved)
    }

    /// Returns the tasks of a source, the newest first.
    pub(crate) fn moves<'a>(&'a self, source: &'a str) -> Result<Vec<&'a MoveTask>, ApiError> {
        match names::of_arn(source).filter(|name| self.queues.contains_key(*name)) {
            Some(name) => Ok(self.tasks.of(name).collect()),
            None => Err(no_such_resource("SourceArn")),
        }
    }

    /// Moves the messages that are due. A task ends when its source has no visible message.
    fn run(&mut self, task: &mut MoveTask, now: Time) {
        while let Some(at) = task.next_move()
            && at <= now
        {
            let source = self.queues.get(&task.source).and_then(Queue::first_visible);
            let Some((id, message)) = source else {
                task.status = Status::Completed;
                return;
            };
            let Some(target) = task.destination.clone().or_else(|| message.source.clone()) else {
                task.status = Status::Failed("CouldNotDetermineMessageSource");
                return;
            };
            // A moved message is a new one, with an id and a time of its own.
            let moved = Message::new(Arc::clone(&message.content), Arc::clone(&message.md5), now);
            let new_id = self.next_id();
            let Some(target) = self.queues.get_mut(&target) else {
                task.status = Status::Failed("AWS.SimpleQueueService.NonExistentQueue");
                return;
            };
            target.put(new_id, moved, Duration::ZERO, now);
            task.moved += 1;
            self.queues.get_mut(&task.source).and_then(|source| source.take(id));
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_message += 1;
        self.next_message
    }
}

fn no_such_resource(parameter: &str) -> ApiError {
    let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
    ApiError::new(Code::ResourceNotFound, message)
}

#[cfg(test)]
mod tests;
