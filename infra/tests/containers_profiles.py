"""What must work with each profile of docker-compose.yml, seen through the published ports and the logs."""

import base64
import json
import random
import time
import urllib.error
import urllib.request
from pathlib import Path

from containers_engine import Failed
from containers_stack import until

REPOSITORY = Path(__file__).resolve().parents[2]
PUBSUB = "http://127.0.0.1:8085/v1/projects/test-project"
DYNAMODB = "http://127.0.0.1:8000"
API = "http://127.0.0.1:8080"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
# A signature is required, and no local server checks it.
SIGNATURE = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"


def request(url, body=None, headers=None, method=None, seconds=20):
    """Sends a request. Returns the status and the body of the response, whatever they are."""
    data = body.encode() if isinstance(body, str) else body
    try:
        sent = urllib.request.Request(url, data, headers or {}, method=method)
        with urllib.request.urlopen(sent, timeout=seconds) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def answer(url, **options):
    status, body = request(url, **options)
    if status != 200:
        raise Failed(f"{url} answers {status}: {body}")
    return json.loads(body)


# --- the servers ---


def dynamodb(operation, **body):
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Authorization": SIGNATURE}
    headers["Content-Type"] = "application/x-amz-json-1.0"
    return answer(DYNAMODB, body=json.dumps(body), headers=headers)


def count(table):
    """Returns the number of items, at least of the first page."""
    return dynamodb("Scan", TableName=table, Select="COUNT")["Count"]


def scans(number):
    """Returns new scans of addresses that the scanner does not use."""
    network = f"2001:db8:{random.randrange(1, 0xFFFF):x}:"
    scan = {"port": 443, "service": "HTTP", "timestamp": int(time.time()), "data_version": 2, "data": {"response_str": "hello"}}
    return [{"ip": f"{network}:{host:x}", **scan} for host in range(1, number + 1)]


def publish(found):
    """Publishes scans to the topic."""
    messages = [{"data": base64.b64encode(json.dumps(scan).encode()).decode()} for scan in found]
    # A request has at most 1,000 messages.
    for start in range(0, len(messages), 1000):
        body = json.dumps({"messages": messages[start : start + 1000]})
        answer(f"{PUBSUB}/topics/scan-topic:publish", body=body, headers={"Content-Type": "application/json"})


def missing(found):
    """Returns the scans that have no record."""
    keys = [f"{scan['ip']}#{scan['port']}#{scan['service']}" for scan in found]
    stored = set()
    for start in range(0, len(keys), 100):
        wanted = {"Keys": [{"pk": {"S": key}} for key in keys[start : start + 100]], "ProjectionExpression": "pk"}
        read = dynamodb("BatchGetItem", RequestItems={"scan-results": wanted})
        stored |= {item["pk"]["S"] for item in read["Responses"]["scan-results"]}
    return [key for key in keys if key not in stored]


def stored(found):
    # DynamoDB Local may write only some scans per second.
    until(f"{len(found)} published scans are in the table", lambda: not missing(found), 120)


# --- the profiles ---


def consumers(stack):
    """Every scan arrives, and more arrive after the death of a consumer."""
    until("scans of the scanner are in the table", lambda: count("scan-results") > 0, 60)
    found = scans(1500)
    publish(found)
    stored(found)
    killed = stack.kill("consumer")
    # Not every scan: Google's emulator goes on delivering to the killed consumer (docs/limits.md). `make test` checks on the
    # embedded server that others process its messages.
    known = count("scan-results")
    until("five more scans of the scanner arrive", lambda: count("scan-results") >= known + 5, 60)
    return [killed]


def api(stack):
    """The API answers a request with the token, and refuses one without."""
    [scan] = scans(1)
    publish([scan])
    stored([scan])
    token = stack.logs("api-token").split()[-1]
    url, headers = f"{API}/v1/hosts/{scan['ip']}", {"Authorization": f"Bearer {token}"}
    until("the API returns the record of a host", lambda: "hello" in request(url, headers=headers)[1], 60)
    if (status := request(url)[0]) != 401:
        raise Failed(f"a request without token gets {status}")


