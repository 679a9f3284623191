"""Writes promtool's tests of the rules that all programs have in common: for each alert a case in which it fires, silent ones, and
the false alarms that it must not raise. The numbers are written here again, so that a change of a rule fails a case.
"""

import re

PRODUCTION = {"cluster": "main", "namespace": "production"}
STAGING = {"cluster": "main", "namespace": "staging"}
HOUR, DAY, WEEK = 60, 24 * 60, 7 * 24 * 60


def series(metric, values, **labels):
    """Returns a series of a metric, which may have a selector. Its regular expressions are left out."""
    name, _, selector = metric.partition("{")
    own = dict(re.findall(r'(\w+)="([^"]*)"', selector))
    text = ",".join(f'{label}="{value}"' for label, value in (own | labels).items())
    return {"series": f"{name}{{{text}}}", "values": values}


def counter(interval, *phases):
    """Returns the values of a counter that grows by a rate per minute, for a number of minutes, and so on."""
    value, text = 0, []
    for rate, minutes in phases:
        samples = minutes // interval
        text.append(f"{value:.10g}+{rate * interval:.10g}x{samples - 1}")
        value += rate * interval * samples
    return " ".join(text)


def silent(alert, *minutes):
    return [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []} for minute in minutes]


class Cases:
    """The tests of one program, by the interval of their samples. Tests of long windows have longer ones, which takes less time."""

    def __init__(self, program, runbook):
        self.program, self.runbook = program, runbook
        self.found = {}

    def fires(self, alert, minute, summary, severity, *all_labels):
        annotations = {"summary": summary, "runbook": f"{self.runbook}#{alert.lower()}"}
        expected = [{"exp_labels": {"severity": severity, **labels}, "exp_annotations": annotations} for labels in all_labels]
        return [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}]

    def add(self, name, found, *checks, interval=1):
        test = {"name": name, "interval": f"{interval}m", "input_series": found, "alert_rule_test": sum(checks, [])}
        self.found.setdefault(interval, []).append(test)

    def instance(self, metric, values, where, number=1):
        return series(metric, values, job=self.program, instance=f"10.0.0.{number}:9464", **where)


def stopped(cases, component):
    alert, ran, deployment = f"{component['prefix']}Stopped", component["ran"], component["deployment"]
    fires = lambda minute: cases.fires(alert, minute, f"No {component['what']} runs, and one ran within a day.", "page", PRODUCTION)
    available = lambda values, where: series("kube_deployment_status_replicas_available", values, deployment=deployment, **where)
    cases.add(
        f"{alert}: targets that are gone page, although staging runs; a restart and a rollout do not",
        [
            cases.instance(ran, "1x30 _x4 1x25 _x100", PRODUCTION),
            cases.instance("up", "1x30 _x4 1x25 _x100", PRODUCTION),
            cases.instance(ran, "1x200", STAGING, 2),
            cases.instance(ran, "1x70 _x130", {**STAGING, "namespace": "rollout"}, 3),
            cases.instance(ran, "_x60 1x140", {**STAGING, "namespace": "rollout"}, 4),
        ],
        silent(alert, 36, 60),
        fires(110),
    )
    cases.add(
        f"{alert}: lost scraping does not page, with and without metrics of Kubernetes",
        [
            cases.instance(ran, "1x30 _x100", PRODUCTION),
            cases.instance("up", "1x30 0x100", PRODUCTION),
            available("2x130", PRODUCTION),
            cases.instance(ran, "1x30 _x100", STAGING, 2),
            cases.instance("up", "1x30 0x100", STAGING, 2),
        ],
        silent(alert, 110),
    )
    cases.add(
        f"{alert}: instances that cannot be scraped and are not available page",
        [cases.instance(ran, "1x30 _x100", PRODUCTION), cases.instance("up", "1x30 0x100", PRODUCTION), available("2x30 0x100", PRODUCTION)],
        silent(alert, 30),
        fires(110),
    )


