"""Checks that the resources of Terraform and of `mini-scan setup` agree, and that the consumer works on them.

The check creates resources instead of comparing texts. It applies module aws to a local AWS (moto), and lets `setup` create
its own tables and subscriptions. It runs the consumer, the reader of changes with its webhooks, and the backfill on
Terraform's tables with the permissions of Terraform's roles. Module gcp needs Google Cloud, so the check reads its values
from the files.

It needs the program (MINI_SCAN, by default target/debug/mini-scan) and terraform. TF_PLUGIN_DIR may name a folder with
the provider. `agreement.py pubsub` skips AWS and needs no terraform.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import boto3
import botocore.exceptions
import hcl2

import commands
import overlays
import path
import sources
from failure import CheckFailed
from servers import PROGRAM, REPOSITORY, aws, call, post, pubsub, received, run, running, stop, subscribed, until

PROJECT = "projects/test-project"
MESSAGES = 500
TTL = 90 * 24 * 60 * 60
TRANSACTIONS = {
    "dynamodb:GetItem": "dynamodb:TransactGetItems",
    "dynamodb:PutItem": "dynamodb:TransactWriteItems",
    "dynamodb:UpdateItem": "dynamodb:TransactWriteItems",
    "dynamodb:DeleteItem": "dynamodb:TransactWriteItems",
    "dynamodb:ConditionCheckItem": "dynamodb:TransactWriteItems",
}
# The local Pub/Sub knows no permissions, and SQS has no way to ask for them.
UNKNOWN = ("permission pubsub.", "permission sqs")
BATCHED = {"sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
LOCAL = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}


def same(what, ours, theirs):
    if ours != theirs:
        raise CheckFailed(f"{what} differs:\n  {json.dumps(ours, sort_keys=True)}\n  {json.dumps(theirs, sort_keys=True)}")
    print(f"  agrees: {what}")


# --- Pub/Sub ---


class Module:
    """The resources of a Terraform module, with the defaults of its variables filled in."""

    def __init__(self, name):
        self.resources, self.defaults, self.outputs = {}, {}, set()
        for file in sorted((REPOSITORY / "infra" / name).glob("*.tf")):
            content = hcl2.loads(file.read_text())
            self.outputs |= {output for block in content.get("output", []) for output in block}
            for block in content.get("variable", []):
                for variable, body in block.items():
                    self.defaults[variable] = body.get("default", [None])[0]
            for block in content.get("resource", []):
                for kind, named in block.items():
                    for resource, body in named.items():
                        self.resources[kind, resource] = body

    def get(self, kind, resource, *path):
        """Returns the argument at the end of a path of blocks."""
        value = self.resources[kind, resource]
        for step in path:
            value = value[step][0]
        if isinstance(value, str) and value.startswith("${var."):
            value = self.defaults[value[len("${var.") : -1]]
        return value

    def subscription(self, resource):
        def get(*path):
            return self.get("google_pubsub_subscription", resource, *path)

        has_retry_policy = "retry_policy" in self.resources["google_pubsub_subscription", resource]
        return {
            "name": get("name"),
            "ack deadline": get("ack_deadline_seconds"),
            "retention": get("message_retention_duration"),
            "expiry": get("expiration_policy", "ttl") or "never",
            "minimum backoff": has_retry_policy and get("retry_policy", "minimum_backoff"),
            "maximum backoff": has_retry_policy and get("retry_policy", "maximum_backoff"),
            "ordered": get("enable_message_ordering"),
            "exactly once": get("enable_exactly_once_delivery"),
        }


def created_subscription(server, name):
    """The settings of a subscription on the server, with the same keys as Module.subscription."""
    found = call(f"http://{server}/v1/{PROJECT}/subscriptions/{name}")
    retry = found.get("retryPolicy")
    return {
        "name": found["name"].rsplit("/", 1)[1],
        "ack deadline": found["ackDeadlineSeconds"],
        "retention": found["messageRetentionDuration"],
        "expiry": found["expirationPolicy"].get("ttl", "never"),
        "minimum backoff": retry is not None and retry["minimumBackoff"],
        "maximum backoff": retry is not None and retry["maximumBackoff"],
        "ordered": found.get("enableMessageOrdering", False),
        "exactly once": found.get("enableExactlyOnceDelivery", False),
    }


def subscriptions_agree(server):
    """Compares topics and subscriptions, including their default names."""
    module = Module("terraform/gcp")
    run([PROGRAM, "setup", "pubsub"], {"PUBSUB_EMULATOR_HOST": server})
    topics = call(f"http://{server}/v1/{PROJECT}/topics")["topics"]
    names = {topic["name"].rsplit("/", 1)[1] for topic in topics}
    ours = {module.get("google_pubsub_topic", topic, "name") for topic in ("scans", "dead_letters")}
    same("the topics", sorted(ours), sorted(names))
    for resource in ("scans", "dead_letters"):
        ours = module.subscription(resource)
        same(f"subscription {ours['name']}", ours, created_subscription(server, ours["name"]))
    replays_differ(module, topics)


def replays_differ(module, topics):
    """Only Terraform's topic retains messages, because the local server cannot. The runbook has the command for the topic of `setup`."""
    retained = [topic["name"] for topic in topics if "messageRetentionDuration" in topic]
    same("the topics of `setup` that retain messages", retained, [])
    days = module.defaults["replay_days"]
    runbook = (REPOSITORY / "docs/runbook.md").read_text()
    commands = re.findall(r"gcloud pubsub topics update (\S+) --message-retention-duration=(\d+d)", runbook)
    same("the retention in the runbook", commands, [(module.defaults["topic"], f"{days}d")])


