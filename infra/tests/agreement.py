"""Whether what Terraform makes, what `mini-scan setup` makes and what the consumer expects agree.

Nothing is compared by its text where it can be made: module aws is applied to a local AWS (moto), `setup` makes its own
table and subscriptions beside it, and the consumer runs on the table that Terraform made, with the rights that
Terraform gave it. Of module gcp, which needs Google itself, the values are read from its files.

Needs the program (MINI_SCAN, else target/debug/mini-scan), terraform, and TF_PLUGIN_DIR where its provider is kept
locally. `agreement.py pubsub` leaves AWS, and with it terraform, out.
"""

import base64
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import boto3
import botocore.exceptions
import hcl2

from servers import PROGRAM, REPOSITORY, SetupError, aws, call, post, pubsub, run, running, stop, until

PROJECT = "projects/test-project"
MESSAGES = 500
TTL = 90 * 24 * 60 * 60
LOCAL = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}


def same(what, ours, theirs):
    if ours != theirs:
        raise SetupError(f"{what} differs:\n  {json.dumps(ours, sort_keys=True)}\n  {json.dumps(theirs, sort_keys=True)}")
    print(f"  agrees: {what}")


# --- Pub/Sub ---


class Module:
    """The resources of a Terraform module, with the defaults of its variables filled in."""

    def __init__(self, name):
        self.resources, self.defaults = {}, {}
        for file in sorted((REPOSITORY / "infra/terraform" / name).glob("*.tf")):
            content = hcl2.loads(file.read_text())
            for block in content.get("variable", []):
                for variable, body in block.items():
                    self.defaults[variable] = body.get("default", [None])[0]
            for block in content.get("resource", []):
                for kind, named in block.items():
                    for resource, body in named.items():
                        self.resources[kind, resource] = body

    def get(self, kind, resource, *path):
        """The value at a path of blocks and an argument."""
        value = self.resources[kind, resource]
        for step in path:
            value = value[step][0]
        if isinstance(value, str) and value.startswith("${var."):
            value = self.defaults[value[len("${var.") : -1]]
        return value

    def subscription(self, resource):
        def get(*path):
            return self.get("google_pubsub_subscription", resource, *path)

        is_spaced = "retry_policy" in self.resources["google_pubsub_subscription", resource]
        return {
            "name": get("name"),
            "ack deadline": get("ack_deadline_seconds"),
            "retention": get("message_retention_duration"),
            "expiry": get("expiration_policy", "ttl") or "never",
            "least delay": is_spaced and get("retry_policy", "minimum_backoff"),
            "greatest delay": is_spaced and get("retry_policy", "maximum_backoff"),
            "ordered": get("enable_message_ordering"),
            "exactly once": get("enable_exactly_once_delivery"),
        }


def made_subscription(server, name):
    """A subscription as the server has it, in the same words."""
    there = call(f"http://{server}/v1/{PROJECT}/subscriptions/{name}")
    spacing = there.get("retryPolicy")
    return {
        "name": there["name"].rsplit("/", 1)[1],
        "ack deadline": there["ackDeadlineSeconds"],
        "retention": there["messageRetentionDuration"],
        "expiry": there["expirationPolicy"].get("ttl", "never"),
        "least delay": spacing is not None and spacing["minimumBackoff"],
        "greatest delay": spacing is not None and spacing["maximumBackoff"],
        "ordered": there.get("enableMessageOrdering", False),
        "exactly once": there.get("enableExactlyOnceDelivery", False),
    }


def subscriptions_agree(server):
    """Both are made with their default names, so these are compared as well."""
    module = Module("gcp")
    run([PROGRAM, "setup", "pubsub"], {"PUBSUB_EMULATOR_HOST": server})
    topics = call(f"http://{server}/v1/{PROJECT}/topics")["topics"]
    names = {topic["name"].rsplit("/", 1)[1] for topic in topics}
    ours = {module.get("google_pubsub_topic", topic, "name") for topic in ("scans", "dead_letters")}
    same("the topics", sorted(ours), sorted(names))
    for resource in ("scans", "dead_letters"):
        ours = module.subscription(resource)
        same(f"subscription {ours['name']}", ours, made_subscription(server, ours["name"]))


