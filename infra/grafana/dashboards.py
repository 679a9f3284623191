"""Writes the dashboards from their descriptions.

`dashboards.py` writes each JSON file next to its description. `dashboards.py check` exits with 1 if one differs.
`dashboards.py --runbook-base URL --output FOLDER` writes those of an installation, whose links lead to its copy of the repository.

common.yml has the rows, variables and annotations of every dashboard, and explains the abbreviations of queries. Thresholds come
from the rules of infra/prometheus, and prices from docs/capacity.md.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import yaml

import capacity
import objectives
import panels
import thresholds

FOLDER = Path(__file__).resolve().parent
PROGRAMS = ("mini-scan", "mini-scan-api", "mini-scan-changes", "event-pipeline", "widget-registry")
NAMES = yaml.safe_load((FOLDER.parent / "names.yml").read_text())
# Where links to the documents begin, unless names.yml or an option has the address of a copy.
RUNBOOK_BASE = NAMES["links"] or "https://git.example.com/mini-scan/blob/main"
# Every dashboard has it, so that each one links to the others.
TAG = "mini-scan-workspace"
BUILT_IN = {"__rate_interval", "datasource"}


class UnknownName(Exception):
    """A query uses an abbreviation or a variable that does not exist."""


def read(name):
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text())


class Dashboard:
    """One description, with the parts that it has in common with the others."""

    def __init__(self, program, runbook_base):
        self.program, self.runbook_base = program, runbook_base
        self.common, self.own = read("common"), read(program)
        self.prices = self.own.get("prices", {})
        listed = {name: "|".join(self.own[name]) for name in ("deployments", "containers")}
        given = {name: self.own[name] for name in ("instances", "ready", "build_info")}
        self.abbreviations = {**self.common["abbreviations"], **listed, **given, **self.numbers()}
        self.metric = self.own["instances"].split("{")[0]
        self.is_subscribed = "$subscribed" in self.own["instances"]

    def numbers(self):
        """Returns the numbers that descriptions take from docs/capacity.md."""
        return {name: f"{capacity.value(source):g}" for name, source in self.own.get("numbers", {}).items()}

    def expanded(self, text):
        """Replaces the abbreviations of a text, also those inside of others. Variables of Grafana stay."""

        def replacement(match):
            known = self.abbreviations.get(match[1])
            return match[0] if known is None else self.expanded(known)

        return re.sub(r"\$(\w+)", replacement, text)

    def query(self, text):
        found = self.expanded(" ".join(text.split()))
        for name in re.findall(r"\$([a-z_]\w*)", found):
            if name not in BUILT_IN and name not in self.variable_names():
                raise UnknownName(f"{self.program}.yml: ${name} is neither an abbreviation nor a variable")
        return found

    def variable_names(self):
        pubsub = {"subscription", "project", "dead_letter_subscription"} if self.is_subscribed else set()
        return {"cluster", "namespace", "pod", *pubsub, *self.prices}

    def described(self, panel):
        """Returns the description of a panel with the texts that Grafana needs."""
        if "slo" in panel:
            panel = objectives.figure(panel["title"], panel["slo"])
        found = {**panel, "description": self.expanded(panel["description"])}
        if panel["title"] in self.own.get("alerts_of_common_panels", {}):
            found["alerts"] = self.own["alerts_of_common_panels"][panel["title"]]
        if "query" in panel:
            found["query"] = self.query(panel["query"])
        if "queries" in panel:
            found["queries"] = {legend: self.query(query) for legend, query in panel["queries"].items()}
        return found

    def rows(self):
        rows = [*self.own["rows"], *self.common["rows"]]
        instances = rows[-1]
        rows[-1] = {**instances, "panels": [*self.own.get("more_of_instances", []), *instances["panels"]]}
        for row in rows:
            yield {"title": row["title"], "panels": [self.described(panel) for panel in row["panels"]]}

    def selected(self, name, label, source, all_value=".*"):
        """Returns a variable whose choices are the values of a label."""
        query = f"label_values({source}, {label})"
        found = {
            "name": name,
            "label": self.common["labels"][name],
            "type": "query",
            "datasource": panels.SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "includeAll": True,
            "multi": True,
            "hide": 0,
            "current": {"text": ["All"], "value": ["$__all"]},
        }
        return {**found, "allValue": all_value} if all_value else found

    def typed(self, name, label, value):
        current = {"text": value, "value": value, "selected": True}
        return {"name": name, "label": label, "type": "textbox", "query": value, "hide": 0, "current": current, "options": [current]}

    def variables(self):
        """Yields the variables. Each one offers only what those before it select."""
        chosen = 'cluster=~"$cluster"'
        yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
        yield self.selected("cluster", "cluster", self.metric)
        yield self.selected("namespace", "namespace", f"{self.metric}{{{chosen}}}")
        chosen += ',namespace=~"$namespace"'
        if self.is_subscribed:
            # All is the list of them: Google Cloud also has metrics of subscriptions of other programs.
            yield self.selected("subscription", "messaging_destination_name", f"{self.metric}{{{chosen}}}", all_value=None)
            chosen += ',messaging_destination_name=~"$subscription"'
        yield self.selected("pod", "pod", f"{self.metric}{{{chosen}}}")
        if self.is_subscribed:
            backlog = 'pubsub_googleapis_com:subscription_num_undelivered_messages{subscription_id=~"$subscription"}'
            yield self.selected("project", "project_id", backlog)
            label = self.common["labels"]["dead_letter_subscription"]
            yield self.typed("dead_letter_subscription", label, NAMES["programs"]["mini-scan"]["names"]["dead_letter"])
        for name, price in self.prices.items():
            yield self.typed(name, price["label"], f"{capacity.value(price['from']):g}")
        yield {"name": "runbook", "label": "Documents", "type": "constant", "query": self.runbook_base, "hide": 2, "skipUrlSync": True}

    def annotations(self):
        yield {
            "name": "Annotations & Alerts",
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "builtIn": 1,
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "type": "dashboard",
        }
        for each in self.common["annotations"]:
            yield {
                "name": each["name"],
                "datasource": panels.SOURCE,
                "enable": True,
                "hide": False,
                "iconColor": each["color"],
                "expr": self.query(each["query"]),
                "step": "60s",
                "titleFormat": each["title"],
                "textFormat": each["text"],
                "useValueForTime": False,
            }

    def links(self):
        shared = {"icon": "external link", "asDropdown": False, "includeVars": False, "keepTime": False, "tooltip": ""}
        others = {"type": "dashboards", "title": "Dashboards", "tags": [TAG], "url": "", "targetBlank": False}
        yield {**shared, **others, "asDropdown": True, "keepTime": True}
        for title, path in self.own["documents"].items():
            url = f"${{runbook:raw}}/{path}"
            yield {**shared, "type": "link", "title": title, "tags": [], "url": url, "targetBlank": True, "icon": "doc"}

    def text(self):
        """Returns the dashboard as Grafana imports it."""
        found = {
            "uid": self.program,
            "title": self.own["title"],
            "description": self.own["description"],
            "tags": [TAG, self.program],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "links": list(self.links()),
            "annotations": {"list": list(self.annotations())},
            "templating": {"list": list(self.variables())},
            "panels": list(panels.layout([self.described(figure) for figure in self.own["figures"]], self.rows())),
        }
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def arguments():
    parser = argparse.ArgumentParser(description="Writes the dashboards from their descriptions.")
    parser.add_argument("command", nargs="?", choices=["write", "check"], default="write", help="check writes nothing")
    parser.add_argument("--runbook-base", metavar="URL", default=RUNBOOK_BASE, help="where the links to documents begin")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=FOLDER, help="where to write")
    return parser.parse_args()


def main():
    given = arguments()
    different = []
    try:
        texts = {program: Dashboard(program, given.runbook_base.rstrip("/")).text() for program in PROGRAMS}
    except (UnknownName, capacity.UnknownCell, thresholds.UnknownAlert) as failure:
        sys.exit(f"infra/grafana: {failure}")
    for program, text in texts.items():
        file = given.output / f"{program}.json"
        if given.command == "write":
            given.output.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            different.append(program)
    if different:
        sys.exit(f"run infra/grafana/dashboards.py: the dashboards of {' and '.join(different)} differ from their descriptions")


if __name__ == "__main__":
    main()