def stand_in_agrees():
    """Compares module gcp with the module that stands in for it in the tests of two-clouds."""
    module, stand_in = Module("terraform/gcp"), Module("tests/gcp-stand-in")
    same("the variables of gcp-stand-in that module gcp lacks", sorted(stand_in.defaults.keys() - module.defaults.keys()), [])
    same("the outputs of gcp-stand-in that module gcp lacks", sorted(stand_in.outputs - module.outputs), [])


# --- DynamoDB ---


@contextlib.contextmanager
def applied(endpoint, module="aws", plan_again=True):
    """Applies a module and yields its outputs and Terraform in its folder. With `plan_again`, a second plan must have no changes."""
    with tempfile.TemporaryDirectory() as scratch:
        modules = Path(scratch) / "infra"
        for part in (f"terraform/{module}", "terraform/modules", f"tests/local-{module}"):
            sources.copy(modules, below=part)

        def terraform(*arguments, **variables):
            settings = {"TF_VAR_endpoint": endpoint, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
            settings |= {f"TF_VAR_{name}": value for name, value in variables.items()}
            return run(["terraform", *arguments, "-no-color"], settings, modules / f"tests/local-{module}")

        plugins = os.environ.get("TF_PLUGIN_DIR")
        terraform("init", "-input=false", *([f"-plugin-dir={plugins}"] if plugins else []))
        terraform("apply", "-auto-approve", "-input=false")
        print(f"  applied: module {module}")
        if plan_again:
            # With -detailed-exitcode, a plan with changes exits with 2, which fails the check.
            terraform("plan", "-detailed-exitcode", "-input=false")
            print("  planned: there are no more changes")
        outputs = {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}
        yield outputs, terraform


def client(service, endpoint, credentials=None):
    keys = credentials or {"AccessKeyId": "local", "SecretAccessKey": "local"}
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=LOCAL["AWS_REGION"],
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
    )


def created_table(dynamodb, name):
    table = dynamodb.describe_table(TableName=name)["Table"]
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return {
        "key": table["KeySchema"],
        # The order means nothing.
        "attributes": sorted(table["AttributeDefinitions"], key=lambda attribute: attribute["AttributeName"]),
        "indexes": [
            [index["IndexName"], index["KeySchema"], projection["ProjectionType"], projection.get("NonKeyAttributes", [])]
            for index in table.get("GlobalSecondaryIndexes", [])
            for projection in [index["Projection"]]
        ],
        "billing": table["BillingModeSummary"]["BillingMode"],
        "stream": table.get("StreamSpecification"),
        "expiry": [expiry["TimeToLiveStatus"], expiry.get("AttributeName")],
    }


def tables_agree(endpoint, settings):
    """Compares the module's tables with those that the parts of `setup` create under their default names."""
    for part in ("table", "changes", "webhooks"):
        run([PROGRAM, "setup", part], {**LOCAL, "AWS_ENDPOINT_URL_DYNAMODB": endpoint})
    dynamodb = client("dynamodb", endpoint)
    pairs = {
        "the table": ("MINI_SCAN_TABLE", Module("terraform/aws").defaults["table_name"]),
        "the history table": ("MINI_SCAN_HISTORY_TABLE", "scan-history"),
        "the lease table": ("MINI_SCAN_LEASE_TABLE", "scan-leases"),
        "the table of subscriptions": ("MINI_SCAN_WEBHOOKS_TABLE", "scan-webhooks"),
        "the table of deliveries": ("MINI_SCAN_DELIVERIES_TABLE", "scan-deliveries"),
    }
    for what, (setting, default) in pairs.items():
        same(what, created_table(dynamodb, settings[setting]), created_table(dynamodb, default))


