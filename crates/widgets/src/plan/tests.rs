use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).unwrap()
}

fn name(text: &str) -> Name {
    Name::try_from(text.to_owned()).unwrap()
}

fn ports(text: &str) -> Ports {
    let ports: Vec<_> = text.chars().map(|port| Port::parse(&port.to_string()).unwrap()).collect();
    Ports::try_from(ports).unwrap()
}

fn revision(version: u64) -> Revision {
    Revision { incarnation: Uuid::from_u128(1), version }
}

/// Returns a widget with these ports and peers, e.g. `PQ` and `P=b`.
fn widget(text: &str, its_ports: &str, peers: &str) -> Widget {
    let mut widget = Widget {
        serial: serial(text),
        name: name("w"),
        ports: ports(its_ports),
        peers: Peers::default(),
        revision: revision(3),
        created_at: Timestamp::stored("then"),
        updated_at: Timestamp::stored("then"),
    };
    for peer in peers.split_whitespace() {
        let (port, peer) = peer.split_once('=').unwrap();
        widget.peers.set(Port::parse(port).unwrap(), Some(serial(peer)));
    }
    widget
}

fn fresh() -> Fresh {
    Fresh { now: Timestamp::stored("now"), incarnation: Uuid::from_u128(2) }
}

fn association(a: &str, b: &str) -> Association {
    Association { port: Port::P, serial: serial(a), peer: serial(b) }
}

fn connect(a: &str, b: &str) -> Operation {
    Operation::Connect(association(a, b), Taken::Refuse)
}

fn replace(a: &str, b: &str) -> Operation {
    Operation::Connect(association(a, b), Taken::Replace)
}

fn disconnect(a: &str) -> Operation {
    Operation::Disconnect { serial: serial(a), port: Port::P }
}

fn delete(a: &str, if_match: Option<IfMatch>) -> Operation {
    Operation::Delete { serial: serial(a), if_match }
}

fn change(new_name: Option<&str>, new_ports: Option<&str>, if_match: Option<IfMatch>) -> Operation {
    Operation::Change { serial: serial("a"), name: new_name.map(name), ports: new_ports.map(ports), if_match }
}

fn create() -> Operation {
    Operation::Create { serial: serial("a"), name: name("w"), ports: ports("PQ") }
}

fn seen(subject: Option<Widget>, peer: Option<Widget>) -> Seen {
    Seen { subject, peer }
}

fn plan(operation: &Operation, subject: Option<Widget>, peer: Option<Widget>) -> Step {
    step(operation, &seen(subject, peer), &fresh())
}

/// Returns what each widget of a transaction is afterwards.
fn applied(step: Step, before: &[Widget]) -> Vec<Option<Widget>> {
    let Step::Commit(actions, _) = step else { panic!("{step:?} writes nothing") };
    let item = |serial: &Serial| before.iter().find(|widget| widget.serial == *serial);
    actions.iter().map(|action| action.apply(item(action.serial())).unwrap()).collect()
}

/// Returns the widgets of a transaction with their ports and peers afterwards, e.g. `a P=b`.
fn peers_after(step: Step, before: &[Widget]) -> Vec<String> {
    let after = applied(step, before).into_iter().map(|widget| match widget {
        None => "deleted".to_owned(),
        Some(widget) => {
            let peers = widget.peers.iter().map(|(port, peer)| format!(" {port}={peer}"));
            format!("{}{}", widget.serial, peers.collect::<String>())
        }
    });
    after.collect()
}

fn refusal(refusal: Refusal) -> Step {
    Step::Answer(Err(refusal))
}

fn missing(text: &str) -> Refusal {
    Refusal::MissingWidget(serial(text))
}

fn no_port(text: &str) -> Refusal {
    Refusal::NoSuchPort { serial: serial(text), port: Port::P }
}

fn taken(text: &str, by: &str) -> Refusal {
    Refusal::PortTaken { serial: serial(text), port: Port::P, by: serial(by) }
}

fn unmet(widget: Widget) -> Condition {
    Condition::Unmet(Some(Box::new(widget)))
}

const GONE: Condition = Condition::Unmet(None);

