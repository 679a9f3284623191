"""Checks the dashboards: what their queries select, their layout, their links, and the panels that runbooks name. It only reads files.

`dashboards.py types` compares them with the types of Grafana, for which it needs the package grafana-foundation-sdk.
"""

import enum
import json
import re
import sys
import typing
from itertools import pairwise

import promql
import sources
import yaml
from names import PROGRAMS, REPOSITORY, queries_of_dashboard, read

INSTANCES = {("cluster", "=~", "$cluster"), ("namespace", "=~", "$namespace"), ("pod", "=~", "$pod")}
OBJECTS = {("cluster", "=~", "$cluster"), ("namespace", "=~", "$namespace")}
GKE = {("cluster_name", "=~", "$cluster"), ("namespace_name", "=~", "$namespace"), ("pod_name", "=~", "$pod")}
PUBSUB = {("project_id", "=~", "$project")}
SUBSCRIBED = ("messaging_destination_name", "=~", "$subscription")
# What a query must select, by the beginning of the metric's name.
SELECTED = {
    "pubsub_googleapis_com:": PUBSUB,
    "kubernetes_io:": GKE,
    "kube_deployment_": OBJECTS,
    "kube_horizontalpodautoscaler_": OBJECTS,
    "": INSTANCES,
}
# The label that names the objects of one program, by the beginning of the metric's name.
OWNED = {
    "pubsub_googleapis_com:": "subscription_id",
    "kubernetes_io:": "container_name",
    "kube_deployment_": "deployment",
    "kube_horizontalpodautoscaler_": "horizontalpodautoscaler",
    "kube_": "container",
    "container_": "container",
}
# Several programs have them.
SHARED = re.compile(r"process_|http_server_|db_client_|mini_scan_ready$|mini_scan_build_info$|up$")
# A bound of a bucket is the question itself, so both sides of a division may have different ones.
BOUND = "le"

mismatches = []


def expect(holds, what):
    if not holds:
        mismatches.append(what)


def by_beginning(table, metric):
    return next((value for beginning, value in table.items() if metric.startswith(beginning)), None)


def dashboards_of(program):
    """Yields the name, the description and the dashboard of each kind of instance."""
    for name in program.dashboards:
        yield name, yaml.safe_load(read(f"infra/grafana/{name}.yml")), json.loads(read(f"infra/grafana/{name}.json"))


def every_dashboard():
    for program in PROGRAMS:
        yield from dashboards_of(program)


# --- what queries select ---


def check_selectors(where, query, instances):
    """Expects that each selector has the variables, and only finds what belongs to the program."""
    marker = instances.split("{")[0]
    is_subscribed = "$subscribed" in instances
    known = promql.selectors(query)
    unselected = set(re.findall(r"(?<![$\w])[a-z]+_[a-z_:]+\b(?!\s*[({])", promql.blank(query))) - {selector.metric for selector in known}
    expect(known and not unselected, f"{where}: a selector is missing {sorted(unselected)}")
    for selector in known:
        wanted = by_beginning(SELECTED, selector.metric)
        missing = sorted(f'{label}{operator}"{value}"' for label, operator, value in wanted - selector.matchers)
        expect(not missing, f"{where}: {selector.metric} is not selected by {', '.join(missing)}")
        label = by_beginning(OWNED, selector.metric)
        if label is not None:
            expect(any(each[0] == label for each in selector.matchers), f"{where}: {selector.metric} has no condition on {label}")
        elif SHARED.match(selector.metric) or (is_subscribed and SUBSCRIBED not in selector.matchers):
            is_joined = marker in promql.joined(query, selector)
            expect(is_joined, f"{where}: {selector.metric} also has instances of other programs or subscriptions, so join it with {marker}")


def check_divisions(where, query):
    """Expects that both sides select by the same variables, and that a denominator has no other condition than its numerator."""
    for numerator, denominator in promql.divisions(query):
        over, under = ({each for selector in side for each in selector.variables} for side in (numerator, denominator))
        expect(over == under, f"{where}: a numerator selects by {sorted(over)}, its denominator by {sorted(under)}")
        for selector in denominator:
            same = [each for each in numerator if family(each.metric) == family(selector.metric)]
            extra = {each for each in selector.constants if each[0] != BOUND}
            fits = not same or any(extra <= each.constants for each in same)
            expect(fits, f"{where}: the denominator {selector.metric} has conditions that its numerator does not have")


