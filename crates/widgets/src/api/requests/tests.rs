use serde_json::json;

use super::*;

/// Returns the pointers of the faults, or none if the body is valid.
fn pointers(parsed: Result<Operation, Problem>) -> Vec<String> {
    let Err(problem) = parsed else { return Vec::new() };
    let body = serde_json::to_value(problem.body()).unwrap();
    assert_eq!(body["status"], 422);
    let errors = body["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_fault_of_a_widget_is_listed_with_its_pointer() {
    let of = |body: Value| pointers(create(&body));
    let ports = |ports: Value| of(json!({"name": "w", "serial_number": "1", "ports": ports}));
    assert_eq!(ports(json!(["R", "P"])), [""; 0]);
    assert_eq!(ports(json!([])), ["/ports"]);
    assert_eq!(ports(json!("P")), ["/ports"]);
    assert_eq!(ports(json!(null)), ["/ports"]);
    assert_eq!(ports(json!(["P", "S"])), ["/ports/1"]);
    assert_eq!(ports(json!([1, "p", "P"])), ["/ports/0", "/ports/1"]);
    assert_eq!(ports(json!(["P", "Q", "P"])), ["/ports/2"]);
    assert_eq!(ports(json!(["P", "Q", "R", "P", "S"])), ["/ports/3", "/ports/4"]);
    assert_eq!(of(json!({})), ["/serial_number", "/name", "/ports"]);
    assert_eq!(of(json!({"name": 1, "serial_number": "a/b", "ports": ["P"]})), ["/serial_number", "/name"]);
    let misspelt = json!({"name": "w", "serial_number": "1", "ports": ["P"], "a/b~c": 1});
    assert_eq!(of(misspelt), ["/a~1b~0c"]);
    for body in [json!([]), json!(null), json!("P"), json!(1), json!(true)] {
        assert_eq!(of(body), [""]);
    }
}

#[test]
fn an_answer_has_a_bounded_number_of_faults() {
    let body = json!({"name": "w", "serial_number": "1", "ports": vec![1; 100_000]});
    assert_eq!(pointers(create(&body)).len(), MAX_ERRORS);
}

#[test]
fn a_patch_may_leave_members_out_but_not_remove_them() {
    let serial = || Serial::try_from("1".to_owned()).unwrap();
    let of = |body: Value| pointers(change(serial(), &body, None));
    for body in [json!({}), json!({"name": "w"}), json!({"ports": ["Q"]})] {
        assert_eq!(of(body), [""; 0]);
    }
    assert_eq!(of(json!({"name": null, "ports": null})), ["/name", "/ports"]);
    assert_eq!(of(json!({"serial_number": "2"})), ["/serial_number"]);
    assert_eq!(of(json!([])), [""]);
}

#[test]
fn an_association_has_two_widgets_and_a_port() {
    let of = |port: &str, serial: &str, peer: &str| {
        let body = json!({"port_type": port, "widget_serial_num": serial, "peer_widget_serial_num": peer});
        pointers(connect(&body, Taken::Refuse))
    };
    assert_eq!(of("P", "1", "2"), [""; 0]);
    assert_eq!(of("p", "1", "2"), ["/port_type"]);
    assert_eq!(of("P", "1", "1"), ["/peer_widget_serial_num"]);
    assert_eq!(of("P", "", "#"), ["/widget_serial_num", "/peer_widget_serial_num"]);
    let missing = pointers(connect(&json!({}), Taken::Replace));
    assert_eq!(missing, ["/port_type", "/widget_serial_num", "/peer_widget_serial_num"]);
}

#[test]
fn the_elements_of_a_batch_name_their_operations() {
    let create = json!({"name": "w", "serial_number": "1", "ports": ["P"]});
    assert!(matches!(of_widget(&create), Ok(Operation::Create { .. })));
    let delete = json!({"operation": "delete", "serial_number": "1"});
    assert!(matches!(of_widget(&delete), Ok(Operation::Delete { .. })));
    assert_eq!(pointers(of_widget(&json!({"operation": "remove"}))), ["/operation"]);
    assert_eq!(pointers(of_widget(&json!({"operation": "delete", "name": "w"}))), ["/name", "/serial_number"]);
    assert_eq!(pointers(of_widget(&json!(3))), [""]);

    let pair = |rest: Value| {
        let mut element = json!({"port_type": "P", "widget_serial_num": "1"});
        element.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        of_association(&element)
    };
    assert!(matches!(pair(json!({"peer_widget_serial_num": "2"})), Ok(Operation::Connect(_, Taken::Refuse))));
    let replace = json!({"peer_widget_serial_num": "2", "replace": true, "operation": "connect"});
    assert!(matches!(pair(replace), Ok(Operation::Connect(_, Taken::Replace))));
    assert!(matches!(pair(json!({"operation": "disconnect"})), Ok(Operation::Disconnect { .. })));
    assert_eq!(pointers(pair(json!({"peer_widget_serial_num": "2", "replace": 1}))), ["/replace"]);
    assert_eq!(pointers(pair(json!({"operation": 1}))), ["/operation"]);
}

#[test]
fn a_batch_has_up_to_100_elements() {
    let count = |body: &Value| batch(body).map(<[Value]>::len).map_err(|problem| problem.kind().name);
    assert_eq!(count(&json!([1])), Ok(1));
    assert_eq!(count(&json!(vec![1; MAX_BATCH])), Ok(MAX_BATCH));
    for body in [json!([]), json!(vec![1; MAX_BATCH + 1]), json!({}), json!(null)] {
        assert_eq!(count(&body), Err("invalid-batch"));
    }
}

#[test]
fn a_body_that_is_not_one_json_value_is_malformed() {
    assert!(json(b" {\"a\": 1, \"a\": 2} ").is_ok());
    let deep = "[".repeat(100_000);
    for body in ["", "{", "{} {}", "\u{feff}{}", "name=w", "{'a': 1}", "[1,]", "nul", &deep] {
        assert_eq!(json(body.as_bytes()).unwrap_err().kind().name, "invalid-request", "{:?}", body.get(..9));
    }
    assert!(json(b"\"\xff\"").is_err());
}