#[test]
fn only_operations_whose_transaction_depends_on_a_state_read_it() {
    let (a, b) = (serial("a"), serial("b"));
    assert_eq!(reads(&create()), Reads::Nothing);
    assert_eq!(reads(&connect("a", "b")), Reads::Nothing);
    assert_eq!(reads(&replace("a", "b")), Reads::Two([&a, &b]));
    assert_eq!(reads(&replace("a", "a")), Reads::Nothing);
    for operation in [disconnect("a"), delete("a", None), change(None, None, None)] {
        assert_eq!(reads(&operation), Reads::One(&a));
    }
}

#[test]
fn a_widget_is_created_once_and_the_same_request_finds_it() {
    let step = plan(&create(), None, None);
    let Step::Commit(actions, Outcome::Created(created)) = &step else { panic!("{step:?}") };
    assert_eq!(created.revision, Revision { incarnation: Uuid::from_u128(2), version: 1 });
    let refused = |widget| refused(&create(), &Seen::default(), actions, &[unmet(widget)]);
    // What others have connected since does not make another content.
    let same = widget("a", "PQ", "P=b");
    assert_eq!(refused(same.clone()), Next::Answer(Ok(Outcome::Exists(same))));
    let other = Next::Answer(Err(Refusal::OtherContent { serial: serial("a") }));
    assert_eq!(refused(widget("a", "P", "")), other);
    assert_eq!(refused(Widget { name: name("v"), ..widget("a", "PQ", "") }), other);
}

#[test]
fn a_connect_writes_both_sides_and_needs_no_revision() {
    let step = plan(&connect("a", "b"), None, None);
    let (a, b) = (widget("a", "PQ", "Q=c"), widget("b", "P", ""));
    assert_eq!(peers_after(step.clone(), &[a, b]), ["a P=b Q=c", "b P=a"]);
    let Step::Commit(actions, outcome) = step else { panic!() };
    assert_eq!(outcome, Outcome::Connected(association("a", "b")));
    for (action, item) in [
        (&actions[0], None),
        (&actions[0], Some(widget("a", "Q", ""))),
        (&actions[0], Some(widget("a", "P", "P=c"))),
        (&actions[1], Some(widget("b", "P", "P=a"))),
    ] {
        assert_eq!(action.apply(item.as_ref()), Err(crate::transaction::Unmet), "{item:?}");
    }
}

#[test]
fn a_refused_connect_names_what_is_missing_before_what_is_taken() {
    use Condition::Met;
    let answer = |conditions: [Condition; 2]| {
        let Step::Commit(actions, _) = plan(&connect("a", "b"), None, None) else { panic!() };
        refused(&connect("a", "b"), &Seen::default(), &actions, &conditions)
    };
    let refused = |conditions| match answer(conditions) {
        Next::Answer(Err(refusal)) => refusal,
        next => panic!("{next:?}"),
    };
    let portless = |text| unmet(widget(text, "Q", ""));
    let connected = |text, peer: &str| unmet(widget(text, "P", &format!("P={peer}")));
    assert_eq!(refused([GONE, GONE]), missing("a"));
    assert_eq!(refused([Met, GONE]), missing("b"));
    assert_eq!(refused([portless("a"), GONE]), missing("b"));
    assert_eq!(refused([connected("a", "c"), GONE]), missing("b"));
    assert_eq!(refused([portless("a"), portless("b")]), no_port("a"));
    assert_eq!(refused([connected("a", "c"), portless("b")]), no_port("b"));
    assert_eq!(refused([connected("a", "c"), connected("b", "d")]), taken("a", "c"));
    assert_eq!(refused([Met, connected("b", "d")]), taken("b", "d"));
    let already = Next::Answer(Ok(Outcome::AlreadyConnected(association("a", "b"))));
    assert_eq!(answer([connected("a", "b"), connected("b", "a")]), already);
}

#[test]
fn a_connect_that_only_one_side_has_done_is_suspicious() {
    let connected = |text, peer: &str| unmet(widget(text, "P", &format!("P={peer}")));
    for (conditions, suspects) in [
        ([connected("a", "b"), Condition::Met], ["a", "b"]),
        ([connected("a", "b"), connected("b", "c")], ["a", "b"]),
        ([Condition::Met, connected("b", "a")], ["b", "a"]),
        ([connected("a", "c"), connected("b", "a")], ["b", "a"]),
    ] {
        let next = refused(&connect("a", "b"), &Seen::default(), &[], &conditions);
        assert_eq!(next, Next::Suspect(suspects.map(serial)), "{conditions:?}");
    }
}

#[test]
fn a_widget_is_not_connected_to_itself() {
    for operation in [connect("a", "a"), replace("a", "a")] {
        assert_eq!(plan(&operation, None, None), refusal(Refusal::SameWidget));
    }
}

