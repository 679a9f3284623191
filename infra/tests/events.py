"""Checks that the resources of Terraform and of `event-pipeline setup` agree, and that the programs work on them.

Like agreement.py, it applies module events to a local AWS (moto) and lets `setup` create its own queues and tables there. Then
the processor, the deliverer and the tools work on Terraform's resources, each with the permissions of its role.

It needs the program (EVENT_PIPELINE, by default target/debug/event-pipeline) and terraform. TF_PLUGIN_DIR may name a folder
with the provider.
"""

import contextlib
import json
import re
import sys
import time

import live
import names
import overlays
import path
from agreement import LOCAL, acting_as, applied, assume, client, created_table, denied, jobs_succeed, permissions_enforced, same
from failure import CheckFailed
from servers import EVENT_PIPELINE, aws, free_port, run, running, stop, until

# The sizes differ: Terraform's provider knows only 256 KiB, and `setup` creates what the server accepts.
COMPARED = ("MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled")
QUEUES = {
    "EVENT_PIPELINE_QUEUE": "events",
    "EVENT_PIPELINE_DEAD_LETTER_QUEUE": "events-dlq",
    "EVENT_PIPELINE_DELIVER_DEAD_LETTER_QUEUE": "deliver-dlq",
}
TABLES = {
    "EVENT_PIPELINE_EVENTS_TABLE": "Events",
    "EVENT_PIPELINE_ROUTES_TABLE": "routes",
    "EVENT_PIPELINE_DELIVERIES_TABLE": "deliveries",
    "EVENT_PIPELINE_LEASES_TABLE": "event-leases",
}
GOOD, NO_ROUTE, BAD_DATA = (f"crates/events/examples/{name}.json" for name in ("good", "bad-client", "bad-data"))


def attributes(sqs, name):
    return sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"])["Attributes"]


def created_queue(sqs, name):
    """Returns the settings of a queue, with the space that its dead-letter queue has for attributes."""
    found = attributes(sqs, name)
    settings = {setting: found.get(setting) for setting in COMPARED}
    if policy := json.loads(found.get("RedrivePolicy", "null")):
        dead = attributes(sqs, policy["deadLetterTargetArn"].rsplit(":", 1)[1])
        settings |= {"receives": int(policy["maxReceiveCount"]), "space": int(dead["MaximumMessageSize"]) - int(found["MaximumMessageSize"])}
    return settings


def resources_agree(endpoint, settings):
    run([EVENT_PIPELINE, "setup"], {**LOCAL, "AWS_ENDPOINT_URL": endpoint})
    sqs, dynamodb = client("sqs", endpoint), client("dynamodb", endpoint)
    for setting, default in QUEUES.items():
        same(f"queue {default}", created_queue(sqs, settings[setting]), created_queue(sqs, default))
    for setting, default in TABLES.items():
        same(f"table {default}", created_table(dynamodb, settings[setting]), created_table(dynamodb, default))


def lengths(acting):
    """Returns how many messages each queue has, visible or not."""
    lines = [json.loads(line) for line in run([EVENT_PIPELINE, "queue", "status", "--json"], acting).splitlines()]
    return {line["queue"]: line["visible"] + line["in_flight"] + line["delayed"] for line in lines}


def check_metrics(pages):
    """Compares the pages of a processor and a deliverer with the documentation, and with alerts and dashboard."""
    found, documented = live.joined(pages), names.metrics(names.EVENT_PIPELINE)
    same("the documented metrics", sorted(found), sorted(documented.keys() - {"up"}))
    used = live.check_queries(found, names.EVENT_PIPELINE)
    print(f"  found: alerts and dashboard use the {len(found)} metrics {used} times, and all of them exist")


def page(log):
    """Returns the metrics of a running program, which has logged their address."""
    found = until("the program logs its address", lambda: re.search(r"http://127\.0\.0\.1:\d+/metrics", log.read_text()))
    return live.get(found[0])[1]


@contextlib.contextmanager
def waiting_events(operator, target):
    """Adds a route and sends the events. They wait for a second, because only such clients have a lag in the metrics."""
    run([EVENT_PIPELINE, "routes", "add", "acme", f"http://{target}/"], operator)
    for file in (GOOD, NO_ROUTE, BAD_DATA):
        run([EVENT_PIPELINE, "send", file], operator)
    time.sleep(1)
    yield


