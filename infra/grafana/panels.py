"""Writes the panels of a dashboard: figures, graphs and rows, with their positions and thresholds."""

import thresholds

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
WIDTH, HEIGHT, FIGURE_HEIGHT = 8, 8, 4
# How often the manifests let Prometheus scrape. $__rate_interval is at least four times as long, so that each rate has several values.
SCRAPE_INTERVAL = "30s"
# Grafana colors a value that equals a step. An alert above 0 must leave 0 green.
JUST_ABOVE = 1e-6


def shown(value, unit):
    """Returns a threshold as a person writes it."""
    if unit == "percentunit":
        return f"{value * 100:g} %"
    if unit == "s":
        size, name = next((size, name) for size, name in ((86400, "days"), (3600, "hours"), (1, "s")) if value >= 2 * size or size == 1)
        return f"{value / size:g} {name}"
    return f"{value:g}{' per second' if unit in {'ops', 'reqps'} else ''}"


def steps(alerts, objective):
    """Returns the steps of color. Lower bounds and objectives are red below."""
    lower = [(alert.value, alert.color) for alert in alerts if alert.is_lower_bound]
    if objective is not None:
        lower.append((objective, "red"))
    if lower:
        value, color = max(lower)
        return [{"color": color, "value": None}, {"color": "green", "value": value}]
    # Of two alerts with one threshold, "red" comes later.
    upper = dict(sorted((alert.value or JUST_ABOVE, alert.color) for alert in alerts))
    return [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in upper.items())]


def target(number, legend, query, is_instant=False):
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query,
        "legendFormat": legend,
        "interval": SCRAPE_INTERVAL,
        "instant": is_instant,
        "range": not is_instant,
    }


def links(sections):
    """Returns links to the runbook sections of alerts."""
    return [
        {"title": f"Runbook: {name}", "url": f"${{runbook:raw}}/{section}", "targetBlank": True, "type": "link"}
        for name, section in sections.items()
    ]


def panel(kind, description):
    """Returns what graphs and figures have in common."""
    queries = list(description["queries"].values())
    unit = description["unit"]
    alerts = [thresholds.alert(name, queries) for name in description.get("alerts", [])]
    objective = description.get("objective")
    texts = [description["description"], *(alert.sentence(shown(alert.value, unit)) for alert in alerts)]
    if objective is not None:
        texts.append(f"The objective is {shown(objective, unit)}.")
    defaults = {"unit": unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps(alerts, objective)}}
    if "max" in description:
        defaults["max"] = description["max"]
    if "decimals" in description:
        defaults["decimals"] = description["decimals"]
    return {
        "type": kind,
        "title": description["title"],
        "description": " ".join(texts),
        "datasource": SOURCE,
        "links": links({alert.name: alert.section for alert in alerts} | description.get("linked", {})),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [target(number, *query) for number, query in enumerate(description["queries"].items())],
    }


def graph(description):
    found = panel("timeseries", description)
    defaults = found["fieldConfig"]["defaults"]
    is_stacked = description.get("is_stacked", False)
    # A line at 0 would hide the axis.
    has_line = any(step["value"] not in (None, JUST_ABOVE) for step in defaults["thresholds"]["steps"])
    defaults["color"] = {"mode": "palette-classic"}
    defaults["custom"] = {
        "fillOpacity": 20 if is_stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"},
        "spanNulls": False,
        "thresholdsStyle": {"mode": "dashed" if has_line else "off"},
    }
    found["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return found


def figure(description):
    found = panel("stat", {**description, "queries": {description["title"]: description["query"]}})
    found["fieldConfig"]["defaults"]["color"] = {"mode": "thresholds"}
    found["options"] = {
        "graphMode": "area",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "value",
        "wideLayout": True,
        "showPercentChange": False,
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return found


def placed(described, make, width, height, y):
    """Yields panels from left to right in lines, and the y below them."""
    x = 0
    for description in described:
        own = description.get("width", width)
        if x + own > COLUMNS:
            x, y = 0, y + height
        yield {**make(description), "gridPos": {"h": height, "w": own, "x": x, "y": y}}, y + height
        x += own


def row(title, y):
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}, "panels": []}


def layout(figures, rows):
    """Yields all panels: a line of figures, then the rows of graphs."""
    lines = [("Overview", figures, figure, COLUMNS // len(figures), FIGURE_HEIGHT)]
    lines += [(each["title"], each["panels"], graph, WIDTH, HEIGHT) for each in rows]
    identifier, y = 1, 0
    for title, described, make, width, height in lines:
        for found, below in [(row(title, y), y + 1), *placed(described, make, width, height, y + 1)]:
            yield {"id": identifier, **found}
            identifier, y = identifier + 1, max(y, below)