# --- DynamoDB ---


@contextlib.contextmanager
def applied(endpoint):
    """Module aws, applied; its outputs. It must have nothing to change after that."""
    with tempfile.TemporaryDirectory() as scratch:
        modules = Path(scratch) / "infra"
        for part in ("terraform/aws", "tests/local-aws"):
            left_there = shutil.ignore_patterns(".terraform*", "*.tfstate*")
            shutil.copytree(REPOSITORY / "infra" / part, modules / part, ignore=left_there)

        def terraform(*arguments):
            settings = {"TF_VAR_endpoint": endpoint, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
            return run(["terraform", *arguments, "-no-color"], settings, modules / "tests/local-aws")

        plugins = os.environ.get("TF_PLUGIN_DIR")
        terraform("init", "-input=false", *([f"-plugin-dir={plugins}"] if plugins else []))
        terraform("apply", "-auto-approve", "-input=false")
        # Exits with 2, which is a failure here, when there is something to change.
        terraform("plan", "-detailed-exitcode", "-input=false")
        print("  applied: module aws, and a second plan changes nothing")
        yield {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}


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


def made_table(dynamodb, name):
    table = dynamodb.describe_table(TableName=name)["Table"]
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return {
        "key": table["KeySchema"],
        "attributes": table["AttributeDefinitions"],
        "billing": table["BillingModeSummary"]["BillingMode"],
        "stream": table["StreamSpecification"],
        "expiry": [expiry["TimeToLiveStatus"], expiry["AttributeName"]],
    }


def tables_agree(endpoint, table):
    """That of `setup` has its default name, by which it is looked for under that of the module."""
    run([PROGRAM, "setup", "table"], {**LOCAL, "AWS_ENDPOINT_URL_DYNAMODB": endpoint})
    dynamodb = client("dynamodb", endpoint)
    same("the table", made_table(dynamodb, table), made_table(dynamodb, Module("aws").defaults["table_name"]))


# --- the consumer on the table that Terraform made ---


def administrator(endpoint):
    """Keys that may do everything."""
    iam = client("iam", endpoint)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.create_user(UserName="administrator")
    iam.put_user_policy(UserName="administrator", PolicyName="all", PolicyDocument=json.dumps(everything))
    keys = iam.create_access_key(UserName="administrator")["AccessKey"]
    return {name: keys[name] for name in ("AccessKeyId", "SecretAccessKey")}


def assume(endpoint, role):
    """Credentials of the role, taken as a pod takes them.

    The local AWS judges the action of a request and not its resource, for which it wants `*`; so the role gets its own
    policy once more, on `*`. That the resources are the right ones is asserted by the module's own tests.
    """
    iam = client("iam", endpoint)
    name = role.rsplit("/", 1)[1]
    policy = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"][0]["PolicyArn"]
    version = iam.get_policy(PolicyArn=policy)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=policy, VersionId=version)["PolicyVersion"]["Document"]
    for statement in document["Statement"]:
        statement["Resource"] = "*"
    iam.put_role_policy(RoleName=name, PolicyName="anywhere", PolicyDocument=json.dumps(document))
    token = {"RoleArn": role, "RoleSessionName": "consumer", "WebIdentityToken": "not looked at"}
    return client("sts", endpoint).assume_role_with_web_identity(**token)["Credentials"]


@contextlib.contextmanager
def rights_are_asked_for(endpoint):
    """As on the real AWS: until the end of this, every request needs the right to be made."""
    post(f"{endpoint}/moto-api/reset-auth", b"0")
    try:
        yield
    finally:
        post(f"{endpoint}/moto-api/reset-auth", b"inf")


