"""Checks that the names in alerts, dashboard, autoscaler, manifests, runbook and code agree. It only reads files.

`names.py rules FILE` writes the queries of the dashboard and the autoscaler as rules, so that promtool can check them.
"""

import ipaddress
import json
import re
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
RUNBOOK = REPOSITORY / "docs/runbook.md"
ALERTS = REPOSITORY / "infra/prometheus/alerts.yml"
OVERLAYS = REPOSITORY / "infra/kubernetes/overlays"

# Labels that a scrape adds to every metric, and Google to its own metrics.
SCRAPED = {"job", "instance", "pod", "le", "monitored_resource"}
# Abbreviations for several labels in the tables of docs/metrics.md.
GROUPS = {
    "*subscription*": {"messaging_system", "messaging_destination_name"},
    "*table*": {"db_system_name", "db_operation_name", "db_collection_name"},
}
# Labels whose values are all listed in docs/metrics.md.
LISTED = {"outcome", "cause", "by", "direction"}
SELECTOR = re.compile(r'([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"')

mismatches = []


def expect(holds, what):
    if not holds:
        mismatches.append(what)


def read(path):
    return (REPOSITORY / path).read_text()


# --- metrics ---


def metrics():
    """Returns the metrics of the consumer, the API and the reader of changes, each with its type and labels."""
    found = {}
    for line in (read("docs/metrics.md") + read("docs/api.md") + read("docs/history.md")).splitlines():
        row = re.match(r"\| `([\w:]+)` \| (counter|gauge|histogram) \|([^|]*)\|", line)
        if row:
            name, kind, labels = row.groups()
            known = set(re.findall(r"`(\w+)`", labels)) | SCRAPED
            for group, members in GROUPS.items():
                known |= members if group in labels else set()
            # The programs have some of the metrics in common, with different labels.
            _, others = found.get(name, (kind, set()))
            found[name] = (kind, known | others)
    return found