def family(metric):
    return re.sub(r"_(bucket|sum|count)$", "", metric)


# Queries with one mistake each, and what the checks must answer.
S = 'cluster=~"$cluster",namespace=~"$namespace",pod=~"$pod"'
READ = f'{S},messaging_destination_name=~"$subscription"'
OWN = f"and on (cluster, namespace, job, instance) mini_scan_outcomes_total{{{READ}}}"
MISTAKES = {
    "sum(rate(mini_scan_outcomes_total[5m]))": "a selector is missing",
    'mini_scan_outcomes_total{cluster=~"$cluster",pod=~"$pod",messaging_destination_name=~"$subscription"}': 'not selected by namespace=~"$namespace"',
    f"sum(mini_scan_streams{{{S}}})": "join it",
    f"sum(rate(process_cpu_seconds_total{{{S}}}[5m])) {OWN}": "join it",
    f"sum(mini_scan_streams{{{S}}} {OWN}) / sum(mini_scan_unsettled{{{S}}})": "join it",
    f"sum(mini_scan_streams{{{S}}} {OWN}) / sum(up{{job=~\".*\"}})": "its denominator by []",
    f'sum(mini_scan_outcomes_total{{{READ}}}) / sum(mini_scan_outcomes_total{{{READ},outcome="stored"}})': "conditions that its numerator",
    'pubsub_googleapis_com:subscription_num_undelivered_messages{subscription_id="a"}': 'not selected by project_id=~"$project"',
    'kube_deployment_spec_replicas{cluster=~"$cluster",namespace=~"$namespace"}': "no condition on deployment",
    'container_memory_working_set_bytes{namespace=~"$namespace",pod=~"$pod",container="a"}': 'not selected by cluster=~"$cluster"',
}


def check_checks():
    """Expects that each mistake is found, and that its opposite is not."""
    right = f"sum(rate(process_cpu_seconds_total{{{S}}}[5m]) {OWN}) / max(mini_scan_streams{{{S}}} / mini_scan_unsettled{{{S}}} {OWN})"
    for query, answer in {**MISTAKES, right: None}.items():
        before = len(mismatches)
        check_selectors("it", query, "mini_scan_outcomes_total{$selector,$subscribed}")
        check_divisions("it", query)
        found, mismatches[before:] = mismatches[before:], []
        expect(any(answer in each for each in found) if answer else not found, f"the checks answer {query} with {found}")


# --- panels, links and names ---


def check_panels(name, dashboard):
    panels = dashboard["panels"]
    expect(len({panel["id"] for panel in panels}) == len(panels), f"{name}: two panels have one id")
    graphs = [panel["title"] for panel in panels if panel["type"] == "timeseries"]
    expect(len(set(graphs)) == len(graphs), f"{name}: two graphs have one title")
    taken = set()
    for panel in panels:
        where, grid = f"{name}, panel {panel['title']!r}", panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        expect(not cells & taken and grid["x"] + grid["w"] <= 24, f"{where}: it covers another panel, or leaves the 24 columns")
        taken |= cells
        expect(panel["title"], f"{where}: a title is missing")
        if panel["type"] == "row":
            continue
        expect(panel["description"].endswith("."), f"{where}: the description is no sentence")
        expect(panel["fieldConfig"]["defaults"]["unit"], f"{where}: a unit is missing")
        steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        expect(all(low < high for low, high in pairwise(steps[1:])), f"{where}: two thresholds are equal")
        legends = [target["legendFormat"] for target in panel["targets"]]
        expect(all(legends) and len(set(legends)) == len(legends), f"{where}: a legend is missing, or two are equal")


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", read(page), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(name, dashboard):
    links = [*dashboard["links"], *(link for panel in dashboard["panels"] for link in panel.get("links", []))]
    for url in (link["url"] for link in links if link["url"]):
        page, _, section = url.removeprefix("${runbook:raw}/").partition("#")
        exists = url.startswith("${runbook:raw}/") and (REPOSITORY / page).is_file() and (not section or section in anchors(page))
        expect(exists, f"{name}: the link {url} leads nowhere")