def not_ready(cases, component):
    alert, ready, ran = f"{component['prefix']}NotReady", component["ready"], component["ran"]
    others = lambda where, number: [cases.instance(ran, "1x60", where, number)] if ran != ready else []
    cases.add(
        f"{alert}: an instance that stays unready opens a ticket, a start and instances of other commands do not",
        [
            cases.instance(ready, "0x2 1x10 0x47", PRODUCTION),
            *others(PRODUCTION, 1),
            cases.instance(ready, "0x5 1x54", STAGING, 2),
            *others(STAGING, 2),
            *([cases.instance(ready, "0x60", STAGING, 3)] if ran != ready else []),
        ],
        silent(alert, 12),
        cases.fires(alert, 30, f"1 {component['whats']} are not ready.", "ticket", PRODUCTION),
    )


def no_traffic(cases, component):
    alert, traffic = f"{component['prefix']}NoTraffic", component["traffic"]
    fires = lambda minute: cases.fires(alert, minute, f"No {component['what']} has got anything for an hour, unlike a day before.", "ticket", PRODUCTION)
    end = WEEK + DAY
    of = lambda where, *phases: cases.instance(traffic, counter(30, *phases), where)
    cases.add(
        f"{alert}: traffic that ends opens a ticket, a quiet hour and a low rate do not",
        [
            of(PRODUCTION, (10, DAY + HOUR), (0, 3 * HOUR)),
            of(STAGING, (1, DAY + HOUR), (0, 3 * HOUR)),
            of({**STAGING, "namespace": "new"}, (0, 2 * HOUR), (10, HOUR)),
        ],
        silent(alert, DAY + HOUR),
        fires(DAY + 3 * HOUR),
        interval=30,
    )
    cases.add(
        f"{alert}: an hour that was quiet a week before is silent",
        [of(PRODUCTION, (10, end - 2 * HOUR), (0, 3 * HOUR)), of(STAGING, (1, DAY), (10, WEEK - 2 * HOUR), (0, 3 * HOUR))],
        silent(alert, end - 2 * HOUR),
        fires(end),
        interval=30,
    )


def crash_loop(cases, component):
    alert, pod = f"{component['prefix']}CrashLoop", f"{cases.program}-5d8f-x7"
    start = lambda values, where, job=None: series("process_start_time_seconds", values, job=job or cases.program, instance="10.0.0.1:9464", pod=pod, **where)
    waiting = lambda values, where: series("kube_pod_container_status_waiting_reason", values, reason="CrashLoopBackOff", pod=pod, **where)
    fires = lambda minute: cases.fires(alert, minute, "An instance in production starts again and again.", "ticket", {**PRODUCTION, "pod": pod})
    cases.add(
        f"{alert}: an instance that starts again and again opens a ticket; restarts, rollouts and other programs do not",
        [
            start("100x20 200x2 300x2 400x2 500x60", PRODUCTION),
            start("100x20 200x3 300x70", STAGING),
            start("_x22 300x70", {**STAGING, "namespace": "rollout"}),
            start("0+60x90", {**STAGING, "namespace": "other"}, "another"),
        ],
        silent(alert, 20, 60),
        fires(36),
    )
    cases.add(
        f"{alert}: a process that ends before it is scraped opens a ticket, a single crash does not",
        [waiting("_x20 1x4 _ 1x5 _ 1x5 _x30", PRODUCTION), waiting("_x20 1 _x60", STAGING)],
        silent(alert, 20, 24, 60),
        fires(36),
    )


def scrape_failed(cases, component):
    alert = f"{component['prefix']}ScrapeFailed"
    labels = {**PRODUCTION, "job": cases.program, "instance": "10.0.0.1:9464"}
    cases.add(
        f"{alert}: an instance that cannot be scraped opens a ticket, another program and a short failure do not",
        [
            series("up", "1x5 0x40", **labels),
            series("up", "1x5 0x5 1x35", **labels | STAGING),
            series("up", "0x45", **labels | {"job": "another"}),
        ],
        silent(alert, 6),
        cases.fires(alert, 20, "Prometheus cannot scrape 10.0.0.1:9464.", "ticket", labels),
    )


