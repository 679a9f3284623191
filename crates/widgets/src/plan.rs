//! Decides: which widgets an operation needs to see, which transaction does it, and what a refused transaction means. Pure.

use uuid::Uuid;

use crate::operation::{Answer, Association, IfMatch, Operation, Outcome, Refusal, Taken};
use crate::ports::Condition;
use crate::transaction::{Action, Link, Update};
use crate::widget::{Name, Peers, Port, Ports, Revision, Serial, Timestamp, Widget};

/// The widgets that an operation must see first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads<'a> {
    Nothing,
    One(&'a Serial),
    Two([&'a Serial; 2]),
}

/// What was read: the widget that the operation names first, and its peer to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub subject: Option<Widget>,
    pub peer: Option<Widget>,
}

/// Values that a plan may use, new for each plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    pub now: Timestamp,
    pub incarnation: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The operation needs no write.
    Answer(Answer),
    /// These actions do it, with this outcome.
    Commit(Vec<Action>, Outcome),
}

/// What follows from a transaction whose conditions did not all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Answer(Answer),
    /// Somebody else changed a widget since the read.
    ReadAgain,
    /// A widget named a peer that did not name it. Conditions may be checked at different moments, so only a snapshot shows
    /// whether they contradict each other.
    Suspect([Serial; 2]),
}

pub fn reads(operation: &Operation) -> Reads<'_> {
    match operation {
        Operation::Create { .. } | Operation::Connect(_, Taken::Refuse) => Reads::Nothing,
        Operation::Connect(Association { serial, peer, .. }, Taken::Replace) if serial == peer => Reads::Nothing,
        Operation::Connect(Association { serial, peer, .. }, Taken::Replace) => Reads::Two([serial, peer]),
        Operation::Change { serial, .. } | Operation::Delete { serial, .. } | Operation::Disconnect { serial, .. } => {
            Reads::One(serial)
        }
    }
}

/// Returns what does the operation, by what was read.
pub fn step(operation: &Operation, seen: &Seen, fresh: &Fresh) -> Step {
    let planned = match operation {
        Operation::Create { serial, name, ports } => Ok(create(serial, name, ports, fresh)),
        Operation::Change { serial, name, ports, if_match } => existing(seen, serial, if_match.as_ref())
            .and_then(|seen| change(seen, name.as_ref(), ports.as_ref(), fresh)),
        Operation::Delete { serial, if_match } => {
            existing(seen, serial, if_match.as_ref()).map(|seen| delete(seen, fresh))
        }
        Operation::Connect(association, _) if association.serial == association.peer => Err(Refusal::SameWidget),
        Operation::Connect(association, Taken::Refuse) => Ok(connect(association, fresh)),
        Operation::Connect(association, Taken::Replace) => replace(association, seen, fresh),
        Operation::Disconnect { serial, port } => {
            existing(seen, serial, None).and_then(|seen| disconnect(seen, *port, fresh))
        }
    };
    planned.unwrap_or_else(|refusal| Step::Answer(Err(refusal)))
}

fn existing<'a>(seen: &'a Seen, serial: &Serial, if_match: Option<&IfMatch>) -> Result<&'a Widget, Refusal> {
    let widget = seen.subject.as_ref().ok_or_else(|| Refusal::MissingWidget(serial.clone()))?;
    match if_match {
        Some(allowed) if !allowed.allows(widget.revision) => Err(Refusal::Changed { serial: serial.clone() }),
        _ => Ok(widget),
    }
}

fn create(serial: &Serial, name: &Name, ports: &Ports, fresh: &Fresh) -> Step {
    let widget = Widget {
        serial: serial.clone(),
        name: name.clone(),
        ports: ports.clone(),
        peers: Peers::default(),
        revision: Revision { incarnation: fresh.incarnation, version: 1 },
        created_at: fresh.now.clone(),
        updated_at: fresh.now.clone(),
    };
    Step::Commit(vec![Action::Create(widget.clone())], Outcome::Created(widget))
}

fn change(seen: &Widget, name: Option<&Name>, ports: Option<&Ports>, fresh: &Fresh) -> Result<Step, Refusal> {
    let (name, ports) = (name.unwrap_or(&seen.name).clone(), ports.unwrap_or(&seen.ports).clone());
    if let Some((port, peer)) = seen.peers.iter().find(|(port, _)| !ports.contains(*port)) {
        return Err(Refusal::PortTaken { serial: seen.serial.clone(), port, by: peer.clone() });
    }
    if (&name, &ports) == (&seen.name, &seen.ports) {
        return Ok(Step::Answer(Ok(Outcome::Unchanged(seen.clone()))));
    }
    let update = Update { seen: Some(seen.revision), details: Some((name, ports)), ..update(&seen.serial, fresh) };
    let changed = update.apply(seen).expect("the update is for this state");
    Ok(Step::Commit(vec![Action::Update(update)], Outcome::Changed(changed)))
}

