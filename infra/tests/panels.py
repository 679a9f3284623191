"""Writes a test for promtool: each query of the dashboards returns data if its metrics exist.

`panels.py FILE` writes it. The series come from the tables of the documents, with every value that a query selects. They exist as in GKE,
with the Prometheus operator, and with docker compose, which have different labels and metrics. The first two select single values of the
variables, and "All" where their label does not exist.
"""

import itertools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import dashboards
import names
import promql

MINUTES = 150
# Values that a query cannot select by name.
OTHER = "other"
BOUNDS = ("0.005", "5", "30", "60", "3600", "+Inf")
PUBSUB, GKE = r"pubsub_googleapis_com:", r"kubernetes_io:"
# The GKE metrics of limits and restarts are for clusters where kube-state-metrics does not have them.
UNPACKAGED = r"kube_pod_container_resource_limits|kube_pod_container_status_restarts_total"


@dataclass(frozen=True)
class Platform:
    name: str
    # The labels that a scrape adds there, besides job and instance.
    labels: tuple[str, ...]
    # The metrics that do not exist there.
    lacks: str

    def has(self, metric):
        return re.match(self.lacks, metric) is None


PLATFORMS = (
    Platform("GKE", ("cluster", "namespace", "pod"), UNPACKAGED),
    Platform("the Prometheus operator", ("namespace", "pod"), f"{GKE}|{PUBSUB}"),
    Platform("docker compose", (), f"{GKE}|{PUBSUB}|kube_|container_"),
)


class Series:
    """The series of one dashboard's metrics on one platform."""

    def __init__(self, platform, program, description, queries):
        self.platform, self.description = platform, description
        self.known = names.metrics(program) | names.elsewhere()
        self.pods = [f"{deployment}-5d8f6b-{suffix}" for deployment in description["deployments"] for suffix in ("abcde", "fghij")]
        self.selected = {}
        for query in queries:
            for selector in promql.selectors(query):
                for label, _, value in selector.constants:
                    choices = [choice.replace("5..", "503") for choice in value.split("|")]
                    self.selected.setdefault(label, set()).update(choice for choice in choices if re.fullmatch(r"[\w-]+", choice))

    def values(self, label, pod):
        """Returns the values of a label of one pod."""
        fixed = {
            "deployment": [pod.rsplit("-", 2)[0]],
            "horizontalpodautoscaler": [f"keda-hpa-{pod.rsplit('-', 2)[0]}"],
            "container": self.description["containers"],
            "container_name": self.description["containers"],
            "messaging_destination_name": ["scan-sub"],
            "subscription_id": ["scan-sub", "scan-dead-letter"],
            **{f"{name}_name": [self.variable(name, pod)] for name in ("cluster", "namespace", "pod")},
        }
        return fixed.get(label) or sorted({*self.selected.get(label, ()), OTHER})

    @staticmethod
    def variable(name, pod):
        return {"cluster": "production", "namespace": "scans", "pod": pod}[name]

    def scraped(self, metric, pod):
        if metric.startswith(PUBSUB):
            return {"monitored_resource": "pubsub_subscription", "project_id": "my-project"}
        if metric.startswith(GKE):
            return {"monitored_resource": "k8s_container", "project_id": "my-project"}
        own = {label: self.variable(label, pod) for label in self.platform.labels}
        return {**own, "job": "any", "instance": f"{pod}:9464"}

    def of(self, name):
        """Yields the series of a metric: its labels, and its values over time."""
        base = name if name in self.known else re.sub(r"_(bucket|sum|count)$", "", name)
        kind, labels = self.known[base]
        free = sorted(labels - names.SCRAPED)
        for pod in self.pods:
            for chosen in itertools.product(*(self.values(label, pod) for label in free)):
                own = {**self.scraped(name, pod), **dict(zip(free, chosen, strict=True))}
                for bound in BOUNDS if name.endswith("_bucket") else [None]:
                    yield own if bound is None else {**own, "le": bound}, self.samples(base, kind, own)

    @staticmethod
    def samples(base, kind, own):
        # A version that began a few minutes ago, and instances that start all the time.
        if base.endswith("_build_info") and own["version"] != OTHER:
            return f"_x{MINUTES - 3} 1x3"
        is_growing = kind != "gauge" or base == "process_start_time_seconds"
        return f"0+1x{MINUTES}" if is_growing else f"1x{MINUTES}"


def chosen(platform, series, dashboard, query):
    """Fills in the variables: single values where the platform has their labels."""
    for name in platform.labels:
        query = re.sub(rf"\${name}\b", series.variable(name, series.pods[0]), query)
    return names.with_values(dashboard, query)


def tests():
    """Yields one test for each dashboard and platform."""
    for program in names.PROGRAMS:
        for name, description, dashboard in dashboards.dashboards_of(program):
            queries = [query for _, query in names.queries_of_dashboard(dashboard)]
            metrics = sorted({selector.metric for query in queries for selector in promql.selectors(query)})
            for platform in PLATFORMS:
                series = Series(platform, program, description, queries)
                series.selected.setdefault("version", set()).add("2")
                found = [each for metric in metrics if platform.has(metric) for each in lines(metric, series)]
                yield {
                    "name": f"{name} with {platform.name}",
                    "interval": "1m",
                    "input_series": found,
                    "promql_expr_test": [expected(query, platform, series, dashboard) for query in queries],
                }


def lines(metric, series):
    for labels, values in series.of(metric):
        text = ",".join(f'{label}="{value}"' for label, value in labels.items())
        yield {"series": f"{metric}{{{text}}}", "values": values}


def expected(query, platform, series, dashboard):
    """Expects data if the platform has one of the metrics, and an empty answer otherwise."""
    exists = any(platform.has(selector.metric) for selector in promql.selectors(query))
    return {
        "expr": f"count({chosen(platform, series, dashboard, query)}) > bool 0",
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if exists else [],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({"evaluation_interval": "1m", "tests": list(tests())}))