def events_are_delivered(endpoint, settings, roles):
    """Sends one event of each kind, and looks where it ends: at the receiver, and in both dead-letter queues."""
    acting = {role: {**acting_as(endpoint, settings, arn), "AWS_ENDPOINT_URL": endpoint} for role, arn in roles.items()}
    target = f"127.0.0.1:{free_port()}"
    guard = {"EVENT_PIPELINE_ALLOW_HTTP": "true", "EVENT_PIPELINE_ALLOW_TARGET": target, "EVENT_PIPELINE_HTTP_LISTEN": "127.0.0.1:0"}
    operator = acting["operator"] | guard
    expected = {settings[queue]: count for queue, count in zip(QUEUES, (0, 1, 1))}
    with (
        running([EVENT_PIPELINE, "sink", "--json", "--listen", target]) as (_, received),
        permissions_enforced(endpoint),
        waiting_events(operator, target),
        running([EVENT_PIPELINE, "processor"], acting["processor"] | guard) as (processor, stored),
        running([EVENT_PIPELINE, "deliver"], acting["deliverer"] | guard) as (deliverer, delivered),
    ):
        is_over = lambda: any(program.poll() is not None for program in (processor, deliverer))
        try:
            until("the receiver gets the event", lambda: is_over() or '"client_id":"acme"' in received.read_text().replace("\\", ""))
            until("each other event is a dead letter", lambda: is_over() or lengths(operator) == expected)
        except CheckFailed as failure:
            raise CheckFailed(f"{failure}; the programs logged:\n{stored.read_text()}{delivered.read_text()}") from failure
        check_metrics([page(stored), page(delivered)])
        for name, process, log in (("processor", processor, stored), ("deliverer", deliverer, delivered)):
            if (code := stop(process)) != 0:
                raise CheckFailed(f"the {name} exited with {code}:\n{log.read_text()}")
        run([EVENT_PIPELINE, "dlq", "list", "events", "--json"], operator)
        run([EVENT_PIPELINE, "events", "erase", "acme", "--yes"], operator)
    print("  delivered: a good event, and two dead letters, with the permissions of the roles")


def roles_are_bounded(endpoint, settings, roles, urls):
    """Asks for what each role must not do."""
    table, url = settings["EVENT_PIPELINE_EVENTS_TABLE"], urls["events"]
    key = {"client_id": {"S": "acme"}, "event_key": {"S": "key"}}
    credentials = {role: assume(endpoint, arn) for role, arn in roles.items()}
    with permissions_enforced(endpoint):
        for role in ("processor", "deliverer", "scaler"):
            dynamodb = client("dynamodb", endpoint, credentials[role])
            denied("delete the table of events", role, lambda dynamodb=dynamodb: dynamodb.delete_table(TableName=table))
        dynamodb = client("dynamodb", endpoint, credentials["processor"])
        denied("delete an event", "processor", lambda: dynamodb.delete_item(TableName=table, Key=key))
        sqs = client("sqs", endpoint, credentials["deliverer"])
        denied("receive events", "deliverer", lambda: sqs.receive_message(QueueUrl=url))
        for role in ("scaler", "operator"):
            sqs = client("sqs", endpoint, credentials[role])
            denied("purge the queue", role, lambda sqs=sqs: sqs.purge_queue(QueueUrl=url))


def main():
    print("SQS and DynamoDB: module events on a local AWS, and the resources of `event-pipeline setup`")
    # The local AWS adds spaces to the redrive policy, so a second plan would have a change.
    with aws() as endpoint, applied(endpoint, "events", plan_again=False) as (outputs, _):
        settings, roles = outputs["environment"], outputs["roles"]
        roles_are_bounded(endpoint, settings, roles, outputs["queue_urls"])
        resources_agree(endpoint, settings)
        if overlays.can_render():
            print("The manifests with these outputs, and the checks of their Jobs")
            files = {role: settings | {"AWS_ROLE_ARN": roles[role]} for role in ("processor", "deliverer", "operator")}
            # The local AWS refuses in XML what a role may not ask SQS, and the program cannot read that as a refusal.
            jobs_succeed(endpoint, EVENT_PIPELINE, path.rendered("event-pipeline", files), enforced=contextlib.nullcontext)
        print("The processor, the deliverer and the tools, with the permissions of their roles")
        events_are_delivered(endpoint, settings, roles)


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        sys.exit(f"FAILED: {failure}")
