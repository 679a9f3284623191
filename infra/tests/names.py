"""Checks that the names in alerts, dashboards, autoscaler, manifests, runbook and code agree. It only reads files.

`names.py rules FILE` writes the queries of the dashboards and the autoscaler as rules, so that promtool can check them.
"""

import ipaddress
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

import sources

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "infra/prometheus"))
import rules as descriptions  # noqa: E402

ADAPTER = "infra/prometheus/adapter.yml"


@dataclass(frozen=True)
class Program:
    """A program that is monitored on its own, and where its names are."""

    name: str
    namespace: str
    runbook: str
    # The pages with tables of metrics.
    pages: tuple[str, ...]
    terraform: tuple[str, ...]
    # The names of its dashboards.
    dashboards: tuple[str, ...]
    # The default names of its resources.
    names: dict[str, str]

    @property
    def alerts(self):
        return f"infra/prometheus/{self.name}.yml"

    @property
    def alert_tests(self):
        return self.alerts.replace(".yml", "_test.yml")


NAMES = yaml.safe_load((REPOSITORY / "infra/names.yml").read_text())
PROGRAMS = tuple(Program(name, **program) for name, program in NAMES["programs"].items())
MINI_SCAN, EVENT_PIPELINE, WIDGET_REGISTRY = PROGRAMS

# Labels that a scrape adds to every metric, and Google to its own metrics.
SCRAPED = {"job", "instance", "cluster", "location", "project_id", "namespace", "pod", "le", "monitored_resource"}
# Those that only one kind of Prometheus adds: Google's, or the Prometheus operator's. A rule may group by them, and not select.
ONE_KIND = {"cluster", "location", "project_id", "top_level_controller_name", "service", "endpoint", "container"}
# Abbreviations for several labels in the tables of docs/metrics.md.
GROUPS = {
    "*subscription*": {"messaging_system", "gcp_project_id", "messaging_destination_name"},
    "*table*": {"db_system_name", "db_operation_name", "db_collection_name"},
}
# Labels whose values are all listed in the pages.
LISTED = {"outcome", "cause", "by", "direction"}
SELECTOR = re.compile(r'([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"')

mismatches = []


def expect(holds, what):
    if not holds:
        mismatches.append(what)


def read(path):
    return (REPOSITORY / path).read_text()


# --- metrics ---


def metrics(program):
    """Returns the metrics of a program, each with its type and labels."""
    # Prometheus adds it to each instance.
    return {"up": ("gauge", set(SCRAPED))} | rows("".join(map(read, program.pages)))


def rows(text):
    """Returns the metrics in the tables of a page."""
    found = {}
    for line in text.splitlines():
        row = re.match(r"\| `([\w:]+)` \| (counter|gauge|histogram) \|([^|]*)\|", line)
        if row:
            name, kind, labels = row.groups()
            known = set(re.findall(r"`(\w+)`", labels)) | SCRAPED
            for group, members in GROUPS.items():
                known |= members if group in labels else set()
            # The commands have some of the metrics in common, with different labels.
            _, others = found.get(name, (kind, set()))
            found[name] = (kind, known | others)
    return found


def rules(program):
    return [rule for group in yaml.safe_load(read(program.alerts))["groups"] for rule in group["rules"]]


def alerts(program):
    return {rule["alert"]: rule for rule in rules(program) if "alert" in rule}


def recorded(program):
    """Returns the series that rules record, each with its labels."""
    found = {}
    for rule in rules(program):
        if "record" in rule:
            labels = set(re.findall(r"\w+", " ".join(re.findall(r"\bby\s*\(([^)]*)\)", rule["expr"]))))
            _, known = found.setdefault(rule["record"], ("gauge", set(SCRAPED)))
            known |= labels | rule["labels"].keys()
    return found


def elsewhere():
    """Returns the metrics of Google, Kubernetes, KEDA and Prometheus, which all programs' rules and dashboards may use."""
    return rows(read("docs/metrics.md").split("\n## From elsewhere\n")[1].split("\n## ")[0] + read("docs/dashboards.md"))


