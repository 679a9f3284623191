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
fn clients_are_served_in_rotation_and_none_has_more_than_its_share() {
    let (mut flow, tickets, _) = flow_with(&[("flood", 20), ("small", 2)]);
    let (flood, small) = (&tickets[0], &tickets[1]);
    assert_eq!(start_all(&mut flow), [flood[0], small[0], flood[1], small[1], flood[2], flood[3]]);
    flow.finish(flood[0]);
    assert_eq!(start_all(&mut flow), [flood[4]], "two permits are free, but the client has its share");
    flow.forget(flood[0]);
    assert_eq!(start_all(&mut flow), [], "what is done has left its share already");
}

#[test]
fn there_is_room_until_the_messages_or_their_bytes_are_too_many() {
    let (mut flow, _, now) = flow_with(&[("a", 80)]);
    assert!(flow.reserve(10) && flow.reserve(10) && !flow.reserve(10));
    flow.end_reservation(10);
    assert!(flow.reserve(10));
    let (mut flow, _, _) = flow_with(&[]);
    let large = flow.receive("b", 2000, now);
    assert!(!flow.reserve(10));
    flow.forget(large);
    assert!(flow.reserve(10));
}

#[test]
fn the_visibility_of_what_waits_is_extended_until_its_end() {
    let (mut flow, tickets, start) = flow_with(&[("a", 1)]);
    let ticket = tickets[0][0];
    let (mut now, mut extensions) = (start, 0);
    let lost = loop {
        now = flow.wakes_at().expect("a message is in memory").max(now);
        let lost = flow.lost(now);
        if !lost.is_empty() {
            break lost;
        }
        assert_eq!(flow.extend(now, 10), [ticket]);
        flow.extended(ticket, now);
        extensions += 1;
    };
    assert_eq!((lost, flow.is_empty()), (vec![ticket], true));
    let known = now - start;
    let end = limits().max_invisible;
    assert!(known <= end && known > end - 60 * SECOND && extensions > 1000, "{known:?} {extensions}");
}

#[test]
fn a_message_whose_visibility_ended_is_not_stored_unless_it_is_being_stored() {
    let (mut flow, tickets, now) = flow_with(&[("a", 6)]);
    let running = start_all(&mut flow);
    flow.finish(tickets[0][0]);
    assert_eq!(start_all(&mut flow), [tickets[0][4]]);
    assert_eq!(flow.lost(now + 30 * SECOND), tickets[0]);
    assert_eq!((flow.len(), flow.wakes_at()), (4, None));
    assert!(!flow.holds(tickets[0][0]) && !flow.holds(tickets[0][5]));
    for ticket in running.into_iter().chain([tickets[0][4]]) {
        flow.forget(ticket);
    }
    assert!(flow.is_empty() && flow.is_idle() && flow.start().is_none());
}

#[test]
fn an_extension_that_failed_is_repeated_until_the_visibility_ends() {
    let (mut flow, tickets, start) = flow_with(&[("a", 1)]);
    for seconds in 20..30 {
        let now = start + seconds * SECOND;
        assert_eq!(flow.wakes_at(), Some(now));
        assert_eq!(flow.lost(now), []);
        assert_eq!(flow.extend(now, 10), tickets[0]);
        assert_eq!(flow.extend(now, 10), [], "its result is not known");
        flow.not_extended(tickets[0][0], now + SECOND);
    }
    assert_eq!(flow.lost(start + 30 * SECOND), tickets[0]);
}

#[test]
fn an_extension_that_is_refused_ends_the_visibility() {
    let (mut flow, tickets, now) = flow_with(&[("a", 1)]);
    let now = now + 25 * SECOND;
    assert_eq!(flow.extend(now, 10), tickets[0]);
    flow.expired(tickets[0][0], now);
    assert_eq!(flow.lost(now), tickets[0]);
}

#[test]
fn what_is_not_done_is_returned_at_the_end() {
    let (mut flow, tickets, _) = flow_with(&[("a", 6)]);
    start_all(&mut flow);
    flow.finish(tickets[0][0]);
    let mut unfinished = flow.unfinished();
    unfinished.sort_unstable();
    assert_eq!(unfinished, &tickets[0][1..]);
}

#[derive(Debug, Clone)]
enum Step {
    Receive(u8, usize),
    Start,
    Finish(usize),
    Forget(usize),
    Refuse(usize),
    Fail(usize),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8, 0..300_usize).prop_map(|(client, bytes)| Step::Receive(client, bytes)),
        3 => Just(Step::Start),
        2 => any::<usize>().prop_map(Step::Finish),
        2 => any::<usize>().prop_map(Step::Forget),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => (0..40_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    /// The model: what is in memory, of whom, and what runs.
    #[test]
    fn no_message_is_lost_started_twice_or_above_a_share(steps in prop::collection::vec(step(), 0..300)) {
        let (mut flow, mut now) = (Flow::new(limits()), Instant::now());
        let mut known: Vec<(Ticket, u8, usize)> = Vec::new();
        let (mut started, mut running): (HashSet<Ticket>, HashSet<Ticket>) = Default::default();
        for step in steps {
            let pick = |n: usize| (!known.is_empty()).then(|| known[n % known.len()].0);
            match step {
                Step::Receive(client, bytes) => if flow.reserve(1) {
                    flow.end_reservation(1);
                    known.push((flow.receive(&client.to_string(), bytes, now), client, bytes));
                },
                Step::Start => match flow.start() {
                    Some(ticket) => {
                        prop_assert!(started.insert(ticket), "started twice");
                        running.insert(ticket);
                    }
                    None => {
                        let of = |client| known.iter().filter(|(it, c, _)| *c == client && running.contains(it)).count();
                        let may_start = |(ticket, client, _): &(Ticket, u8, usize)| {
                            !started.contains(ticket) && of(*client) < limits().running_per_client
                        };
                        prop_assert!(running.len() == limits().running || !known.iter().any(may_start), "idle");
                    }
                },
                Step::Finish(n) => if let Some(ticket) = pick(n) && running.remove(&ticket) {
                    flow.finish(ticket);
                },
                Step::Forget(n) => if let Some(ticket) = pick(n) {
                    flow.forget(ticket);
                    running.remove(&ticket);
                    known.retain(|(it, ..)| *it != ticket);
                },
                Step::Refuse(n) => if let Some(ticket) = pick(n) {
                    flow.expired(ticket, now);
                },
                Step::Fail(n) => if let Some(ticket) = pick(n) {
                    flow.not_extended(ticket, now + SECOND);
                },
                Step::Wait(seconds) => {
                    now += seconds * SECOND;
                    let lost = flow.lost(now);
                    known.retain(|(it, ..)| !lost.contains(it) || running.contains(it));
                    loop {
                        let due = flow.extend(now, 10);
                        if due.is_empty() {
                            break;
                        }
                        due.into_iter().for_each(|ticket| flow.extended(ticket, now));
                    }
                    prop_assert!(flow.wakes_at().is_none_or(|at| at > now));
                }
            }
            for client in 0..6_u8 {
                let count = known.iter().filter(|(it, c, _)| *c == client && running.contains(it)).count();
                prop_assert!(count <= limits().running_per_client);
            }
            prop_assert_eq!(flow.len(), known.len());
            prop_assert_eq!(flow.bytes, known.iter().map(|(.., bytes)| bytes).sum::<usize>());
            prop_assert_eq!(flow.running, running.len());
        }
        for (ticket, ..) in known {
            flow.forget(ticket);
        }
        prop_assert!(flow.is_empty() && flow.clients.is_empty() && flow.ready.is_empty() && flow.due.is_empty());
    }
}