def service_index_is_kept(endpoint, table, terraform):
    """Adds by-service to the module's table by `setup`. With service_index, Terraform must not change it."""
    run([PROGRAM, "setup", "table", "--service-index", "--table", table], {**LOCAL, "AWS_ENDPOINT_URL_DYNAMODB": endpoint})
    dynamodb = client("dynamodb", endpoint)
    added = created_table(dynamodb, table)
    keys = [[key["AttributeName"] for key in schema] for name, schema, *_ in added["indexes"] if name == "by-service"]
    same("the key of by-service", keys, [["port", "service", "ip"]])
    # Only the table, because Terraform adds an alarm for the index.
    table_only = "-target=module.aws.aws_dynamodb_table.scans"
    terraform("plan", "-detailed-exitcode", "-input=false", table_only, service_index="true")
    # A limit changes every index in Terraform's plan, and must not create any of them again.
    terraform("apply", "-auto-approve", "-input=false", service_index="true", max_write_units="5000")
    same("the table with by-service, after Terraform has applied a limit", created_table(dynamodb, table), added)


def restored_table_is_taken_over(endpoint, table, terraform):
    """Follows "Restoring from a backup" of the runbook. Terraform must update the restored table, and keep its rows."""
    dynamodb, variables = client("dynamodb", endpoint), {"table_name": "restored", "service_index": "true", "max_write_units": "5000"}
    dynamodb.restore_table_to_point_in_time(SourceTableName=table, TargetTableName="restored", UseLatestRestorableTime=True)
    before = rows(dynamodb, "restored")
    same("the rows of the backup", sorted(before), sorted(rows(dynamodb, table)))
    terraform("state", "rm", "module.aws.aws_dynamodb_table.scans")
    terraform("import", "-input=false", "module.aws.aws_dynamodb_table.scans", "restored", **variables)
    terraform("apply", "-auto-approve", "-input=false", **variables)
    same("the restored table", created_table(dynamodb, "restored"), created_table(dynamodb, table))
    same("the rows of the restored table", rows(dynamodb, "restored"), before)


# --- the consumer on the table that Terraform made ---


def administrator(endpoint, name="administrator"):
    """Creates an access key with all permissions."""
    iam = client("iam", endpoint)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    return {name: keys[name] for name in ("AccessKeyId", "SecretAccessKey")}


def assume(endpoint, role):
    """Returns credentials of the role, obtained the way a pod obtains them.

    The local AWS checks the action of a request but not its resource, which must be `*` in the policy. So the role gets
    a copy of its own policy with the resource `*`. The module's own tests check the resources.
    """
    iam = client("iam", endpoint)
    name = role.rsplit("/", 1)[1]
    policy = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"][0]["PolicyArn"]
    version = iam.get_policy(PolicyArn=policy)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=policy, VersionId=version)["PolicyVersion"]["Document"]
    for statement in document["Statement"]:
        statement["Resource"] = "*"
        # AWS checks the operation of each entry of a batch. The local AWS checks that of the batch.
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = actions + [f"{action}Batch" for action in actions if action in BATCHED]
        # AWS checks the operations inside of a transaction. The local AWS checks only the transaction.
        statement["Action"] += sorted({TRANSACTIONS[action] for action in actions if action in TRANSACTIONS})
    iam.put_role_policy(RoleName=name, PolicyName="anywhere", PolicyDocument=json.dumps(document))
    token = {"RoleArn": role, "RoleSessionName": "consumer", "WebIdentityToken": "not checked"}
    return client("sts", endpoint).assume_role_with_web_identity(**token)["Credentials"]


@contextlib.contextmanager
def permissions_enforced(endpoint):
    """Makes the local AWS check the permissions of every request, like the real AWS."""
    post(f"{endpoint}/moto-api/reset-auth", b"0")
    try:
        yield
    finally:
        post(f"{endpoint}/moto-api/reset-auth", b"inf")