def queries(program):
    """Yields every query: where it is, and its text with the dashboard's variables filled in."""
    for rule in rules(program):
        yield f"alert {rule['alert']}" if "alert" in rule else f"record {rule['record']}", rule["expr"]
    for query in source_queries(program):
        yield "a source of metrics", query
    for name in program.dashboards:
        dashboard = json.loads(read(f"infra/grafana/{name}.json"))
        for where, query in queries_of_dashboard(dashboard):
            yield f"{name}, {where}", with_values(dashboard, query)
    for trigger in scaled_object()["spec"]["triggers"] if program is MINI_SCAN else []:
        if trigger["type"] == "prometheus":
            yield "the autoscaler", trigger["metadata"]["query"]
    for rule in adapted() if program is WIDGET_REGISTRY else []:
        series = re.match(r"\w+", rule["seriesQuery"])[0]
        yield "the adapter's series", rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "namespace, pod").replace("<<.LabelMatchers>>", 'namespace=~".*"')
        yield "the adapter's query", query.replace("<<.Series>>", series)


def queries_of_dashboard(dashboard):
    """Yields the queries of panels and annotations as Grafana has them: where each is, and its text."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']!r}", annotation["expr"]


def with_values(dashboard, query):
    """Fills in the variables: everything that can be selected, and the prices as they are."""
    query = query.replace("$__rate_interval", "5m")
    for variable in dashboard["templating"]["list"]:
        is_typed = variable["type"] == "textbox"
        query = re.sub(rf"\${variable['name']}\b", variable["query"] if is_typed else ".*", query)
    return query


def source_queries(program):
    return list(descriptions.source_queries(program.name, descriptions.parsed(["sources"])))


def adapted():
    return yaml.safe_load(read(ADAPTER))["rules"]["custom"]


def scaled_object():
    documents = yaml.safe_load_all(read("infra/kubernetes/components/gke/scaledobject.yaml"))
    return next(document for document in documents if document["kind"] == "ScaledObject")


def used(query):
    """Yields the metrics of a query, each with the text of its selector."""
    # The arguments of functions; values of labels follow an operator.
    text = re.sub(r'(?<=[\s,(])"[^"]*"', " ", query)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^]]*\]|\boffset\s+\w+", " ", text)
    pattern = r'([A-Za-z_:][\w:]*)\s*(\{(?:[^"}]|"[^"]*")*\})?'
    for match in re.finditer(pattern, text):
        name, selector = match.group(1), match.group(2) or ""
        called = text[match.end() :].lstrip().startswith("(") and not selector
        if not called and name not in {"and", "or", "unless", "bool", "offset"}:
            yield name, selector


def check_queries(program):
    known = metrics(program) | elsewhere() | recorded(program)
    pages = " and ".join(program.pages)
    documented = read(program.pages[0])
    expect(len(known) > 10, f"{pages}: too few metrics were found in the tables")
    for where, query in queries(program):
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query))))
        allowed = set(SCRAPED)
        for name, selector in used(query):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            histogram = base != name and known.get(base, ("",))[0] == "histogram"
            if not histogram:
                base = name
            if base not in known or (known[base][0] == "histogram") != histogram:
                expect(False, f"{where}: {pages} have no {name}")
                continue
            allowed |= known[base][1]
            for label, _, value in SELECTOR.findall(selector):
                expect(label in known[base][1], f"{where}: {name} has no label {label}")
                for choice in value.split("|") if label in LISTED else []:
                    expect(f"`{choice}`" in documented, f"{where}: {program.pages[0]} has no {label} {choice}")
        # Functions give labels other names.
        allowed |= set(re.findall(r'"(\w+)", "\$1"', query))
        expect(grouped <= allowed, f"{where}: no label {', '.join(sorted(grouped - allowed))}")


def write_rules(path):
    every = [query for program in PROGRAMS for _, query in queries(program)]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(every)]
    Path(path).write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))


# --- alerts and runbook ---


def tests_of(program):
    """Returns promtool's tests of a program's alerts: its own, and those of the common rules."""
    return [yaml.safe_load(read(program.alert_tests)), *descriptions.common_tests(program.name)]


def check_rules(program):
    """Checks that every result names its installation, so that a healthy one cannot hide a broken one."""
    for where, expression in ((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules(program)):
        joined = re.findall(r"\bon\s*\(\s*\)|\b(?:ignoring|scalar|absent|absent_over_time)\s*(?=\()", expression)
        expect(not joined, f"{where}: {', '.join(joined)} joins installations")
        alone = re.findall(r"\b(?:sum|min|max|avg|count|group|quantile|stddev|topk|bottomk)\s*\((?!\s*\))", expression)
        expect(not alone, f"{where}: {', '.join(alone)} without by merges installations")
        for labels in re.findall(r"\bby\s*\(([^)]*)\)", expression):
            named = set(re.findall(r"\w+", labels))
            expect(named & {"namespace", "project_id", "gcp_project_id"}, f"{where}: by ({labels}) merges installations")
        for bound in re.findall(r'\ble="(\d+)"', expression):
            expect(False, f'{where}: Prometheus 3 has no bound le="{bound}"')
        for metric, selector in used(expression):
            other = {label for label, _, _ in SELECTOR.findall(selector)} & ONE_KIND
            expect(not other or ":" in metric, f"{where}: not every Prometheus has the label {', '.join(other)} of {metric}")
        for selector in re.findall(r"\{[^}]*\}", expression):
            jobs = dict((label, value) for label, _, value in SELECTOR.findall(selector)).get("job", program.name)
            matched = [other.name for other in PROGRAMS if re.fullmatch(jobs, other.name)]
            expect(matched == [program.name], f"{where}: job {jobs} selects {matched}")


def check_sources(program):
    """An installation must be able to ask for each source of metrics, because alerts without their metrics stay silent."""
    asked = " ".join(source_queries(program))
    wanted = {name for rule in rules(program) for name, _ in used(rule["expr"])} & elsewhere().keys() | {"up"}
    for source in {re.match(r"pubsub|kube_(?:deployment|horizontalpodautoscaler)|keda|up$|kube_pod", name)[0] for name in wanted}:
        # Kubernetes reports that a container waits only while it does, beside the other metrics of Kubernetes.
        expect(source == "kube_pod" or source in asked, f"{program.name}: no query for the source {source}")


def check_commands():
    """Commands of the README must be for every program, because a forgotten `--program` means mini-scan."""
    readme = read("infra/README.md")
    for line in re.findall(r"^.*rules\.py (?:--kind|sources).*$", readme, re.M):
        expect("--program" in line, f"infra/README.md: for which program is this: {line}")
    loops = re.findall(r"^for program in (.*?);", readme, re.M)
    every = " ".join(program.name for program in PROGRAMS)
    expect(len(loops) == 3 and set(loops) == {every}, f"infra/README.md: a loop over programs is not over {every}")


def check_components(program):
    """Compares the names of Deployments and autoscalers in common rules with the manifests."""
    found = {kind: set() for kind in ("Deployment", "ScaledObject", "HorizontalPodAutoscaler")}
    suffixes = {""}
    for file in sources.files("kubernetes", "*.yaml"):
        documents = [document for document in yaml.safe_load_all(file.read_text()) if isinstance(document, dict)]
        suffixes |= {document.get("nameSuffix", "") for document in documents}
        for document in documents:
            if document.get("kind") in found and "name" in document.get("metadata", {}):
                found[document["kind"]].add(document["metadata"]["name"])
    deployments = {name + suffix for name in found["Deployment"] for suffix in suffixes}
    autoscalers = found["HorizontalPodAutoscaler"] | {f"keda-hpa-{name}" for name in found["ScaledObject"]}
    known = {"deployment": deployments, "scaled": found["ScaledObject"], "autoscaler": autoscalers}
    for group in descriptions.described(program.name)["groups"]:
        for field, value in group.get("component", {}).items():
            expect(value in known.get(field, {value}), f"{program.name}.rules.yml: no manifest has the {field} {value}")


def check_names(program):
    """Compares the default names with those of the program and of Terraform."""
    flags = "".join(file.read_text() for file in (REPOSITORY / "src/cli").rglob("*.rs"))
    modules = [REPOSITORY / "infra/terraform" / module for module in program.terraform]
    terraform = "".join(file.read_text() for module in modules for file in module.glob("*.tf"))
    for field, name in program.names.items():
        expect(f'default_value = "{name}"' in flags, f"infra/names.yml: no flag has the default {name} ({field})")
        expect(re.search(rf'default\s*=\s*"{re.escape(name)}"', terraform), f"infra/names.yml: no variable of Terraform has the default {name} ({field})")
    manifests = "".join(file.read_text() for file in sources.files("kubernetes", "*.yaml"))
    expect(f"namespace: {program.namespace}\n" in manifests, f"infra/names.yml: no manifest has the namespace {program.namespace}")


def check_policies():
    """Compares the alerts of Cloud Monitoring with those of Prometheus."""
    text, ours = read("infra/terraform/gcp/alerts.tf"), {name.lower(): rule for name, rule in alerts(MINI_SCAN).items()}
    for runbook, threshold, duration in re.findall(r'runbook\s*= "(\w+)"\n(?:(?! runbook).)*?threshold\s*= (\d+)\s+duration\s*= "(\d+)s"', text, re.S):
        rule = ours[runbook]
        expect(rule["expr"].endswith(f"> {threshold}"), f"alerts.tf: the threshold {threshold} is not that of {rule['alert']}")
        expect(rule["for"] == f"{int(duration) // 60}m", f"alerts.tf: the duration {duration} s is not that of {rule['alert']}")
    query = re.search(r'runbook\s*= "miniscandeadletters".*?<<-PROMQL\n(.*?)\n\s*PROMQL\n\s*duration = "600s"', text, re.S)[1]
    selected = 'monitored_resource="pubsub_subscription",subscription_id="scan-dead-letter"'
    query = query.replace("${local.waiting_dead_letters}", f"pubsub_googleapis_com:subscription_num_undelivered_messages{{{selected}}}")
    rule = ours["miniscandeadletters"]
    expect(rule["for"] == "10m" and " ".join(query.split()) in " ".join(rule["expr"].split()), "alerts.tf: the query of dead letters is not that of the rule")


def check_runbook(program):
    runbook, rules = program.runbook, alerts(program)
    cases = [(case["alertname"], bool(case["exp_alerts"])) for file in tests_of(program) for test in file["tests"] for case in test["alert_rule_test"]]
    text = read(runbook)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    after_title = text.split("\n## Alerts\n", 1)[1]
    sections = set(re.findall(r"^### (.*)$", after_title.split("\n## ", 1)[0], re.M))
    for name, rule in rules.items():
        expect(name in sections, f"{runbook} has no section for alert {name}")
        expect((name, True) in cases, f"{program.alert_tests}: no case in which {name} fires")
        expect((name, False) in cases, f"{program.alert_tests}: no case in which {name} stays silent")
        expect(rule["annotations"]["runbook"] == f"{runbook}#{name.lower()}", f"{name}: the link to its runbook section does not match its name")
        expect(rule["labels"]["severity"] in {"page", "ticket"}, f"{name}: severity must be page or ticket")
    terraform = "".join(file.read_text() for folder in program.terraform for file in sources.files(f"terraform/{folder}", "*.tf"))
    linked = set(re.findall(r'runbook\s*=\s*"([\w-]+)"', terraform))
    linked |= set(re.findall(rf"{re.escape(runbook)}#([\w-]+)", terraform))
    for anchor in linked | set(re.findall(r"\]\(#([\w-]+)\)", text)):
        expect(anchor in anchors, f"{runbook} has no section #{anchor}")
    for section in sections - rules.keys():
        expect(section in linked, f"{runbook}: no alert and no alarm links to {section}")


# --- manifests, compose file and program ---


def check_settings():
    flags = "".join(file.read_text() for file in (REPOSITORY / "src/cli").rglob("*.rs"))
    known = set(re.findall(r'"(MINI_SCAN_\w+)"', flags)) | set(re.findall(r'env = "(\w+)"', flags))
    files = [*sources.files(), REPOSITORY / "docker-compose.yml"]
    for file in files:
        if file.suffix in {".tf", ".hcl", ".yml", ".yaml", ".env"}:
            for name in set(re.findall(r"\bMINI_SCAN_\w+", file.read_text())):
                expect(name in known, f"{file.relative_to(REPOSITORY)}: the program has no setting {name}")
    grace = int(re.search(r'MINI_SCAN_SHUTDOWN_GRACE", default_value = "(\d+)s"', flags)[1])
    pods = [pod_of(part) for part in ("base", "api", "changes")]
    # Kubernetes counts the time of a hook before SIGTERM, too.
    kubernetes = [pod_of("program")["terminationGracePeriodSeconds"] - sleep_before_stop(pod) for pod in pods]
    services = yaml.safe_load(read("docker-compose.yml"))["services"]
    compose = [int(services[name]["stop_grace_period"].rstrip("s")) for name in ("consumer", "api", "changes")]
    for where, seconds in (("Kubernetes", min(kubernetes)), ("compose", min(compose))):
        expect(seconds > grace + 4, f"{where} kills the program after {seconds} s, but its shutdown may take {grace + 4} s")


def check_settings_of_events():
    flags = "".join(file.read_text() for file in (REPOSITORY / "crates/events/src/cli").rglob("*.rs"))
    known = set(re.findall(r'"(EVENT_PIPELINE_\w+|DIRECT_DISPATCH)"', flags)) | {"EVENT_PIPELINE_REVISION"}
    files = [*sources.files(), REPOSITORY / "docker-compose.events.yml", REPOSITORY / "Dockerfile"]
    for file in files:
        if file.suffix in {".tf", ".hcl", ".yml", ".yaml", ".env", ""}:
            for name in set(re.findall(r"\b(?:EVENT_PIPELINE_\w+|DIRECT_DISPATCH)", file.read_text())):
                expect(name in known, f"{file.relative_to(REPOSITORY)}: event-pipeline has no setting {name}")
    graces = [int(seconds) for seconds in re.findall(r'EVENT_PIPELINE_SHUTDOWN_GRACE", default_value = "(\d+)s"', flags)]
    expect(len(graces) == 2, "the processor and the deliverer must have --shutdown-grace")
    pod = pod_of("program")
    services = yaml.safe_load(read("docker-compose.events.yml"))["services"]
    compose = [int(services[name]["stop_grace_period"].rstrip("s")) for name in ("processor", "deliver")]
    for where, seconds in (("Kubernetes", pod["terminationGracePeriodSeconds"]), ("compose", min(compose))):
        longest = max(graces, default=0) + 4
        expect(seconds > longest, f"{where} kills event-pipeline after {seconds} s, but its shutdown may take {longest} s")
    settings = dict(line.split("=", 1) for line in read("infra/tests/settings/event-pipeline/processor.env").split())
    scaler = yaml.safe_load(read("infra/kubernetes/events/scaledobject.yaml").split("\n---\n")[0])["spec"]["triggers"][0]["metadata"]
    expect(scaler["queueURLFromEnv"] in settings, f"the processor has no setting {scaler['queueURLFromEnv']}")


def check_settings_of_widgets():
    flags = "".join(file.read_text() for file in (REPOSITORY / "crates/widgets/src/cli").rglob("*.rs"))
    known = set(re.findall(r'"(WIDGET_REGISTRY_\w+)"', flags)) | {"WIDGET_REGISTRY_REVISION"}
    files = [*sources.files(), REPOSITORY / "docker-compose.widgets.yml", REPOSITORY / "Dockerfile"]
    for file in files:
        if file.suffix in {".tf", ".hcl", ".yml", ".yaml", ".env", ""}:
            for name in set(re.findall(r"\bWIDGET_REGISTRY_\w+", file.read_text())):
                expect(name in known, f"{file.relative_to(REPOSITORY)}: widget-registry has no setting {name}")
    grace = int(re.search(r'WIDGET_REGISTRY_SHUTDOWN_GRACE", default_value = "(\d+)s"', flags)[1])
    pod, own = pod_of("program"), pod_of("widgets")
    services = yaml.safe_load(read("docker-compose.widgets.yml"))["services"]
    compose = int(services["widgets"]["stop_grace_period"].rstrip("s"))
    for where, seconds in (("Kubernetes", pod["terminationGracePeriodSeconds"] - sleep_before_stop(own)), ("compose", compose)):
        expect(seconds > grace + 4, f"{where} kills widget-registry after {seconds} s, but its shutdown may take {grace + 4} s")
    metrics_of_pods = [metric["pods"]["metric"]["name"] for metric in hpa_of_widgets()["spec"]["metrics"] if metric["type"] == "Pods"]
    known = [rule["name"]["as"] for rule in adapted()]
    expect(metrics_of_pods == known, f"the autoscaler uses {metrics_of_pods}, and the adapter has {known}")


def hpa_of_widgets():
    return yaml.safe_load(read("infra/kubernetes/widgets/horizontalpodautoscaler.yaml"))


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


def pod_of(part):
    """Returns the part of a pod that a folder of manifests adds. `program` has what all of them have in common."""
    return yaml.safe_load(read(f"infra/kubernetes/{part}/deployment.yaml"))["spec"]["template"]["spec"]


def sleep_before_stop(pod):
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    return hook.get("sleep", {}).get("seconds", 0)


def main():
    if sys.argv[1:2] == ["rules"]:
        return write_rules(sys.argv[2])
    for program in PROGRAMS:
        check_queries(program)
        check_rules(program)
        check_sources(program)
        check_components(program)
        check_names(program)
        check_runbook(program)
    check_commands()
    check_policies()
    check_settings()
    check_settings_of_events()
    check_settings_of_widgets()
    check_webhooks()
    if mismatches:
        sys.exit("\n".join(mismatches))
    print(f"names: {sum(len(list(queries(program))) for program in PROGRAMS)} queries, every alert and its section, and every setting agree")


if __name__ == "__main__":
    main()
