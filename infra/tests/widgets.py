"""Checks that the resources of Terraform and of `widget-registry setup` agree, and that the program works on them.

Like agreement.py, it applies module widgets to a local AWS (moto) and lets `setup` create its own tables there. Then the API and the
audit work on Terraform's tables, each with the permissions of its role.

It needs the program (WIDGET_REGISTRY, by default target/debug/widget-registry) and terraform. TF_PLUGIN_DIR may name a folder with
the provider.
"""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import live
import names
import overlays
import path
from agreement import LOCAL, acting_as, administrator, applied, assume, client, created_table, denied, jobs_succeed, permissions_enforced, same
from failure import CheckFailed
from servers import WIDGET_REGISTRY, aws, run, running, stop, until

# They have no samples, because no call of the local AWS fails. A test of the program compares them, and `error_type`, with the page.
UNCOUNTED = ("widget_registry_retries_total", "widget_registry_rebuilds_total")
TABLES = {"WIDGET_REGISTRY_WIDGETS_TABLE": "widgets", "WIDGET_REGISTRY_REQUESTS_TABLE": "widget-requests"}


def tables_agree(endpoint, settings):
    run([WIDGET_REGISTRY, "setup"], {**LOCAL, "AWS_ENDPOINT_URL_DYNAMODB": endpoint})
    dynamodb = client("dynamodb", endpoint)
    for setting, default in TABLES.items():
        same(f"table {default}", created_table(dynamodb, settings[setting]), created_table(dynamodb, default))


def roles_are_bounded(endpoint, settings, roles):
    """Asks for what each role must not do."""
    widgets, key = settings["WIDGET_REGISTRY_WIDGETS_TABLE"], {"serial": {"S": "1"}}
    credentials = {role: assume(endpoint, arn) for role, arn in roles.items()}
    with permissions_enforced(endpoint):
        for role in roles:
            dynamodb = client("dynamodb", endpoint, credentials[role])
            denied("delete the table of widgets", role, lambda dynamodb=dynamodb: dynamodb.delete_table(TableName=widgets))
        dynamodb = client("dynamodb", endpoint, credentials["api"])
        batch = {widgets: [{"DeleteRequest": {"Key": key}}]}
        denied("write a batch, which is no transaction", "api", lambda: dynamodb.batch_write_item(RequestItems=batch))
        dynamodb = client("dynamodb", endpoint, credentials["operator"])
        denied("change a widget", "operator", lambda: dynamodb.put_item(TableName=widgets, Item=key))
        write = [{"Delete": {"TableName": widgets, "Key": key}}]
        denied("delete a widget in a transaction", "operator", lambda: dynamodb.transact_write_items(TransactItems=write))