#[test]
fn a_replace_frees_both_former_peers() {
    let before =
        [widget("a", "P", "P=c"), widget("b", "P", "P=d"), widget("c", "P", "P=a"), widget("d", "PQ", "P=b Q=e")];
    let step = plan(&replace("a", "b"), Some(before[0].clone()), Some(before[1].clone()));
    assert_eq!(peers_after(step, &before), ["a P=b", "b P=a", "c", "d Q=e"]);
}

#[test]
fn a_replace_changes_only_the_widgets_that_it_must() {
    let free = [widget("a", "P", ""), widget("b", "P", "")];
    let step = plan(&replace("a", "b"), Some(free[0].clone()), Some(free[1].clone()));
    assert_eq!(peers_after(step, &free), ["a P=b", "b P=a"]);
    let half = [widget("a", "P", ""), widget("b", "P", "P=d"), widget("d", "P", "P=b")];
    let step = plan(&replace("a", "b"), Some(half[0].clone()), Some(half[1].clone()));
    assert_eq!(peers_after(step, &half), ["a P=b", "b P=a", "d"]);
    let connected = [widget("a", "P", "P=b"), widget("b", "P", "P=a")];
    let step = plan(&replace("a", "b"), Some(connected[0].clone()), Some(connected[1].clone()));
    assert_eq!(step, Step::Answer(Ok(Outcome::AlreadyConnected(association("a", "b")))));
}

#[test]
fn a_replace_is_refused_for_what_is_missing() {
    let has = |text| Some(widget(text, "P", ""));
    let lacks = |text| Some(widget(text, "Q", ""));
    assert_eq!(plan(&replace("a", "b"), None, None), refusal(missing("a")));
    assert_eq!(plan(&replace("a", "b"), has("a"), None), refusal(missing("b")));
    assert_eq!(plan(&replace("a", "b"), lacks("a"), None), refusal(missing("b")));
    assert_eq!(plan(&replace("a", "b"), lacks("a"), lacks("b")), refusal(no_port("a")));
    assert_eq!(plan(&replace("a", "b"), has("a"), lacks("b")), refusal(no_port("b")));
}

#[test]
fn a_disconnect_frees_both_sides_of_one_port() {
    let before = [widget("a", "PQ", "P=b Q=b"), widget("b", "PQ", "P=a Q=a")];
    let step = plan(&disconnect("a"), Some(before[0].clone()), None);
    assert_eq!(peers_after(step, &before), ["a Q=b", "b Q=a"]);
    assert_eq!(plan(&disconnect("a"), None, None), refusal(missing("a")));
    assert_eq!(plan(&disconnect("a"), Some(widget("a", "Q", "")), None), refusal(no_port("a")));
    let free = refusal(Refusal::NotConnected { serial: serial("a"), port: Port::P });
    assert_eq!(plan(&disconnect("a"), Some(widget("a", "P", "")), None), free);
}

#[test]
fn a_delete_changes_each_peer_once() {
    let before = [widget("a", "PQR", "P=b Q=c R=b"), widget("b", "PQR", "P=a Q=d R=a"), widget("c", "Q", "Q=a")];
    let step = plan(&delete("a", None), Some(before[0].clone()), None);
    assert_eq!(peers_after(step, &before), ["deleted", "b Q=d", "c"]);
    assert_eq!(plan(&delete("a", None), None, None), refusal(missing("a")));
}

#[test]
fn a_widget_in_another_state_than_the_one_read_is_not_changed() {
    let (a, b) = (widget("a", "P", "P=b"), widget("b", "P", "P=a"));
    let moved = |widget: &Widget| Widget { revision: revision(4), ..widget.clone() };
    let again = |widget: &Widget| Widget {
        revision: Revision { incarnation: Uuid::from_u128(9), version: 3 },
        ..widget.clone()
    };
    for operation in [disconnect("a"), delete("a", None), replace("a", "c"), change(Some("v"), None, None)] {
        let peer = Some(widget("c", "P", ""));
        let Step::Commit(actions, _) = plan(&operation, Some(a.clone()), peer) else { panic!() };
        assert!(actions[0].apply(Some(&a)).is_ok(), "{operation:?}");
        for other in [moved(&a), again(&a)] {
            assert!(actions[0].apply(Some(&other)).is_err(), "{operation:?} of {other:?}");
        }
    }
    let Step::Commit(actions, _) = plan(&replace("c", "b"), Some(widget("c", "P", "")), Some(b.clone())) else {
        panic!()
    };
    assert!(actions[1].apply(Some(&b)).is_ok() && actions[1].apply(Some(&moved(&b))).is_err());
}