def at_maximum(cases, component):
    alert = f"{component['prefix']}AtMaximum"

    def replicas(current, lowest, highest, where):
        for kind, values in (("status_current", current), ("spec_min", lowest), ("spec_max", highest)):
            yield series(f"kube_horizontalpodautoscaler_{kind}_replicas", values, horizontalpodautoscaler=component["autoscaler"], **where)

    cases.add(
        f"{alert}: an autoscaler at its maximum opens a ticket; below it, for a moment and with one possible number it does not",
        [
            *replicas("4x10 20x80", "2x90", "20x90", PRODUCTION),
            *replicas("19x90", "2x90", "20x90", STAGING),
            *replicas("4x10 20x20 10x60", "2x90", "20x90", {**STAGING, "namespace": "busy"}),
            *replicas("3x90", "3x90", "3x90", {**STAGING, "namespace": "fixed"}),
        ],
        silent(alert, 30),
        cases.fires(alert, 60, f"The autoscaler of {component['deployment']} has been at its maximum for half an hour.", "ticket", PRODUCTION),
    )


def autoscaler_fails(cases, component):
    alert = f"{component['prefix']}AutoscalerFails"
    summary = f"The autoscaler of {component['deployment']} cannot read its metrics."
    condition = lambda values, status, where: series(
        "kube_horizontalpodautoscaler_status_condition", values, horizontalpodautoscaler=component["autoscaler"], condition="ScalingActive", status=status, **where
    )
    cases.add(
        f"{alert}: an autoscaler without metrics opens a ticket, a short failure does not",
        [
            condition("0x10 1x60", "false", PRODUCTION),
            condition("0x10 1x5 0x55", "false", STAGING),
            condition("1x70", "true", {**STAGING, "namespace": "healthy"}),
        ],
        silent(alert, 12),
        cases.fires(alert, 40, summary, "ticket", PRODUCTION),
    )
    if "scaled" not in component:
        return
    errors = lambda values, **labels: series("keda_scaler_detail_errors_total", values, scaledObject=component["scaled"], scaler="s", **labels)
    spellings = [{**PRODUCTION, "namespace": "keda", "exported_namespace": "production"}, PRODUCTION]
    cases.add(
        f"{alert}: KEDA's errors open a ticket under both names of the namespace, a few errors and staging's do not",
        [
            *(errors("0+2x70", **labels) for labels in spellings),
            errors("0x20 2 4 6 8x46", **STAGING, exported_namespace="staging"),
            series("keda_scaler_detail_errors_total", "0+2x70", scaledObject="another", **STAGING),
        ],
        silent(alert, 10),
        cases.fires(alert, 38, summary, "ticket", *({**labels, "scaledObject": component["scaled"]} for labels in spellings)),
    )


def objective_series(cases, objective, where, every, bad, suffix=""):
    """Returns the series of an objective's events. Prometheus 2 writes bounds as they are, and 3 with the suffix .0."""
    found = where | labels_of(objective)
    good = [(rate - fewer, minutes) for (rate, minutes), (fewer, _) in zip(every, bad)]
    if "within" not in objective:
        # A status appears with its first response.
        (rate, minutes), *later = bad
        failed = counter(4, *bad) if rate else f"_x{minutes // 4} {counter(4, *later)}"
        status = lambda code: f'{objective["requests"]}{{http_response_status_code="{code}"}}'
        return [cases.instance(status(200), counter(4, *good), found), cases.instance(status(503), failed, found)]
    bounds = {f"{objective['within']}{suffix}": good, "+Inf": every}
    if "at_most" in objective:
        bounds[f"{objective['at_most']}{suffix}"] = every
    buckets = [cases.instance(f'{objective["latency"]}_bucket{{le="{bound}"}}', counter(4, *phases), found) for bound, phases in bounds.items()]
    return [*buckets, cases.instance(f"{objective['latency']}_count", counter(4, *every), found)]


def labels_of(objective):
    return {label: "some" for label in objective.get("by", [])}


def burns(cases, objective, alert, minute, share, severity):
    """Returns the check that an alert on an error budget fires."""
    allowed = 100 * (1 - objective["objective"])
    summary = f"{share:g}% of {objective['events']} {objective['failed']}. The objective allows {allowed:g} %."
    return cases.fires(alert, minute, summary, severity, {**PRODUCTION, **labels_of(objective), "slo": objective["name"]})