def ask(url, method="GET", body=None, headers=None):
    """Returns the status and the JSON of a response. The body is sent with the type of a form, as curl does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        text, status = error.read(), error.code
    return status, json.loads(text) if text else None


def widgets_are_connected(api):
    """Sends one request of each kind, and compares the answers."""

    def expect(wanted, what, *request, **rest):
        status, answer = ask(f"{api}{request[0]}", *request[1:], **rest)
        if status != wanted:
            raise CheckFailed(f"{what}: {status} instead of {wanted}: {answer}")
        return answer

    for serial in ("123", "321"):
        new = {"name": "widget1", "serial_number": serial, "ports": ["P", "R"]}
        expect(201, "create", "/widgets", "POST", new, headers={"Idempotency-Key": f"create {serial}".replace(" ", "-")})
    pair = {"port_type": "P", "widget_serial_num": "123", "peer_widget_serial_num": "321"}
    expect(200, "connect", "/widgets/associations", "PUT", pair)
    expect(200, "connect again", "/widgets/associations?replace=true", "PUT", pair)
    same("the connection, from the other side", expect(200, "read", "/widgets/321")["connections"], {"P": "123"})
    expect(409, "create with other content", "/widgets", "POST", {"name": "other", "serial_number": "123", "ports": ["P"]})
    expect(200, "change", "/widgets/123", "PATCH", {"name": "widget2"})
    expect(200, "list", "/widgets")
    expect(204, "disconnect", "/widgets/associations/321/P", "DELETE")
    expect(204, "delete", "/widgets/321", "DELETE")
    expect(404, "read what was deleted", "/widgets/321")


def contradiction_is_found(api, admin, table, operator):
    """Writes half a connection, which no client can do, asks for it, and audits the table."""
    for serial in ("a", "b"):
        ask(f"{api}/widgets", "POST", {"name": "half", "serial_number": serial, "ports": ["Q"]})
    run([WIDGET_REGISTRY, "audit"], operator)
    half = {"Key": {"serial": {"S": "a"}}, "UpdateExpression": "SET q = :b", "ExpressionAttributeValues": {":b": {"S": "b"}}}
    admin.update_item(TableName=table, **half)
    status, problem = ask(f"{api}/widgets/associations/a/Q", "DELETE")
    same("the answer about half a connection", [status, problem["type"].split("#")[-1]], [500, "inconsistent"])
    audit = subprocess.run([WIDGET_REGISTRY, "audit"], env={**operator}, capture_output=True, text=True, timeout=300)
    same("the exit code of an audit that finds half a connection", audit.returncode, 1)


def check_metrics(page):
    """Compares the page of the API with the documentation, and with alerts, dashboard and autoscaler."""
    found, documented = live.joined([page]), names.metrics(names.WIDGET_REGISTRY)
    found |= {name: (documented[name][0], {}) for name in UNCOUNTED if name not in found}
    found["db_client_operation_duration_seconds"][1].setdefault("error_type", {""})
    same("the documented metrics", sorted(found), sorted(documented.keys() - {"up"}))
    used = live.check_queries(found, names.WIDGET_REGISTRY)
    print(f"  found: alerts, dashboard and autoscaler use the {len(found)} metrics {used} times, and all of them exist")


def api_works(endpoint, settings, roles):
    acting = {role: acting_as(endpoint, settings, arn) for role, arn in roles.items()}
    admin = client("dynamodb", endpoint, administrator(endpoint))
    listen = {"WIDGET_REGISTRY_LISTEN": "127.0.0.1:0", "WIDGET_REGISTRY_HTTP_LISTEN": "127.0.0.1:0"}
    with permissions_enforced(endpoint):
        run([WIDGET_REGISTRY, "check"], acting["api"])
        with running([WIDGET_REGISTRY, "serve"], acting["api"] | listen) as (process, log):
            url = r"http://127\.0\.0\.1:\d+"
            served = until("the API logs its address", lambda: process.poll() is not None or re.search(rf"({url})/widgets", log.read_text()))
            if served is True:
                raise CheckFailed(f"the API exited:\n{log.read_text()}")
            metrics = re.search(rf"{url}/metrics", log.read_text())[0]
            widgets_are_connected(served[1])
            contradiction_is_found(served[1], admin, settings["WIDGET_REGISTRY_WIDGETS_TABLE"], acting["operator"])
            check_metrics(live.get(metrics)[1])
            if (code := stop(process)) != 0:
                raise CheckFailed(f"the API exited with {code}:\n{log.read_text()}")
    print("  served: each endpoint, with the permissions of the role")


def main():
    print("DynamoDB: module widgets on a local AWS, and the tables of `widget-registry setup`")
    with aws() as endpoint, applied(endpoint, "widgets") as (outputs, _):
        settings, roles = outputs["environment"], outputs["roles"]
        roles_are_bounded(endpoint, settings, roles)
        tables_agree(endpoint, settings)
        if overlays.can_render():
            print("The manifests with these outputs, and the checks of their Jobs")
            files = {"widgets": settings | {"AWS_ROLE_ARN": roles["api"]}, "operator": settings | {"AWS_ROLE_ARN": roles["operator"]}}
            # Only `tail` reads the stream.
            jobs_succeed(endpoint, WIDGET_REGISTRY, path.rendered("widget-registry", files), unneeded=["stream "])
        print("The API and the audit, with the permissions of their roles")
        api_works(endpoint, settings, roles)


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        sys.exit(f"FAILED: {failure}")