#[test]
fn a_change_replaces_what_it_names() {
    let before = widget("a", "PQ", "P=b");
    for (operation, expected) in [
        (change(Some("v"), None, None), ("v", "PQ")),
        (change(None, Some("RP"), None), ("w", "PR")),
        (change(Some("v"), Some("P"), None), ("v", "P")),
    ] {
        let step = plan(&operation, Some(before.clone()), None);
        let Step::Commit(_, Outcome::Changed(changed)) = step.clone() else { panic!("{step:?}") };
        let details = Some((name(expected.0), ports(expected.1)));
        assert_eq!(details, Some((changed.name.clone(), changed.ports.clone())));
        assert_eq!((changed.revision, &changed.updated_at), (revision(4), &fresh().now));
        assert_eq!(applied(step, std::slice::from_ref(&before)), [Some(changed)]);
    }
    for operation in [change(None, None, None), change(Some("w"), Some("QP"), None)] {
        assert_eq!(plan(&operation, Some(before.clone()), None), Step::Answer(Ok(Outcome::Unchanged(before.clone()))));
    }
}

#[test]
fn a_connected_port_is_not_removed() {
    let step = plan(&change(Some("v"), Some("Q"), None), Some(widget("a", "PQ", "P=b")), None);
    assert_eq!(step, refusal(taken("a", "b")));
}

#[test]
fn if_match_is_compared_with_what_was_read() {
    let listed = |version| Some(IfMatch::Revisions(vec![revision(1), revision(version)]));
    let before = || Some(widget("a", "PQ", ""));
    let changed = refusal(Refusal::Changed { serial: serial("a") });
    for with in [|if_match| delete("a", if_match), |if_match| change(Some("v"), None, if_match)] {
        for allowed in [None, Some(IfMatch::Any), listed(3)] {
            assert!(matches!(plan(&with(allowed), before(), None), Step::Commit(..)));
        }
        for other in [listed(2), Some(IfMatch::Revisions(vec![]))] {
            assert_eq!(plan(&with(other), before(), None), changed);
        }
        for any in [None, Some(IfMatch::Any), listed(3)] {
            assert_eq!(plan(&with(any), None, None), refusal(missing("a")));
        }
    }
    // The same as now, but of another state.
    assert_eq!(plan(&change(None, None, listed(2)), before(), None), changed);
}

#[test]
fn a_lost_race_is_final_only_for_a_listed_revision() {
    let listed = Some(IfMatch::Revisions(vec![revision(3)]));
    let read = seen(Some(widget("a", "PQ", "P=b")), None);
    let changed = Next::Answer(Err(Refusal::Changed { serial: serial("a") }));
    let gone = Next::Answer(Err(missing("a")));
    let moved = || unmet(widget("a", "PQ", ""));
    for with in [|if_match| delete("a", if_match), |if_match| change(Some("v"), None, if_match)] {
        for (if_match, condition, expected) in [
            (None, moved(), Next::ReadAgain),
            (None, GONE, Next::ReadAgain),
            (Some(IfMatch::Any), moved(), Next::ReadAgain),
            (listed.clone(), moved(), changed.clone()),
            (listed.clone(), GONE, gone.clone()),
        ] {
            let operation = with(if_match);
            let Step::Commit(actions, _) = step(&operation, &read, &fresh()) else { panic!() };
            let mut conditions = vec![Condition::Met; actions.len()];
            conditions[0] = condition;
            assert_eq!(refused(&operation, &read, &actions, &conditions), expected, "{operation:?}");
        }
    }
}