def jobs_succeed(endpoint, program, manifests, servers=None, unneeded=(), enforced=permissions_enforced):
    """Runs the checks of the rendered Jobs, each with credentials of the role in its settings.

    All results must be ok, except those that begin with one of `unneeded`. `enforced` makes the local AWS check permissions.
    """
    for job in path.checks(manifests):
        arguments, settings = path.container(manifests, "CronJob", job)
        acting = {**acting_as(endpoint, settings, settings["AWS_ROLE_ARN"]), "AWS_ENDPOINT_URL": endpoint, **(servers or {})}
        with enforced(endpoint):
            findings = [json.loads(line) for line in run([program, *arguments, "--json"], acting).splitlines()]
        # The local Pub/Sub knows no permissions. What only commands need is a note.
        results = {f"{finding['check']} {finding['name']}": finding["result"] for finding in findings if finding["result"] != "note"}
        results = {what: result for what, result in results.items() if not what.startswith((*UNKNOWN, *unneeded))}
        same(f"the results of the Job {job}", results, dict.fromkeys(results, "ok"))


def newest_of_each_key(server):
    """Returns the expected records: pulls every message from a separate subscription and decodes it here."""
    newest, seen = {}, 0
    while seen < MESSAGES + 1:
        url = f"http://{server}/v1/{PROJECT}/subscriptions/truth:pull"
        received = call(url, "POST", {"maxMessages": MESSAGES}).get("receivedMessages", [])
        if not received:
            raise CheckFailed(f"only {seen} of {MESSAGES + 1} messages were published")
        for message in received:
            scan = json.loads(base64.b64decode(message["message"]["data"]))
            key = f"{scan['ip']}#{scan['port']}#{scan['service']}"
            newest[key] = max(newest.get(key, 0), scan["timestamp"])
        seen += len(received)
    return newest


def smoke_test():
    """Returns the message of the smoke test in infra/README.md, and the key with which it reads the record."""
    readme = (REPOSITORY / "infra/README.md").read_text()
    message = re.search(r"gcloud pubsub topics publish scan-topic --message '(.*)'$", readme, re.M)[1]
    key = re.search(r"aws dynamodb get-item .*--key '(.*)'$", readme, re.M)[1]
    # The shell ends its quotes for this command.
    return message.replace("'\"$(date +%s)\"'", str(int(time.time()))), json.loads(key)


def publish(server):
    """Publishes scans and the message of the smoke test. Returns the expected records."""
    body = base64.b64encode(smoke_test()[0].encode()).decode()
    truth = {"topic": f"{PROJECT}/topics/scan-topic", "ackDeadlineSeconds": 600}
    call(f"http://{server}/v1/{PROJECT}/subscriptions/truth", "PUT", truth)
    mix = ["--rate", "0", "--seed", "1", "--keys", "100", "--duplicates", "0.2", "--late", "0.2"]
    run([PROGRAM, "scanner", "--count", str(MESSAGES), *mix], {"PUBSUB_EMULATOR_HOST": server})
    call(f"http://{server}/v1/{PROJECT}/topics/scan-topic:publish", "POST", {"messages": [{"data": body}]})
    return newest_of_each_key(server)


def rows(dynamodb, table):
    pages = dynamodb.get_paginator("scan").paginate(TableName=table)
    return {item["pk"]["S"]: item for page in pages for item in page["Items"]}


def consume(server, endpoint, outputs, credentials, enough):
    """Runs the consumer with Terraform's outputs until `enough` returns true. The consumer must exit with 0."""
    settings = {
        **outputs,
        "PUBSUB_EMULATOR_HOST": server,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
        "MINI_SCAN_DEAD_LETTER_TOPIC": "scan-dead-letter",
        "MINI_SCAN_TTL": f"{TTL}s",
    }
    with running([PROGRAM, "consumer"], settings) as (process, log):
        try:
            until("every key in the table", lambda: process.poll() is not None or enough())
        except CheckFailed as failure:
            raise CheckFailed(f"{failure}; the consumer logged:\n{log.read_text()}") from failure
        code, output = stop(process), log.read_text()
    if code != 0 or "Failed: 0" not in output:
        raise CheckFailed(f"the consumer exited with {code}:\n{output}")


def denied(what, role, request):
    try:
        request()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        print(f"  denied: the role {role} may not {what}")
    else:
        raise CheckFailed(f"the role {role} may {what}")