def queries():
    """Yields every query: where it is, and its text with the dashboard's variables filled in."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in json.loads(read("infra/grafana/mini-scan.json"))["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$subscription", ".*")
            yield f"panel {panel['title']!r}", query.replace("$write_unit_price", "1")
    for trigger in scaled_object()["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            yield "the autoscaler", trigger["metadata"]["query"]


def scaled_object():
    documents = yaml.safe_load_all((OVERLAYS / "gke/scaledobject.yaml").read_text())
    return next(document for document in documents if document["kind"] == "ScaledObject")


def used(query):
    """Yields the metrics of a query, each with the text of its selector."""
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^]]*\]|\boffset\s+\w+", " ", query)
    pattern = r'([A-Za-z_:][\w:]*)\s*(\{(?:[^"}]|"[^"]*")*\})?'
    for match in re.finditer(pattern, text):
        name, selector = match.group(1), match.group(2) or ""
        called = text[match.end() :].lstrip().startswith("(") and not selector
        if not called and name not in {"and", "or", "unless", "bool", "offset"}:
            yield name, selector


def check_queries():
    known = metrics()
    documented = read("docs/metrics.md")
    expect(len(known) > 30, "docs/metrics.md: too few metrics were found in its tables")
    for where, query in queries():
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\bby\s*\(([^)]*)\)", query))))
        allowed = set(SCRAPED)
        for name, selector in used(query):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            histogram = base != name and known.get(base, ("",))[0] == "histogram"
            if not histogram:
                base = name
            if base not in known or (known[base][0] == "histogram") != histogram:
                expect(False, f"{where}: docs/metrics.md, docs/api.md and docs/history.md have no {name}")
                continue
            allowed |= known[base][1]
            for label, _, value in SELECTOR.findall(selector):
                expect(label in known[base][1], f"{where}: {name} has no label {label}")
                for choice in value.split("|") if label in LISTED else []:
                    expect(f"`{choice}`" in documented, f"{where}: docs/metrics.md has no {label} {choice}")
        expect(grouped <= allowed, f"{where}: no label {', '.join(sorted(grouped - allowed))}")


def write_rules(path):
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    Path(path).write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))


# --- alerts and runbook ---


def check_runbook():
    alerts = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(read("infra/prometheus/alerts_test.yml"))["tests"]
        for case in test["alert_rule_test"]
    ]
    text = RUNBOOK.read_text()
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    after_title = text.split("\n## Alerts\n", 1)[1]
    sections = set(re.findall(r"^### (.*)$", after_title.split("\n## ", 1)[0], re.M))
    for name, rule in alerts.items():
        expect(name in sections, f"docs/runbook.md has no section for alert {name}")
        expect((name, True) in cases, f"infra/prometheus/alerts_test.yml never expects {name}")
        expect((name, False) in cases, f"infra/prometheus/alerts_test.yml never expects {name} to stay silent")
        expect(rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}", f"{name}: the link to its runbook section does not match its name")
        expect(rule["labels"]["severity"] in {"page", "ticket"}, f"{name}: severity must be page or ticket")
    terraform = "".join(file.read_text() for file in (REPOSITORY / "infra/terraform").rglob("*.tf"))
    linked = set(re.findall(r'runbook\s*=\s*"([\w-]+)"', terraform))
    linked |= set(re.findall(r"docs/runbook\.md#([\w-]+)", terraform))
    for anchor in linked | set(re.findall(r"\]\(#([\w-]+)\)", text)):
        expect(anchor in anchors, f"docs/runbook.md has no section #{anchor}")
    for section in sections - alerts.keys():
        expect(section in linked, f"docs/runbook.md: no alert and no alarm links to {section}")


# --- manifests, compose file and program ---


def check_settings():
    flags = "".join(file.read_text() for file in (REPOSITORY / "src/cli").rglob("*.rs"))
    known = set(re.findall(r'"(MINI_SCAN_\w+)"', flags)) | set(re.findall(r'env = "(\w+)"', flags))
    files = [*(REPOSITORY / "infra").rglob("*"), REPOSITORY / "docker-compose.yml"]
    for file in files:
        if file.suffix in {".tf", ".hcl", ".yml", ".yaml", ".env"} and ".terraform" not in file.parts:
            for name in set(re.findall(r"\bMINI_SCAN_\w+", file.read_text())):
                expect(name in known, f"{file.relative_to(REPOSITORY)}: the program has no setting {name}")
    grace = int(re.search(r'MINI_SCAN_SHUTDOWN_GRACE", default_value = "(\d+)s"', flags)[1])
    pods = [
        yaml.safe_load(read(f"infra/kubernetes/{part}/deployment.yaml"))["spec"]["template"]["spec"] for part in ("base", "api", "changes")
    ]
    # Kubernetes counts the time of a hook before SIGTERM, too.
    kubernetes = [pod["terminationGracePeriodSeconds"] - sleep_before_stop(pod) for pod in pods]
    services = yaml.safe_load(read("docker-compose.yml"))["services"]
    compose = [int(services[name]["stop_grace_period"].rstrip("s")) for name in ("consumer", "api", "changes")]
    for where, seconds in (("Kubernetes", min(kubernetes)), ("compose", min(compose))):
        expect(seconds > grace + 4, f"{where} kills the program after {seconds} s, but its shutdown may take {grace + 4} s")
    for overlay in [*sorted(OVERLAYS.glob("*/consumer.env")), *(REPOSITORY / "infra/kubernetes").glob("*/*.env")]:
        settings = dict(line.split("=", 1) for line in overlay.read_text().split())
        expect({"AWS_ROLE_ARN", "AWS_REGION"} <= settings.keys(), f"{overlay}: role or region is missing")
    settings = dict(line.split("=", 1) for line in (OVERLAYS / "gke/consumer.env").read_text().split())
    query = scaled_object()["spec"]["triggers"][0]["metadata"]["query"]
    wanted = f'subscription_id="{settings["MINI_SCAN_SUBSCRIPTION"]}"'
    expect(wanted in query, "the autoscaler and the consumer use different subscriptions")


def check_webhooks():
    """Compares the network policy of webhooks with what the programs refuse by default, and the key's path with its mount."""
    egress = "infra/kubernetes/egress/egress.yaml"
    rule = yaml.safe_load(read(egress))[0]["value"][1]
    ports = re.search(r"ports: vec!\[([\d, ]+)\]", read("crates/webhooks/src/target.rs"))[1]
    same = {port["port"] for port in rule["ports"]} == set(map(int, ports.split(",")))
    expect(same, f"{egress}: the programs allow the ports {ports} by default")
    code = read("crates/webhooks/src/address.rs")
    blocks = {block["ipBlock"]["cidr"]: block["ipBlock"]["except"] for block in rule["to"]}
    for cidr, lists in (("0.0.0.0/0", ("INTERNAL_V4", "METADATA_V4")), ("2000::/3", ("INTERNAL_V6",))):
        refused = [network for name in lists for network in networks(code, name)]
        ours = [ipaddress.ip_network(network) for network in blocks[cidr]]
        same = list(ipaddress.collapse_addresses(ours)) == list(ipaddress.collapse_addresses(refused))
        expect(len(refused) > 3 and same, f"{egress}: the exceptions of {cidr} are not what the programs refuse")
    for folder in ("webhooks/common", "events/delivers"):
        *_, key, mount, volume = [change["value"] for change in yaml.safe_load(read(f"infra/kubernetes/{folder}/key.yaml"))]
        file = f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
        expect(key["value"] == file, f"{folder}/key.yaml: the program reads {key['value']}, and the key is mounted at {file}")


def networks(code, name):
    """Returns the networks of a list in the guard of the crate webhooks."""
    listed = re.search(rf"const {name}: \[\w+; \d+\] = \[(.*?)\n\];", code, re.S)[1]
    for kind, address, prefix in re.findall(r"v([46])\(\[([^]]*)\], (\d+)\)", listed):
        parts = [part.strip().removeprefix("0x") for part in address.split(",")]
        # The list has the first four of the eight groups of an IPv6 address.
        text = ".".join(parts) if kind == "4" else ":".join(parts) + "::"
        yield ipaddress.ip_network(f"{text}/{prefix}")


def sleep_before_stop(pod):
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    return hook.get("sleep", {}).get("seconds", 0)


def main():
    if sys.argv[1:2] == ["rules"]:
        return write_rules(sys.argv[2])
    check_queries()
    check_runbook()
    check_settings()
    check_webhooks()
    if mismatches:
        sys.exit("\n".join(mismatches))
    print(f"names: {len(list(queries()))} queries, every alert and its section, and every setting agree")


if __name__ == "__main__":
    main()