fn delete(seen: &Widget, fresh: &Fresh) -> Step {
    let mut actions = vec![Action::Delete { serial: seen.serial.clone(), seen: seen.revision }];
    // Two widgets can be connected at several ports, but a transaction changes an item once. That also leaves out a widget
    // that names itself, which no operation writes.
    let mut peers: Vec<Update> = Vec::new();
    for (port, peer) in seen.peers.iter().filter(|(_, peer)| **peer != seen.serial) {
        let link = Link { port, from: Some(seen.serial.clone()), to: None };
        match peers.iter_mut().find(|update| update.serial == *peer) {
            Some(update) => update.links.push(link),
            None => peers.push(Update { links: vec![link], ..update(peer, fresh) }),
        }
    }
    actions.extend(peers.into_iter().map(Action::Update));
    Step::Commit(actions, Outcome::Deleted)
}

fn connect(association: &Association, fresh: &Fresh) -> Step {
    let Association { port, serial, peer } = association;
    let link = |serial, peer| link(Target::any(serial), *port, None, Some(peer), fresh);
    Step::Commit(vec![link(serial, peer), link(peer, serial)], Outcome::Connected(association.clone()))
}

fn replace(association: &Association, seen: &Seen, fresh: &Fresh) -> Result<Step, Refusal> {
    let Association { port, serial, peer } = association;
    let port = *port;
    if let Some((missing, _)) = [(serial, &seen.subject), (peer, &seen.peer)].iter().find(|(_, seen)| seen.is_none()) {
        return Err(Refusal::MissingWidget((*missing).clone()));
    }
    let (subject, had) = port_of(seen.subject.as_ref(), serial, port)?;
    let (other, other_had) = port_of(seen.peer.as_ref(), peer, port)?;
    if had == Some(peer) && other_had == Some(serial) {
        return Ok(Step::Answer(Ok(Outcome::AlreadyConnected(association.clone()))));
    }
    let mut actions = vec![
        link(Target::seen(subject), port, had, Some(peer), fresh),
        link(Target::seen(other), port, other_had, Some(serial), fresh),
    ];
    for (old, from) in [(had, serial), (other_had, peer)] {
        // Widgets that contradict each other may name one of the two, or the same third one. A transaction must not change
        // an item twice.
        if let Some(old) = old.filter(|old| actions.iter().all(|action| action.serial() != *old)) {
            actions.push(link(Target::any(old), port, Some(from), None, fresh));
        }
    }
    Ok(Step::Commit(actions, Outcome::Connected(association.clone())))
}

fn disconnect(seen: &Widget, port: Port, fresh: &Fresh) -> Result<Step, Refusal> {
    let serial = &seen.serial;
    let (_, Some(peer)) = port_of(Some(seen), serial, port)? else {
        return Err(Refusal::NotConnected { serial: serial.clone(), port });
    };
    let mut actions = vec![link(Target::seen(seen), port, Some(peer), None, fresh)];
    if peer != serial {
        actions.push(link(Target::any(peer), port, Some(serial), None, fresh));
    }
    Ok(Step::Commit(actions, Outcome::Disconnected))
}

/// Returns a widget that has this port, and its peer there.
fn port_of<'a>(
    widget: Option<&'a Widget>,
    serial: &Serial,
    port: Port,
) -> Result<(&'a Widget, Option<&'a Serial>), Refusal> {
    match widget {
        None => Err(Refusal::MissingWidget(serial.clone())),
        Some(widget) if !widget.ports.contains(port) => Err(Refusal::NoSuchPort { serial: serial.clone(), port }),
        Some(widget) => Ok((widget, widget.peers.get(port))),
    }
}

/// A widget to update.
struct Target<'a> {
    serial: &'a Serial,
    /// Only in this state. An attempt that is delayed until somebody has changed the widget then does nothing.
    seen: Option<Revision>,
}

