"""Writes the dashboards of event-pipeline and widget-registry from their descriptions.

`dashboards.py` writes each JSON file next to its description. `dashboards.py check` exits with 1 if one differs.

A description has rows of panels. Every panel is a graph over time. `$selector` in a query selects the namespace of the variable.
"""

import json
import sys
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent
PROGRAMS = ("event-pipeline", "widget-registry")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECTOR = 'namespace=~"$namespace"'
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


def target(number, legend, query):
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query.replace("$selector", SELECTOR),
        "legendFormat": legend,
    }


def graph(identifier, panel, column, y):
    return {
        "id": identifier,
        "type": "timeseries",
        "title": panel["title"],
        "description": panel["description"],
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": WIDTH * column, "y": y},
        "fieldConfig": {
            "defaults": {
                "unit": panel["unit"],
                "min": 0,
                "custom": {"fillOpacity": 0, "showPoints": "never", "stacking": {"mode": "none"}, "spanNulls": False},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [target(number, *query) for number, query in enumerate(panel["queries"].items())],
    }


def panels(rows):
    """Yields the panels of all rows, with their positions."""
    identifier, y = 1, 0
    for row in rows:
        yield {"id": identifier, "type": "row", "title": row["title"], "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []}
        identifier, y = identifier + 1, y + 1
        for number, panel in enumerate(row["panels"]):
            yield graph(identifier + number, panel, number % COLUMNS, y + HEIGHT * (number // COLUMNS))
        identifier += len(row["panels"])
        y += HEIGHT * -(-len(row["panels"]) // COLUMNS)


def variables(metric):
    query = f"label_values({metric}, namespace)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": "namespace"},
            "definition": query,
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": False,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def dashboard(program):
    """Returns the text of a program's dashboard."""
    description = yaml.safe_load((FOLDER / f"{program}.yml").read_text())
    found = {
        "uid": program,
        "title": program,
        "tags": [program],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": variables(description["namespaces_of"])},
        "panels": list(panels(description["rows"])),
    }
    return json.dumps(found, indent=2) + "\n"


def main():
    different = []
    for program in PROGRAMS:
        file, text = FOLDER / f"{program}.json", dashboard(program)
        if sys.argv[1:] == ["check"]:
            if not file.exists() or file.read_text() != text:
                different.append(program)
        else:
            file.write_text(text)
    if different:
        sys.exit(f"run infra/grafana/dashboards.py: the dashboards of {' and '.join(different)} differ from their descriptions")


if __name__ == "__main__":
    main()