def check_runbook(program):
    """Expects that each panel that the runbook names exists: its title, or the legend of a line."""
    known = set()
    for name in program.dashboards:
        for panel in json.loads(read(f"infra/grafana/{name}.json"))["panels"]:
            known |= {panel["title"], *(target["legendFormat"] for target in panel.get("targets", []))}
    for names in re.findall(r'[Pp]anels? ("[^"]*"(?:(?:,| and|, and) "[^"]*")*)', " ".join(read(program.runbook).split())):
        for title in re.findall(r'"([^"]*)"', names):
            expect(title in known, f"{program.runbook}: no panel is called {title!r}")


def manifests():
    files = sources.files("kubernetes", "*.yaml")
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if isinstance(document, dict)]


def check_interval(name, dashboard, found):
    """Expects that queries know how often the manifests let Prometheus scrape."""
    intervals = {endpoint["interval"] for document in found for endpoint in document.get("spec", {}).get("endpoints", [])}
    own = {target["interval"] for panel in dashboard["panels"] for target in panel.get("targets", [])}
    expect(own == intervals, f"{name}: its queries have the intervals {own}, the monitors of the manifests {intervals}")


def check_objects(name, description, found):
    """Expects that the manifests have the Deployments and the containers whose metrics a dashboard shows."""
    deployed = [document for document in found if document.get("kind") == "Deployment"]
    suffixes = {"", *(document["nameSuffix"] for document in found if "nameSuffix" in document)}
    known = {document["metadata"]["name"] + suffix for document in deployed for suffix in suffixes}
    containers = {container["name"] for document in deployed for container in document["spec"]["template"]["spec"]["containers"]}
    patches = "".join(patch.get("patch", "") for document in found for patch in document.get("patches", []))
    containers |= set(re.findall(r"path: /spec/template/spec/containers/0/name, value: (\w+)", patches))
    expect(set(description["deployments"]) <= known, f"{name}: the manifests have no Deployment for {description['deployments']}")
    expect(set(description["containers"]) <= containers, f"{name}: the manifests have no container for {description['containers']}")


# --- Grafana's types ---


def check_types():
    """Expects that each dashboard stays the same when Grafana's types read and write it, so that they know every field."""
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    for name, _, dashboard in every_dashboard():
        typed = Dashboard.from_json(dashboard)
        for path in lost(dashboard, json.loads(encoder.JSONEncoder().encode(typed))):
            expect(False, f"{name}: Grafana's types do not know {path}")
        for what in unknown_choices(typed):
            expect(False, f"{name}: {what}")


# The types of annotations and variables leave out what only data sources of Prometheus read.
UNTYPED = {"step", "titleFormat", "textFormat", "useValueForTime", "definition"}


def unknown_choices(value):
    """Yields the fields whose type lists its values, if their value is none of them. Reading does not check it."""
    if isinstance(value, list | dict):
        for each in value if isinstance(value, list) else value.values():
            yield from unknown_choices(each)
    elif type(value).__module__.startswith("grafana_foundation_sdk"):
        hints = typing.get_type_hints(type(value))
        for field, found in vars(value).items():
            for hint in typing.get_args(hints.get(field)) or [hints.get(field)]:
                if isinstance(hint, enum.EnumMeta) and found is not None and found not in list(hint):
                    yield f"{type(value).__name__} has no {field} {found!r}"
            yield from unknown_choices(found)


def lost(given, kept, path=""):
    """Yields the fields that are not kept, or have another value."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{path}/{key}")
            elif key not in UNTYPED:
                yield f"{path}/{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif given != kept:
        yield path


def main():
    if sys.argv[1:] == ["types"]:
        check_types()
    else:
        check_checks()
        checked, found = 0, manifests()
        for name, description, dashboard in every_dashboard():
            check_panels(name, dashboard)
            check_links(name, dashboard)
            check_objects(name, description, found)
            check_interval(name, dashboard, found)
            for panel, query in queries_of_dashboard(dashboard):
                check_selectors(f"{name}, {panel}", query, description["instances"])
                check_divisions(f"{name}, {panel}", query)
                checked += 1
        for program in PROGRAMS:
            check_runbook(program)
        print(f"dashboards: {checked} queries select what the variables choose")
    if mismatches:
        sys.exit("\n".join(mismatches))


if __name__ == "__main__":
    main()