#[test]
fn a_peer_that_does_not_name_the_widget_is_suspicious_only_if_the_widget_has_not_moved() {
    use Condition::Met;
    let (a, b) = (widget("a", "P", "P=c"), widget("b", "P", "P=d"));
    let read = seen(Some(a), Some(b));
    let next = |operation: &Operation, conditions: &[Condition]| {
        let Step::Commit(actions, _) = step(operation, &read, &fresh()) else { panic!() };
        refused(operation, &read, &actions, conditions)
    };
    let suspects = |serials: [&str; 2]| Next::Suspect(serials.map(serial));
    let other = || unmet(widget("x", "P", ""));
    assert_eq!(next(&disconnect("a"), &[Met, GONE]), suspects(["a", "c"]));
    assert_eq!(next(&disconnect("a"), &[other(), GONE]), Next::ReadAgain);
    assert_eq!(next(&delete("a", None), &[Met, other()]), suspects(["a", "c"]));
    assert_eq!(next(&delete("a", None), &[other(), other()]), Next::ReadAgain);
    assert_eq!(next(&replace("a", "b"), &[Met, Met, other(), Met]), suspects(["a", "c"]));
    assert_eq!(next(&replace("a", "b"), &[Met, Met, Met, GONE]), suspects(["b", "d"]));
    assert_eq!(next(&replace("a", "b"), &[Met, other(), Met, GONE]), Next::ReadAgain);
    assert_eq!(next(&replace("a", "b"), &[Met, Met, Met, Met]), Next::ReadAgain);
}

#[test]
fn a_snapshot_shows_whether_two_widgets_contradict_each_other() {
    let suspects = ["a", "b"].map(serial);
    let a = || Some(widget("a", "PQ", "P=b"));
    let contradicts = |snapshot: [Option<Widget>; 2]| contradiction(&suspects, &snapshot);
    let expected = Some(Refusal::Contradiction { serial: serial("a"), peer: serial("b"), port: Port::P });
    assert_eq!(contradicts([a(), None]), expected);
    assert_eq!(contradicts([a(), Some(widget("b", "P", ""))]), expected);
    assert_eq!(contradicts([a(), Some(widget("b", "P", "P=c"))]), expected);
    assert_eq!(contradicts([a(), Some(widget("b", "P", "P=a"))]), None);
    assert_eq!(contradicts([Some(widget("a", "P", "P=c")), Some(widget("b", "P", ""))]), None);
    assert_eq!(contradicts([None, None]), None);
}

#[test]
fn only_a_widget_that_moved_on_makes_a_refusal_final() {
    let final_after = |operation: &Operation, conditions: &[Condition]| {
        let read = seen(Some(widget("a", "P", "P=c")), Some(widget("b", "P", "P=d")));
        let Step::Commit(actions, _) = step(operation, &read, &fresh()) else { panic!() };
        is_final(&actions, conditions)
    };
    use Condition::Met;
    assert!(!final_after(&create(), &[GONE]));
    assert!(!final_after(&connect("a", "b"), &[GONE, GONE]));
    for operation in [disconnect("a"), delete("a", None)] {
        assert!(final_after(&operation, &[GONE, Met]), "{operation:?}");
        assert!(!final_after(&operation, &[Met, GONE]), "{operation:?}");
    }
    assert!(final_after(&change(Some("v"), None, None), &[GONE]));
    assert!(final_after(&replace("a", "b"), &[GONE, Met, Met, Met]));
    assert!(final_after(&replace("a", "b"), &[Met, GONE, Met, Met]));
    assert!(!final_after(&replace("a", "b"), &[Met, Met, GONE, GONE]));
}

fn arbitrary_widget(text: &'static str) -> impl Strategy<Value = Widget> {
    let peer = || prop::option::of(prop::sample::select(vec!["a", "b", "c", "d"]));
    let its_ports = prop::sample::subsequence(Port::ALL.to_vec(), 1..=3);
    (its_ports, [peer(), peer(), peer()]).prop_map(move |(its_ports, peers)| {
        let mut widget = widget(text, "P", "");
        widget.ports = Ports::try_from(its_ports).unwrap();
        for (port, peer) in Port::ALL.into_iter().zip(peers) {
            widget.peers.set(port, peer.map(serial));
        }
        widget
    })
}

proptest! {
    /// DynamoDB refuses a transaction with two actions on one item, also for widgets that contradict each other.
    #[test]
    fn a_transaction_changes_each_widget_once(
        a in arbitrary_widget("a"),
        b in arbitrary_widget("b"),
        operation in prop::sample::select(vec![
            create(), connect("a", "b"), replace("a", "b"), disconnect("a"), delete("a", None),
        ]),
    ) {
        if let Step::Commit(actions, _) = plan(&operation, Some(a), Some(b)) {
            let serials: BTreeSet<_> = actions.iter().map(Action::serial).collect();
            prop_assert_eq!(serials.len(), actions.len());
            prop_assert!(actions.len() <= 4);
        }
    }
}