def consumer_runs(server, endpoint, outputs):
    table, newest = outputs["MINI_SCAN_TABLE"], publish(server)
    admin = client("dynamodb", endpoint, administrator(endpoint))
    credentials = assume(endpoint, outputs["AWS_ROLE_ARN"])
    restricted = client("dynamodb", endpoint, credentials)

    def stored():
        return {key: int(item["timestamp"]["N"]) for key, item in rows(admin, table).items()}

    with permissions_enforced(endpoint):
        consume(server, endpoint, outputs, credentials, lambda: stored() == newest)
        denied("scan the table", "consumer", lambda: restricted.scan(TableName=table))
        denied("delete the table", "consumer", lambda: restricted.delete_table(TableName=table))
        records = rows(admin, table)
        expires_by = created_table(admin, table)["expiry"][1]
    same(f"the newest scan of each of {len(newest)} keys", stored(), newest)
    same("the key of the smoke test", smoke_test()[1]["pk"]["S"] in records, True)
    expiries = {key: int(item[expires_by]["N"]) for key, item in records.items()}
    same("the expiry of the records", expiries, {key: timestamp + TTL for key, timestamp in newest.items()})


# --- the reader of changes on the tables that Terraform made ---


def acting_as(endpoint, settings, role):
    """Returns the settings with credentials of the role."""
    credentials = assume(endpoint, role)
    return {
        **settings,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def parts_are_permitted(endpoint, settings, operator):
    """Runs `check changes` and `check webhooks`, which ask for each permission, with the roles that need them."""
    roles = {"changes": settings["AWS_ROLE_ARN"], "webhooks_operator": operator}
    acting = {role: acting_as(endpoint, settings, arn) for role, arn in roles.items()}
    restricted = client("dynamodb", endpoint, assume(endpoint, roles["changes"]))
    with permissions_enforced(endpoint):
        for part, role in (("changes", "changes"), ("webhooks", "changes"), ("webhooks", "webhooks_operator")):
            findings = [json.loads(line) for line in run([PROGRAM, "check", part, "--json"], acting[role]).splitlines()]
            results = {f"{finding['check']} {finding['name']}": finding["result"] for finding in findings}
            # The reader lacks what only commands need, which is a note.
            results = {what: result for what, result in results.items() if (role, result) != ("changes", "note")}
            same(f"the results of `check {part}` with the role {role}", results, dict.fromkeys(results, "ok"))
        for table in (settings["MINI_SCAN_HISTORY_TABLE"], settings["MINI_SCAN_WEBHOOKS_TABLE"]):
            denied(f"delete {table}", "changes", lambda table=table: restricted.delete_table(TableName=table))


def history_is_kept(endpoint, settings, roles):
    """Runs `changes` with its role until it has recorded each record and told a receiver, and the backfill with its own role."""
    admin = client("dynamodb", endpoint, administrator(endpoint, "historian"))
    keys = sorted(rows(admin, settings["MINI_SCAN_TABLE"]))

    def recorded():
        pages = admin.get_paginator("scan").paginate(TableName=settings["MINI_SCAN_HISTORY_TABLE"])
        items = [item for page in pages for item in page["Items"] if item["entry"]["S"].startswith("summary#")]
        return sorted(f"{item['ip']['S']}#{int(port)}#{service}" for item in items for _, port, service in [item["entry"]["S"].split("#", 2)])

    def told(log):
        events = [webhook["data"] for webhook in received(log)]
        return sorted({f"{event['ip']}#{event['port']}#{event['service']}" for event in events})

    reader = acting_as(endpoint, settings, settings["AWS_ROLE_ARN"])
    backfiller = acting_as(endpoint, settings, roles["changes_backfill"])
    operator = acting_as(endpoint, settings, roles["webhooks_operator"])
    with permissions_enforced(endpoint):
        with subscribed(reader, operator) as (reader, receiver), running([PROGRAM, "changes"], reader) as (process, log):
            try:
                until("every service in the history", lambda: process.poll() is not None or recorded() == keys)
                until("a webhook of every service", lambda: process.poll() is not None or told(receiver) == keys)
            except CheckFailed as failure:
                raise CheckFailed(f"{failure}; the reader logged:\n{log.read_text()}") from failure
            code, output = stop(process), log.read_text()
            if code != 0:
                raise CheckFailed(f"the reader of changes exited with {code}:\n{output}")
            same(f"the webhooks of {len(keys)} services", told(receiver), keys)
        run([PROGRAM, "changes", "backfill"], backfiller)
        same(f"the services of the history, of {len(keys)} records", recorded(), keys)


def dead_changes_are_purged(endpoint, manifests):
    """Lists a dead letter of the history and deletes it, with the runbook's function and the settings of the Job that it starts."""
    job = next(job for job in overlays.of_kind(manifests, "CronJob") if job["metadata"]["name"] == "changes-dead")
    listing, settings = path.container(manifests, "CronJob", "changes-dead")
    words = ["purge", "--all", "--yes"]
    purge = commands.arguments("changes_dead", ["purge-1", *words], {"kind": "Job", "spec": job["spec"]["jobTemplate"]["spec"]})
    same("the command of the function", purge, [*listing[:-1], *words])
    admin = client("dynamodb", endpoint, administrator(endpoint, "purger"))
    texts = {"ip": "dead", "entry": "shard#1#000", "reason": "unreadable", "stream": "stream", "images": "{}"}
    item = {name: {"S": text} for name, text in texts.items()} | {"chunks": {"N": "1"}, "attempts": {"N": "1"}}
    acting = acting_as(endpoint, settings, settings["AWS_ROLE_ARN"])
    with permissions_enforced(endpoint):
        admin.put_item(TableName=settings["MINI_SCAN_HISTORY_TABLE"], Item=item)
        same("the reason of the dead letter", json.loads(run([PROGRAM, *listing, "--json"], acting))["reason"], "unreadable")
        same("the end of the purge", run([PROGRAM, *purge], acting), "Purge finished. Deleted: 1, left: 0\n")
        same("the dead letters after the purge", run([PROGRAM, *listing, "--json"], acting), "")


# --- the path of infra/README.md ---


def installed(outputs):
    """Returns the manifests that kustomize makes of Terraform's outputs. Module gcp needs Google Cloud, so its outputs are written here."""
    google = {
        "MINI_SCAN_PROJECT": PROJECT.removeprefix("projects/"),
        "MINI_SCAN_SUBSCRIPTION": "scan-sub",
        "MINI_SCAN_DEAD_LETTER_TOPIC": "scan-dead-letter",
    }
    changes, roles = outputs["changes_environment"], outputs["roles"]
    without_leases = {name: value for name, value in changes.items() if name != "MINI_SCAN_LEASE_TABLE"}
    settings = {
        "consumer": outputs["consumer_environment"] | google,
        "changes": changes,
        "api": without_leases | {"AWS_ROLE_ARN": roles["api"]},
        "backfill": changes | {"AWS_ROLE_ARN": roles["changes_backfill"]},
        "webhooks-operator": without_leases | {"AWS_ROLE_ARN": roles["webhooks_operator"]},
    }
    return path.rendered("mini-scan-with-webhooks", settings)


def settings_of(manifests, deployment):
    """Returns the settings of a Deployment, with a free port instead of its own."""
    return path.container(manifests, "Deployment", deployment)[1] | {"MINI_SCAN_HTTP_LISTEN": "127.0.0.1:0"}


def main():
    with pubsub() as server:
        print("Pub/Sub: the files of module gcp, and the resources of `mini-scan setup`")
        subscriptions_agree(server)
        stand_in_agrees()
        if sys.argv[1:] == ["pubsub"]:
            return
        print("DynamoDB: module aws on a local AWS, and the table of `mini-scan setup`")
        with aws() as endpoint, applied(endpoint) as (outputs, terraform):
            settings, changes = outputs["consumer_environment"], outputs["changes_environment"]
            tables_agree(endpoint, changes)
            if overlays.can_render():
                print("The manifests with these outputs, and the checks of their Jobs. The programs below have the settings of the Deployments")
                manifests = installed(outputs)
                jobs_succeed(endpoint, PROGRAM, manifests, {"PUBSUB_EMULATOR_HOST": server})
                settings, changes = settings_of(manifests, "mini-scan"), settings_of(manifests, "mini-scan-changes")
            print("The reader of changes on these tables, with the permissions of its role")
            parts_are_permitted(endpoint, changes, outputs["roles"]["webhooks_operator"])
            print("The consumer on that table, with the permissions of its role")
            consumer_runs(server, endpoint, settings)
            print("The history of that table and its webhooks, with the permissions of their roles")
            history_is_kept(endpoint, changes, outputs["roles"])
            if overlays.can_render() and shutil.which("jq"):
                print("The dead letters of that history, with the permissions of the Job's role")
                dead_changes_are_purged(endpoint, manifests)
            print("The index of `mini-scan setup table --service-index` on that table")
            service_index_is_kept(endpoint, settings["MINI_SCAN_TABLE"], terraform)
            print("A backup of that table, which Terraform takes over")
            restored_table_is_taken_over(endpoint, settings["MINI_SCAN_TABLE"], terraform)


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        sys.exit(f"FAILED: {failure}")