def fast_burn(cases, objective):
    """Each case has bad events at a multiple of the rate that the objective allows, after hours without any."""
    alert, budget = f"{objective['name']}FastBurn", 1 - objective["objective"]
    for multiple, bad, minutes, after, title in ((20, 2, 72, 12, "an hour"), (10, 1, 380, 40, "six hours")):
        rate = bad / (multiple * budget)
        phases = [(rate, 400), (rate, minutes), (rate, 60)], [(0, 400), (bad, minutes), (bad / 4, 60)]
        for suffix, version in {"": "", ".0": " with the bounds of Prometheus 3"}.items():
            cases.add(
                f"{alert}: bad events of {title} alert while they last{version}",
                objective_series(cases, objective, PRODUCTION, *phases, suffix),
                # Before, until the long window has enough of them, and when there are fewer.
                silent(alert, 400, 400 + minutes // 2, 400 + minutes + after),
                burns(cases, objective, alert, 400 + minutes, 100 * multiple * budget, objective["fast"]),
                interval=4,
            )
            if "within" not in objective or multiple == 10:
                break
    cases.add(
        f"{alert}: a few bad events among few are no incident",
        objective_series(cases, objective, PRODUCTION, [(2, 400), (2, 20), (2, 60)], [(0, 400), (2, 20), (0, 60)]),
        silent(alert, 408, 416, 430, 460),
        interval=4,
    )
    cases.add(
        f"{alert}: single bad events after an incident do not prolong it",
        objective_series(cases, objective, PRODUCTION, [(10, 400), (10, 12), (0.15, 60)], [(0, 400), (10, 12), (0.15, 60)]),
        silent(alert, 400, 460),
        interval=4,
    )


def slow_burn(cases, objective):
    alert, budget = f"{objective['name']}SlowBurn", 1 - objective["objective"]
    rate = 0.06 / (2 * budget)
    cases.add(
        f"{alert}: bad events that use up the budget in two weeks open a ticket, half as many as the objective allows do not",
        [
            *objective_series(cases, objective, PRODUCTION, [(rate, 500)], [(0.06, 500)]),
            *objective_series(cases, objective, STAGING, [(rate, 500)], [(0.06 / 4, 500)]),
        ],
        silent(alert, 10),
        burns(cases, objective, alert, 480, 200 * budget, "ticket"),
        silent(f"{objective['name']}FastBurn", 480),
        interval=4,
    )


# What a component must have for these cases, as in common.rules.yml.
COMMON = (
    ({"ran", "deployment", "what"}, stopped),
    ({"ran", "ready", "whats"}, not_ready),
    ({"traffic", "what"}, no_traffic),
    ({"job", "pods"}, crash_loop),
    ({"job"}, scrape_failed),
    ({"autoscaler"}, at_maximum),
    ({"autoscaler"}, autoscaler_fails),
)


def healthy(cases, components):
    """Returns the series of an installation without metrics of Google, Kubernetes and KEDA, such as that of docker compose."""
    samples, found = 2 * DAY // 30, {}
    for number, component in enumerate(components):
        for field, value in (("ran", 0), ("ready", 1), ("traffic", 300)):
            if metric := component.get(field):
                # Counters grow, and others stay.
                growth = value if metric.partition("{")[0].endswith(("_total", "_count")) else 0
                one = cases.instance(metric, f"{value}+{growth}x{samples}", {}, number)
                found[one["series"]] = one
        found[number] = cases.instance("up", f"1x{samples}", {}, number)
    return list(found.values())


def of(program, description, runbook, alerts):
    """Yields the tests of a program, as the files that promtool reads."""
    cases = Cases(program, runbook)
    for group in description["groups"]:
        component = group.get("component", {})
        for needs, write in COMMON:
            if needs <= component.keys():
                write(cases, component)
        for objective in group.get("slos", []):
            fast_burn(cases, objective)
            slow_burn(cases, objective)
    series_of_compose = healthy(cases, [group["component"] for group in description["groups"] if "component" in group])
    for alert in alerts:
        cases.add(f"{alert} does not fire for ever without any metric", [], silent(alert, 2 * DAY), interval=30)
        cases.add(f"{alert} does not fire without metrics of Google and Kubernetes", series_of_compose, silent(alert, 30, DAY, 2 * DAY), interval=30)
    for interval, tests in cases.found.items():
        yield {"rule_files": [f"{program}.yml"], "evaluation_interval": f"{interval}m", "tests": tests}