def changes(_stack):
    """The history has an entry for a new service."""
    [scan] = scans(1)
    publish([scan])
    condition = {"KeyConditionExpression": "ip = :ip", "ExpressionAttributeValues": {":ip": {"S": scan["ip"]}}}
    until("the history has an entry", lambda: dynamodb("Query", TableName="scan-history", **condition)["Count"], 90)


def webhooks(stack):
    """The receiver prints a webhook, and verifies its signature once it has the secret."""
    added = json.loads(stack.run("changes", "webhooks", "add", "--json", "--url", "http://sink:8090"))
    secret = {"SINK_SECRET": added["secret"]}
    stack.compose("up", "--detach", "--no-deps", "sink", environment=secret, errors=True)
    found = []

    def arrived():
        # The subscription is told of changes some seconds after it was added.
        found.extend(scans(1))
        publish(found[-1:])
        # Without the secret, it prints "not verified".
        return "  204  verified" in stack.logs("sink")

    until("a webhook with a valid signature", arrived, 90, every=3)


def events(stack):
    """An event reaches the receiver of its client."""
    good = (REPOSITORY / "crates/events/examples/good.json").read_text()
    stack.run("processor", "send", "-", stdin=good)
    until("the receiver prints the event", lambda: "order.created" in stack.logs("mock-sink"), 60)


def widgets(stack, port=8080):
    """The first commands of crates/widgets/README.md: two widgets and a connection."""
    registry = f"http://127.0.0.1:{port}/widgets"
    until("widget-registry answers", lambda: request(registry)[0] == 200, 60)
    for serial in ("123", "321"):
        widget = {"name": "widget1", "serial_number": serial, "ports": ["P", "R"]}
        status, body = request(registry, body=json.dumps(widget), method="POST")
        if status != 201:
            raise Failed(f"POST /widgets answers {status}: {body}")
    pair = {"port_type": "P", "widget_serial_num": "123", "peer_widget_serial_num": "321"}
    answer(f"{registry}/associations", body=json.dumps(pair), method="PUT")
    if (connections := answer(f"{registry}/321")["connections"]) != {"P": "123"}:
        raise Failed(f"GET /widgets/321 shows the connections {connections}")


def alerts():
    """Returns the alerts that are pending or firing, by name."""
    return {alert["labels"]["alertname"]: alert["state"] for alert in answer(f"{PROMETHEUS}/alerts")["data"]["alerts"]}


def evaluations():
    """Returns the time of the last evaluation of each group of rules. Every rule must have been evaluated without an error."""
    groups = answer(f"{PROMETHEUS}/rules")["data"]["groups"]
    faults = [f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule["health"] == "err"]
    if faults or not groups:
        raise Failed(f"Prometheus cannot evaluate {faults or 'any rule'}")
    return {group["name"]: group["lastEvaluation"] for group in groups}


def observe(stack, cycles=4, seconds=150):
    """Prometheus scrapes every instance and evaluates every rule, and no alert stays pending or fires in a healthy stack.

    A pending alert waits for its `for`, which is up to an hour. In a stack that stays as it is, it would fire then.
    """
    scraped = [name for name in stack.ours if "9464" in json.dumps(stack.services[name].get("environment", {}))]
    wanted = sum(stack.scale.get(name, 1) for name in scraped)

    def all_up():
        targets = answer(f"{PROMETHEUS}/targets?state=active")["data"]["activeTargets"]
        return len(targets) == wanted and all(target["health"] == "up" for target in targets)

    until(f"Prometheus scrapes {wanted} instances of {', '.join(sorted(scraped))}", all_up, 60)
    # Each group has its own offset in the interval.
    for _ in range(cycles):
        last = evaluations()
        until("every rule is evaluated again", lambda last=last: not last.items() & evaluations().items(), 60)
    deadline = time.monotonic() + seconds
    while found := alerts():
        if time.monotonic() > deadline:
            names = ", ".join(f"{name} ({state})" for name, state in sorted(found.items()))
            raise Failed(f"these alerts would fire for ever in a healthy stack: {names}")
        time.sleep(5)
