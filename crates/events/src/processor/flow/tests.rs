use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        messages: 100,
        bytes: 1000,
        running: 8,
        running_per_client: 4,
        visibility: 30 * SECOND,
        max_invisible: 12 * 3600 * SECOND,
    }
}

fn flow_with(clients: &[(&str, usize)]) -> (Flow, Vec<Vec<Ticket>>, Instant) {
    let (mut flow, now) = (Flow::new(limits()), Instant::now());
    let tickets =
        clients.iter().map(|(client, count)| (0..*count).map(|_| flow.receive(client, 1, now)).collect()).collect();
    (flow, tickets, now)
}

fn start_all(flow: &mut Flow) -> Vec<Ticket> {
    std::iter::from_fn(|| flow.start()).collect()
}

#[test]
fn clients_take_turns_and_none_has_more_than_its_share() {
    let (mut flow, tickets, _) = flow_with(&[("flood", 20), ("small", 2)]);
    let (flood, small) = (&tickets[0], &tickets[1]);
    assert_eq!(start_all(&mut flow), [flood[0], small[0], flood[1], small[1], flood[2], flood[3]]);
    flow.forget(flood[0]);
    assert_eq!(start_all(&mut flow), [flood[4]], "two permits are free, but the client has its share");
}

#[test]
fn there_is_room_until_the_messages_or_their_bytes_are_too_many() {
    let (mut flow, _, now) = flow_with(&[("a", 99)]);
    assert_eq!(flow.room(), 1);
    flow.receive("b", 2000, now);
    assert_eq!(flow.room(), 0);
    let (mut flow, _, now) = flow_with(&[]);
    let large = flow.receive("b", 2000, now);
    assert_eq!(flow.room(), 0);
    flow.forget(large);
    assert_eq!(flow.room(), 100);
}

#[test]
fn the_visibility_of_what_waits_is_extended_until_its_end() {
    let (mut flow, tickets, start) = flow_with(&[("a", 1)]);
    let ticket = tickets[0][0];
    let (mut now, mut extensions) = (start, 0);
    let lost = loop {
        now = flow.wakes_at().expect("a message is held").max(now);
        let lost = flow.lost(now);
        if !lost.is_empty() {
            break lost;
        }
        assert_eq!(flow.extend(now), [ticket]);
        extensions += 1;
    };
    assert_eq!((lost, flow.is_empty()), (vec![ticket], true));
    let held = now - start;
    let end = limits().max_invisible;
    assert!(held <= end && held > end - 60 * SECOND && extensions > 1000, "{held:?} {extensions}");
}

#[test]
fn a_message_whose_visibility_ended_is_not_stored_unless_it_is_being_stored() {
    let (mut flow, tickets, now) = flow_with(&[("a", 5)]);
    let running = start_all(&mut flow);
    assert_eq!(flow.lost(now + 30 * SECOND), [tickets[0][4]]);
    assert_eq!((flow.len(), flow.wakes_at()), (4, None));
    for ticket in running {
        flow.forget(ticket);
    }
    assert!(flow.is_empty() && flow.start().is_none());
}

#[test]
fn an_extension_that_is_refused_ends_the_visibility() {
    let (mut flow, tickets, now) = flow_with(&[("a", 1)]);
    let now = now + 25 * SECOND;
    assert_eq!(flow.extend(now), tickets[0]);
    flow.not_extended(tickets[0][0], now);
    assert_eq!(flow.lost(now), tickets[0]);
}

#[test]
fn a_drain_returns_what_is_not_being_stored() {
    let (mut flow, tickets, _) = flow_with(&[("a", 6)]);
    let running = start_all(&mut flow);
    assert_eq!(flow.drain(), &tickets[0][4..]);
    for ticket in running {
        flow.forget(ticket);
        assert_eq!(flow.start(), None);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Receive(u8, usize),
    Start,
    Forget(usize),
    Refuse(usize),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8, 0..300_usize).prop_map(|(client, bytes)| Step::Receive(client, bytes)),
        3 => Just(Step::Start),
        2 => any::<usize>().prop_map(Step::Forget),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => (0..40_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    /// The model: what is held, by whom, and what runs.
    #[test]
    fn no_message_is_lost_started_twice_or_above_a_share(steps in prop::collection::vec(step(), 0..300)) {
        let (mut flow, mut now) = (Flow::new(limits()), Instant::now());
        let mut held: Vec<(Ticket, u8, usize)> = Vec::new();
        let mut running: HashSet<Ticket> = HashSet::new();
        for step in steps {
            let pick = |n: usize| (!held.is_empty()).then(|| held[n % held.len()].0);
            match step {
                Step::Receive(client, bytes) if flow.room() > 0 => {
                    held.push((flow.receive(&client.to_string(), bytes, now), client, bytes));
                }
                Step::Receive(..) => {}
                Step::Start => match flow.start() {
                    Some(ticket) => prop_assert!(running.insert(ticket), "started twice"),
                    None => {
                        let of = |client| held.iter().filter(|(it, c, _)| *c == client && running.contains(it)).count();
                        let may_start = |(ticket, client, _): &(Ticket, u8, usize)| {
                            !running.contains(ticket) && of(*client) < limits().running_per_client
                        };
                        prop_assert!(running.len() == limits().running || !held.iter().any(may_start), "idle");
                    }
                },
                Step::Forget(n) => if let Some(ticket) = pick(n) {
                    flow.forget(ticket);
                    running.remove(&ticket);
                    held.retain(|(it, ..)| *it != ticket);
                },
                Step::Refuse(n) => if let Some(ticket) = pick(n) {
                    flow.not_extended(ticket, now);
                },
                Step::Wait(seconds) => {
                    now += seconds * SECOND;
                    let lost = flow.lost(now);
                    prop_assert!(lost.iter().all(|ticket| !running.contains(ticket)));
                    held.retain(|(it, ..)| !lost.contains(it));
                    while !flow.extend(now).is_empty() {}
                }
            }
            for client in 0..6_u8 {
                let count = held.iter().filter(|(it, c, _)| *c == client && running.contains(it)).count();
                prop_assert!(count <= limits().running_per_client);
            }
            prop_assert_eq!(flow.len(), held.len());
            prop_assert_eq!(flow.bytes, held.iter().map(|(.., bytes)| bytes).sum::<usize>());
            prop_assert_eq!(flow.running, running.len());
        }
        for (ticket, ..) in held {
            flow.forget(ticket);
        }
        prop_assert!(flow.is_empty() && flow.clients.is_empty() && flow.turns.is_empty() && flow.by_visibility.is_empty());
    }
}
