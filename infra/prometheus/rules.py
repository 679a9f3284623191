"""Writes the alert rules of each program, from its description and from the rules that all programs have in common.

`rules.py` writes the rule files next to the descriptions. `rules.py check` exits with 1 if one differs. `rules.py --kind KIND` prints
the manifest of a program for an installation, e.g. with other names of its subscriptions:

    rules.py --kind PrometheusRule --label release=kube-prometheus-stack --subscription orders --dead-letter orders-dead

`rules.py sources` prints a query for each source of metrics that the rules of a program need.

A description has groups of rules. A group with a `component` gets each common rule of common.rules.yml whose fields the component
has, and a group with `slos` gets their recording rules and alerts on their error budgets. `$by` stands for the labels of an installation.
"""

import argparse
import re
import sys
from pathlib import Path
from string import Template

import yaml

import cases

FOLDER = Path(__file__).resolve().parent
NAMES = yaml.safe_load((FOLDER.parent / "names.yml").read_text())
PROGRAMS = tuple(NAMES["programs"])
BY = "cluster, namespace"
# The fields of Google's rules and of the Prometheus operator's are the same. Google's scope them to one cluster, or to a metrics scope.
KINDS = {
    "ClusterRules": "monitoring.googleapis.com/v1",
    "GlobalRules": "monitoring.googleapis.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}


# A field of a component, and what must have a result if that component runs.
SOURCES = (
    ("deployment", 'count(up{job=~"(.*/)?$deployment"} == 1)'),
    ("deployment", 'count(kube_deployment_status_replicas_available{deployment="$deployment"})'),
    ("autoscaler", 'count(kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler="$autoscaler"})'),
    ("scaled", 'count(keda_scaler_detail_errors_total{scaledObject="$scaled"})'),
)


class Text(yaml.SafeDumper):
    """Writes texts of several lines as they are."""

    def ignore_aliases(self, data):
        return True


def text_of(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Text.add_representer(str, text_of)


def dump(content):
    return yaml.dump(content, Dumper=Text, sort_keys=False, width=1_000_000, allow_unicode=True)


def common():
    return yaml.safe_load((FOLDER / "common.rules.yml").read_text())


def fill(value, fields):
    """Fills fields into a template. `$labels`, `$value` and `$1` belong to Prometheus and stay."""
    if isinstance(value, dict):
        return {key: fill(item, fields) for key, item in value.items()}
    return Template(value).safe_substitute(fields).rstrip() if isinstance(value, str) else value


def one_of(names):
    """Returns a matcher of a label with one of these names."""
    return f'="{names[0]}"' if len(names) == 1 else '=~"' + "|".join(re.sub(r"[.+]", r"[\g<0>]", name) for name in names) + '"'


def selected(program, options):
    """Returns the selectors of a program's subscriptions: those of Google's metrics, and `consumed` of the consumers' own."""
    names = NAMES["programs"][program]["names"]
    project = f',project_id="{options.project}"' if options.project else ""
    given = {"subscription": options.subscription, "dead_letter": options.dead_letter}
    found = {field: one_of(ids or [names[field]]) for field, ids in given.items() if field in names}
    google = {field: f'monitored_resource="pubsub_subscription",subscription_id{ids}{project}' for field, ids in found.items()}
    return google | ({"consumed": f"messaging_destination_name{found['subscription']}"} if "subscription" in found else {})


def common_rules(component, fields):
    """Yields the rules that a component has in common with those of other programs."""
    for rule in common()["rules"]:
        needs, without = rule.pop("needs"), rule.pop("without", [])
        if set(needs) <= component.keys() and component.keys().isdisjoint(without):
            defaults = rule.pop("defaults", {})
            yield fill(rule, fields | defaults | component)


def events(slo):
    """Returns the rates of all events of a service level objective, and of bad ones."""

    def rate(series):
        return f"sum by ($by) (rate({series}[5m]))"

    if "within" in slo:
        # Events that took longer than `at_most` do not count.
        every = f'{slo["latency"]}_bucket{{le="{slo["at_most"]}"}}' if "at_most" in slo else f"{slo['latency']}_count"
        return rate(every), f'{rate(every)}\n- {rate(f"""{slo["latency"]}_bucket{{le="{slo["within"]}"}}""")}'
    every = f"{slo['requests']}{{{slo['selector']}}}"
    errors = f"{slo['requests']}{{{slo['selector']},{slo['errors']}}}"
    # A status has no series before its first response.
    return rate(every), f"{rate(errors)}\nor {rate(every)} * 0"


def slo_rules(slo, fields):
    """Yields the recording rules of a service level objective and the alerts on its error budget."""
    budget = 1 - slo["objective"]
    labels = ", ".join([BY, *slo.get("by", [])])
    texts = {"name": slo["name"], "fast": slo["fast"], "events": slo["events"], "failed": slo["failed"], "budget": f"{100 * budget:g}"}
    burns = {f"burn{name}": f"{factor * budget:g}" for name, factor in (("14", 14.4), ("6", 6), ("1", 1))}
    every, bad = (fill(rate, {"by": labels}) for rate in events(slo))
    for rule in common()["slo"]:
        yield fill(rule, fields | texts | burns | {"all": every, "bad": bad})


def exact(expression):
    """Selects buckets by number. Prometheus 3 writes the bound 30 as 30.0, and earlier versions as 30."""
    return re.sub(r'\ble="(\d+)"', r'le=~"\1([.]0)?"', expression)


def rules_of(group, fields):
    """Yields the rules of a group: those of the description, then common ones."""
    for slo in group.get("slos", []):
        yield from slo_rules(slo, fields)
    for rule in group.get("rules", []):
        yield {**rule, "expr": fill(rule["expr"], fields)}
    yield from common_rules(group.get("component", {}), fields)


def finished(rule, program):
    """Completes a rule: an alert links to its section of the runbook."""
    rule = {**rule, "expr": exact(rule["expr"].rstrip())}
    if "alert" in rule:
        annotations = {"summary": rule.pop("summary"), "runbook": f"{NAMES['programs'][program]['runbook']}#{rule['alert'].lower()}"}
        order = ("alert", "expr", "for")
        rule = {key: rule[key] for key in order if key in rule} | {"labels": {"severity": rule["severity"]}, "annotations": annotations}
    return rule


def described(program):
    return yaml.safe_load((FOLDER / f"{program}.rules.yml").read_text())


def groups(program, options):
    """Yields the groups of a program: the source of metrics that each one needs beside the program's, and the group."""
    fields = {"by": BY, **selected(program, options)}
    for group in described(program)["groups"]:
        rules = [finished(rule, program) for rule in rules_of(group, fields)]
        yield group.get("needs"), {"name": f"{program}-{group['name']}", "rules": rules}


def rule_file(program, options):
    head = f"# Written by rules.py from {program}.rules.yml and common.rules.yml.\n"
    return head + dump({"groups": [group for _, group in groups(program, options)]})


def common_tests(program):
    """Returns promtool's tests of the rules that a program has in common with others, as the files that it reads."""
    found = yaml.safe_load((FOLDER / f"{program}.yml").read_text())
    alerts = [rule["alert"] for group in found["groups"] for rule in group["rules"] if "alert" in rule]
    return list(cases.of(program, described(program), NAMES["programs"][program]["runbook"], alerts))


def manifest(program, options):
    """Returns a manifest. Google's own metrics belong to no cluster, so only GlobalRules see them."""
    wanted = {"ClusterRules": {None}, "GlobalRules": {"google"}, "PrometheusRule": {None, "google"}}[options.kind]
    found = [group for needs, group in groups(program, options) if needs in wanted]
    if not found:
        sys.exit(f"{program} has no rules of this kind")
    for rule in (rule for group in found for rule in group["rules"] if "annotations" in rule and options.links):
        rule["annotations"]["runbook_url"] = options.links + rule["annotations"].pop("runbook")
    metadata = {"name": program}
    if options.kind == "PrometheusRule":
        metadata["namespace"] = options.namespace or NAMES["programs"][program]["namespace"]
    if options.label:
        metadata["labels"] = dict(label.split("=", 1) for label in options.label)
    return dump({"apiVersion": KINDS[options.kind], "kind": options.kind, "metadata": metadata, "spec": {"groups": found}})


def source_queries(program, options):
    """Yields a query for each source of metrics that the rules of a program need. Without that source, it has no result."""
    for group in described(program)["groups"]:
        if group.get("needs") == "google":
            yield f"count(pubsub_googleapis_com:subscription_num_undelivered_messages{{{selected(program, options)['subscription']}}})"
        component = group.get("component", {})
        for field, query in SOURCES:
            if field in component:
                yield fill(query, component)


def parsed(arguments=None):
    parser = argparse.ArgumentParser(description="Writes the alert rules of each program, or prints manifests of them.")
    parser.add_argument("action", nargs="?", choices=["write", "check", "sources"], default="write")
    parser.add_argument("--kind", choices=KINDS, help="print manifests of this kind instead")
    parser.add_argument("--program", choices=PROGRAMS, default=PROGRAMS[0])
    parser.add_argument("--subscription", action="append", help="ID of a subscription; may be repeated")
    parser.add_argument("--dead-letter", action="append", help="ID of a dead-letter subscription; may be repeated")
    parser.add_argument("--project", help="Google Cloud project of the subscriptions, if a metrics scope has several")
    parser.add_argument("--namespace", help="namespace of a PrometheusRule")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="label of the manifest; may be repeated")
    parser.add_argument("--links", default=NAMES["links"], metavar="URL", help="where the runbooks are published")
    options = parser.parse_args(arguments)
    if not options.kind and options.action != "sources" and (options.subscription or options.dead_letter or options.project):
        parser.error("the rule files have the default names; for others, add --kind or `sources`")
    return options


def main():
    options = parsed()
    if options.kind:
        print(manifest(options.program, options), end="")
        return
    if options.action == "sources":
        print(*source_queries(options.program, options), sep="\n")
        return
    different = []
    for program in PROGRAMS:
        file, text = FOLDER / f"{program}.yml", rule_file(program, options)
        if options.action == "write":
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            different.append(program)
    if different:
        sys.exit(f"run infra/prometheus/rules.py: the rules of {' and '.join(different)} differ from their descriptions")


if __name__ == "__main__":
    main()