impl<'a> Target<'a> {
    fn any(serial: &'a Serial) -> Target<'a> {
        Target { serial, seen: None }
    }

    fn seen(widget: &'a Widget) -> Target<'a> {
        Target { serial: &widget.serial, seen: Some(widget.revision) }
    }
}

fn link(target: Target<'_>, port: Port, from: Option<&Serial>, to: Option<&Serial>, fresh: &Fresh) -> Action {
    let links = vec![Link { port, from: from.cloned(), to: to.cloned() }];
    Action::Update(Update { seen: target.seen, links, ..update(target.serial, fresh) })
}

fn update(serial: &Serial, fresh: &Fresh) -> Update {
    Update { serial: serial.clone(), seen: None, links: Vec::new(), details: None, updated_at: fresh.now.clone() }
}

/// Returns whether no attempt of a refused transaction can be applied later, because a widget is no longer in the state that
/// the transaction expects. No widget returns to an earlier revision.
pub fn is_final(actions: &[Action], conditions: &[Condition]) -> bool {
    actions.iter().zip(conditions).any(|(action, condition)| {
        let expects_revision = match action {
            Action::Create(_) => false,
            Action::Update(update) => update.seen.is_some(),
            Action::Delete { .. } => true,
        };
        expects_revision && matches!(condition, Condition::Unmet(_))
    })
}

/// Returns what a refused transaction means. `conditions` has one condition for each action.
pub fn refused(operation: &Operation, seen: &Seen, actions: &[Action], conditions: &[Condition]) -> Next {
    match operation {
        Operation::Create { name, ports, .. } => created_before(name, ports, conditions.first()),
        Operation::Connect(association, Taken::Refuse) => not_connected(association, conditions),
        Operation::Change { if_match, serial, .. } | Operation::Delete { if_match, serial }
            if matches!(conditions.first(), Some(Condition::Unmet(_))) =>
        {
            match if_match {
                Some(IfMatch::Revisions(_)) => Next::Answer(Err(match conditions.first() {
                    Some(Condition::Unmet(None)) => Refusal::MissingWidget(serial.clone()),
                    Some(_) | None => Refusal::Changed { serial: serial.clone() },
                })),
                Some(IfMatch::Any) | None => Next::ReadAgain,
            }
        }
        Operation::Connect(..) | Operation::Disconnect { .. } | Operation::Delete { .. } => {
            suspect(seen, actions, conditions)
        }
        Operation::Change { .. } => Next::ReadAgain,
    }
}

/// Returns two widgets that may contradict each other: one that was read, and its peer that did not name it.
fn suspect(seen: &Seen, actions: &[Action], conditions: &[Condition]) -> Next {
    let read = || [&seen.subject, &seen.peer].into_iter().flatten();
    for (action, condition) in actions.iter().zip(conditions) {
        let Condition::Unmet(_) = condition else { continue };
        let serial = action.serial();
        if read().any(|widget| widget.serial == *serial) {
            return Next::ReadAgain;
        }
        if let Some(widget) = read().find(|widget| widget.peers.iter().any(|(_, peer)| peer == serial)) {
            return Next::Suspect([widget.serial.clone(), serial.clone()]);
        }
    }
    Next::ReadAgain
}

/// Returns whether the first widget names the second one at a port where that one does not name it.
pub fn contradiction(suspects: &[Serial; 2], snapshot: &[Option<Widget>]) -> Option<Refusal> {
    let [serial, peer] = suspects;
    let named_by = |index: usize, port| snapshot.get(index)?.as_ref()?.peers.get(port);
    let mut ports = Port::ALL.into_iter();
    let port = ports.find(|port| named_by(0, *port) == Some(peer) && named_by(1, *port) != Some(serial))?;
    Some(Refusal::Contradiction { serial: serial.clone(), peer: peer.clone(), port })
}

fn created_before(name: &Name, ports: &Ports, condition: Option<&Condition>) -> Next {
    match condition {
        Some(Condition::Unmet(Some(widget))) => Next::Answer(existed(name, ports, (**widget).clone())),
        Some(Condition::Unmet(None) | Condition::Met) | None => Next::ReadAgain,
    }
}

/// Returns the answer to a create of a widget that exists.
fn existed(name: &Name, ports: &Ports, widget: Widget) -> Answer {
    match (&widget.name, &widget.ports) == (name, ports) {
        true => Ok(Outcome::Exists(widget)),
        false => Err(Refusal::OtherContent { serial: widget.serial }),
    }
}

/// Each failure is final, unless only one side names the other. A missing widget is named before a missing port, and that before a port that is taken.
fn not_connected(association: &Association, conditions: &[Condition]) -> Next {
    let Association { port, serial, peer } = association;
    let port = *port;
    let sides = [(serial, peer), (peer, serial)];
    let unmet = || {
        sides.into_iter().zip(conditions).filter_map(|(side, condition)| match condition {
            Condition::Met => None,
            Condition::Unmet(widget) => Some((side, widget.as_deref())),
        })
    };
    if let Some(((missing, _), _)) = unmet().find(|(_, widget)| widget.is_none()) {
        return Next::Answer(Err(Refusal::MissingWidget(missing.clone())));
    }
    let found = || unmet().filter_map(|(side, widget)| Some((side, widget?)));
    if let Some(((serial, _), _)) = found().find(|(_, widget)| !widget.ports.contains(port)) {
        return Next::Answer(Err(Refusal::NoSuchPort { serial: serial.clone(), port }));
    }
    let mut naming = found().filter(|((_, other), widget)| widget.peers.get(port) == Some(other));
    match (naming.next(), naming.next()) {
        (Some(_), Some(_)) => return Next::Answer(Ok(Outcome::AlreadyConnected(association.clone()))),
        (Some(((serial, other), _)), None) => return Next::Suspect([serial.clone(), other.clone()]),
        (None, _) => {}
    }
    let taken = found().find_map(|((serial, _), widget)| Some((serial.clone(), widget.peers.get(port)?.clone())));
    match taken {
        Some((serial, by)) => Next::Answer(Err(Refusal::PortTaken { serial, port, by })),
        None => Next::ReadAgain,
    }
}

#[cfg(test)]
mod tests;
