"""Writes figures of service level objectives, from the descriptions of the rules that alert on their error budgets."""

import yaml
from thresholds import RULES, UnknownAlert, rules

# The dashboard's matcher of a bucket. Prometheus 3 writes the bound of 30 s as 30.0.
BOUND = r'le=~"{}(\\.0)?"'
WINDOW = "1h"


def objective(name):
    """Returns the description of an objective."""
    for file in sorted(RULES.glob("*.rules.yml")):
        for group in yaml.safe_load(file.read_text()).get("groups", []):
            for slo in group.get("slos", []):
                if slo["name"] == name:
                    return slo
    raise UnknownAlert(f"no description of infra/prometheus has the objective {name}")


def increase(metric, *matchers):
    return f"sum(increase({metric}{{{','.join(['$selector', *matchers])}}}[{WINDOW}]) $own)"


def share(slo):
    """Returns the query for the share of good events. Without events, it has no data."""
    if "latency" in slo:
        buckets = f"{slo['latency']}_bucket"
        every = increase(buckets, BOUND.format(slo["at_most"])) if "at_most" in slo else increase(f"{slo['latency']}_count")
        return f"{increase(buckets, BOUND.format(slo['within']))} / ({every} > 0)"
    return f"1 - ({increase(slo['requests'], slo['errors'])} $or_zero) / ({increase(slo['requests'])} > 0)"


def reaction(alerts):
    """Returns a sentence about what the alerts do."""
    actions = {"page": "pages", "ticket": "opens a ticket"}
    each = [f"{rule['alert']} {actions[rule['labels']['severity']]}" for rule in alerts]
    return f"If too many fail, {' and '.join(each)}."


def figure(title, name):
    """Returns the description of a figure that shows the share of good events, and its alerts."""
    slo = objective(name)
    alerts = [rule for rule in rules() if rule.get("alert", "") in {f"{name}FastBurn", f"{name}SlowBurn"}]
    older = f" Those later than {slo['at_most']} s are left out, because a replay has many of them." if "at_most" in slo else ""
    return {
        "title": title,
        "description": f"Share of {slo['events']} of the last hour, except those that {slo['failed']}.{older} {reaction(alerts)}",
        "unit": "percentunit",
        "max": 1,
        "decimals": 2,
        "objective": slo["objective"],
        "linked": {rule["alert"]: rule["annotations"]["runbook"] for rule in alerts},
        "query": share(slo),
    }
