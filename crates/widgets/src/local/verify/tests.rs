use super::*;

fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).unwrap()
}

fn connect(one: &str, other: &str, replaces: bool) -> Effect {
    Effect::Connected { port: Port::P, ends: [serial(one), serial(other)], replaces }
}

fn disconnect(of: &str) -> Effect {
    Effect::Disconnected { serial: serial(of), port: Port::P }
}

fn create(of: &str) -> Effect {
    Effect::Created(serial(of))
}

fn delete(of: &str) -> Effect {
    Effect::Deleted(serial(of))
}

/// An acknowledged request.
fn done(effect: Effect, begin: Moment, end: Moment) -> Write {
    Write { effect, begin, end: Some(end) }
}

fn without_answer(effect: Effect, begin: Moment) -> Write {
    Write { effect, begin, end: None }
}

/// The widgets a, b and c, with this connection.
fn table(connected: Option<[&str; 2]>) -> Table {
    let mut table: Table = ["a", "b", "c"].map(|name| (serial(name), Peers::default())).into();
    if let Some([one, other]) = connected {
        for (end, peer) in [(one, other), (other, one)] {
            table.get_mut(&serial(end)).unwrap().set(Port::P, Some(serial(peer)));
        }
    }
    table
}

/// Returns how many differences there are after the creation of a, b and c.
fn wrong(writes: &[Write], seen: &[Seen], table: &Table) -> usize {
    let mut log = Log { writes: ["a", "b", "c"].map(|name| done(create(name), 1, 2)).to_vec(), seen: seen.to_vec() };
    log.writes.extend_from_slice(writes);
    verify(&log, table).differences().len()
}

fn after(writes: &[Write], table: &Table) -> usize {
    wrong(writes, &[], table)
}

#[test]
fn an_acknowledged_connection_must_be_in_the_table() {
    let connected = done(connect("a", "b", false), 3, 4);
    assert_eq!(after(std::slice::from_ref(&connected), &table(Some(["a", "b"]))), 0);
    assert_eq!(after(std::slice::from_ref(&connected), &table(None)), 1);
    for undone in [disconnect("a"), disconnect("b"), connect("c", "b", true)] {
        // Not the other way round: it ended before the connection began.
        let (now, next) = (table(None), table(Some(["b", "c"])));
        let left = if matches!(undone, Effect::Connected { .. }) { &next } else { &now };
        assert_eq!(after(&[connected.clone(), done(undone.clone(), 4, 6)], left), 0, "{undone:?}");
        assert_eq!(after(&[connected.clone(), done(undone.clone(), 5, 6)], left), 0, "{undone:?}");
    }
    assert_eq!(after(&[done(disconnect("a"), 1, 2), connected.clone()], &table(None)), 1);
    assert_eq!(after(&[connected, done(connect("b", "c", false), 5, 6)], &table(Some(["b", "c"]))), 1);
}

#[test]
fn a_connection_of_the_table_must_have_been_asked_for() {
    assert_eq!(after(&[], &table(Some(["a", "b"]))), 2, "nobody connected them");
    let connected = done(connect("a", "b", false), 3, 4);
    let left = table(Some(["a", "b"]));
    assert_eq!(after(&[without_answer(connect("a", "b", false), 3)], &left), 0);
    assert_eq!(after(&[connected.clone(), done(disconnect("b"), 5, 6)], &left), 3, "a disconnect was lost");
    let overlapping = [done(connect("a", "b", false), 3, 5), done(disconnect("b"), 4, 6)];
    assert_eq!(after(&overlapping, &left), 0, "they overlap");
    let again = without_answer(connect("a", "b", false), 1);
    assert_eq!(after(&[connected, done(disconnect("b"), 5, 6), again], &left), 0, "it may come later");
}

#[test]
fn deletions_end_connections_and_widgets() {
    let mut left = table(None);
    left.remove(&serial("a"));
    let connected = done(connect("a", "b", false), 3, 4);
    assert_eq!(after(&[connected.clone(), done(delete("a"), 5, 6)], &left), 0);
    assert_eq!(after(&[connected, done(delete("a"), 5, 6)], &table(None)), 1, "the deletion was lost");
    assert_eq!(after(&[], &left), 1, "a widget was lost");
    assert_eq!(after(&[done(delete("a"), 5, 6), done(create("a"), 6, 7)], &table(None)), 0);
}

#[test]
fn half_a_connection_is_wrong() {
    let mut half = table(Some(["a", "b"]));
    half.get_mut(&serial("b")).unwrap().set(Port::P, None);
    assert_eq!(after(&[without_answer(connect("a", "b", false), 3)], &half), 1);
}

#[test]
fn answers_must_agree_with_the_requests_before() {
    let connected = done(connect("a", "b", false), 3, 4);
    let left = table(Some(["a", "b"]));
    let seen = |fact, begin, end| [Seen { fact, begin, end }];
    let free = Fact::Free { serial: serial("b"), port: Port::P };
    let linked = Fact::Connected { serial: serial("b"), port: Port::P, peer: serial("a") };
    let of = |writes: &[Write], seen: &[Seen]| wrong(writes, seen, &left);
    assert_eq!(of(std::slice::from_ref(&connected), &seen(free.clone(), 3, 5)), 0, "they overlap");
    assert_eq!(of(std::slice::from_ref(&connected), &seen(free.clone(), 5, 6)), 1);
    assert_eq!(of(std::slice::from_ref(&connected), &seen(linked.clone(), 5, 6)), 0);
    assert_eq!(of(std::slice::from_ref(&connected), &seen(linked, 2, 3)), 1, "it was not asked for yet");
    let twice = [connected.clone(), done(disconnect("a"), 5, 6), done(connect("a", "b", false), 8, 9)];
    assert_eq!(of(&twice, &seen(free.clone(), 7, 7)), 0);
    assert_eq!(of(&twice, &seen(free, 10, 11)), 1);
    let own = [connected, done(connect("b", "a", true), 5, 6)];
    assert_eq!(of(&own, &seen(Fact::Free { serial: serial("a"), port: Port::P }, 7, 8)), 1, "a replace of itself");
    assert_eq!(of(&twice, &seen(Fact::Missing(serial("a")), 7, 8)), 1);
    assert_eq!(of(&twice, &seen(Fact::Exists(serial("a")), 7, 8)), 0);
}