def newest_of_each_key(server):
    """The truth, apart from the consumer: every message, from a subscription of its own, decoded here."""
    newest, seen = {}, 0
    while seen < MESSAGES:
        url = f"http://{server}/v1/{PROJECT}/subscriptions/truth:pull"
        received = call(url, "POST", {"maxMessages": MESSAGES}).get("receivedMessages", [])
        if not received:
            raise SetupError(f"only {seen} of {MESSAGES} messages were published")
        for message in received:
            scan = json.loads(base64.b64decode(message["message"]["data"]))
            key = f"{scan['ip']}#{scan['port']}#{scan['service']}"
            newest[key] = max(newest.get(key, 0), scan["timestamp"])
        seen += len(received)
    return newest


def publish(server):
    truth = {"topic": f"{PROJECT}/topics/scan-topic", "ackDeadlineSeconds": 600}
    call(f"http://{server}/v1/{PROJECT}/subscriptions/truth", "PUT", truth)
    mix = ["--rate", "0", "--seed", "1", "--keys", "100", "--duplicates", "0.2", "--late", "0.2"]
    run([PROGRAM, "scanner", "--count", str(MESSAGES), *mix], {"PUBSUB_EMULATOR_HOST": server})
    return newest_of_each_key(server)


def rows(dynamodb, table):
    pages = dynamodb.get_paginator("scan").paginate(TableName=table)
    return {item["pk"]["S"]: item for page in pages for item in page["Items"]}


def consume(server, endpoint, made, credentials, enough):
    """Runs the consumer with what Terraform put out, until `enough`; it must end well."""
    settings = {
        **made,
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
        except SetupError as wrong:
            raise SetupError(f"{wrong}; the consumer said:\n{log.read_text()}") from wrong
        code, said = stop(process), log.read_text()
    if code != 0 or "Failed: 0" not in said:
        raise SetupError(f"the consumer ended with {code}:\n{said}")


def refused(what, request):
    try:
        request()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        print(f"  refused: the consumer's role may not {what}")
    else:
        raise SetupError(f"the consumer's role may {what}")


def consumer_runs(server, endpoint, made):
    table, newest = made["MINI_SCAN_TABLE"], publish(server)
    administers = client("dynamodb", endpoint, administrator(endpoint))
    credentials = assume(endpoint, made["AWS_ROLE_ARN"])
    consumes = client("dynamodb", endpoint, credentials)

    def stored():
        return {key: int(item["timestamp"]["N"]) for key, item in rows(administers, table).items()}

    with rights_are_asked_for(endpoint):
        consume(server, endpoint, made, credentials, lambda: stored() == newest)
        refused("scan the table", lambda: consumes.scan(TableName=table))
        refused("delete the table", lambda: consumes.delete_table(TableName=table))
        there = rows(administers, table)
        expires_by = made_table(administers, table)["expiry"][1]
    same(f"the newest scan of each of {len(newest)} keys", stored(), newest)
    expiries = {key: int(item[expires_by]["N"]) for key, item in there.items()}
    same("when records expire", expiries, {key: timestamp + TTL for key, timestamp in newest.items()})


def main():
    with pubsub() as server:
        print("Pub/Sub: module gcp as it is written, beside what `mini-scan setup` makes")
        subscriptions_agree(server)
        if sys.argv[1:] == ["pubsub"]:
            return
        print("DynamoDB: module aws applied to a local AWS, beside what `mini-scan setup` makes")
        with aws() as endpoint, applied(endpoint) as outputs:
            made = outputs["consumer_environment"]
            tables_agree(endpoint, made["MINI_SCAN_TABLE"])
            print("The consumer on that table, with the rights of its role")
            consumer_runs(server, endpoint, made)


if __name__ == "__main__":
    try:
        main()
    except SetupError as wrong:
        sys.exit(f"WRONG: {wrong}")
