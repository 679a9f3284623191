"""Checks how the programs of an installation are scraped: by a PodMonitoring of Google's managed Prometheus, or by a ServiceMonitor of
the Prometheus operator. The rules and dashboards are the same for both, so both must give the series the same labels.
"""

import re
from pathlib import Path

import yaml

import names
from failure import CheckFailed, expect
from overlays import MANAGED_PROMETHEUS, PROMETHEUS_OPERATOR, Installation, copied, of_kind, render

KINDS = ("PodMonitoring", "ServiceMonitor")


def chosen(overlay):
    """Returns the kind of monitor that an overlay chooses."""
    components = yaml.safe_load((overlay / "kustomization.yaml").read_text())["components"]
    return "ServiceMonitor" if "prometheus-operator" in {Path(component).name for component in components} else "PodMonitoring"


def check(installation, kind, manifests):
    """Checks each Deployment and each monitor. Returns the jobs: the values of the label `job`."""
    where = installation.name
    for other in of_kind(manifests, *KINDS):
        expect(other["kind"] == kind, f"{where}: a {other['kind']} beside those of the kind {kind}")
        # Without other fields, the series have the labels namespace, pod, job and instance.
        expect(other["spec"].keys() == {"selector", "endpoints"}, f"{where}: {other['metadata']['name']} may change labels")
        expect(all(each.keys() == {"port", "path", "interval"} for each in other["spec"]["endpoints"]), f"{where}: an endpoint may change labels")
    jobs = {}
    for deployment in of_kind(manifests, "Deployment"):
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]
        found = [each for monitor in of_kind(manifests, kind) for each in scraped(monitor, pod, manifests)]
        expect(len(found) == 1, f"{where}: {name} is scraped {len(found)} times instead of once by a {kind}")
        monitor, job = found[0]
        expect(job == name, f"{where}: the job of {name} is {job}")
        check_job(installation.program, job)
        jobs[job] = monitor
    unused = {monitor["metadata"]["name"] for monitor in of_kind(manifests, kind)} - set(jobs.values())
    expect(not unused, f"{where}: the {kind} {unused} selects nothing")
    return set(jobs)


def scraped(monitor, pod, manifests):
    """Yields the name of a monitor, and the job, for each open port of a pod that it scrapes."""
    labels, name = pod["metadata"]["labels"], monitor["metadata"]["name"]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]} & open_ports(labels, manifests)
    wanted = [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]
    if monitor["kind"] == "PodMonitoring":
        yield from ((name, name) for port in wanted if selector <= labels.items() and port in ports)
        return
    for service in of_kind(manifests, "Service"):
        if selector <= service["metadata"].get("labels", {}).items() and service["spec"]["selector"].items() <= labels.items():
            targets = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
            yield from ((name, service["metadata"]["name"]) for port in wanted if targets.get(port) in ports)


def open_ports(labels, manifests):
    """Returns the ports that the network policies of a pod open to everyone."""
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy") if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
    return {port["port"] for policy in policies for rule in policy.get("ingress", []) if "from" not in rule for port in rule["ports"]}


def check_job(program, job):
    """The common alerts select by regular expressions of jobs and pods."""
    components = [group.get("component", {}) for group in names.descriptions.described(program)["groups"]]
    for field, value in (("job", job), ("pods", f"{job}-5d8f-x7")):
        known = [component[field] for component in components if field in component]
        expect(known and all(re.fullmatch(each, value) for each in known), f"{program}.rules.yml: no {field} selects {value}: {known}")


def check_misses(installation, kind, manifests):
    """A missing monitor must be found."""
    for monitor in of_kind(manifests, kind):
        try:
            check(installation, kind, [manifest for manifest in manifests if manifest is not monitor])
        except CheckFailed:
            continue
        raise CheckFailed(f"{installation.name}: nobody would miss the {kind} {monitor['metadata']['name']}")


def check_choices(jobs):
    """Every program must have both choices, which give the same jobs. Both choices at once are refused."""
    for program in names.PROGRAMS:
        pods, services = (jobs.get((program.name, kind)) for kind in KINDS)
        expect(pods and pods == services, f"{program.name}: the jobs of managed Prometheus are {pods}, and of the Prometheus operator {services}")
        added = PROMETHEUS_OPERATOR if program is names.MINI_SCAN else MANAGED_PROMETHEUS
        with copied(Installation("both", program.name, added=added)) as overlay:
            text, message = render(overlay)
            expect(text is None and "one-prometheus" in message, f"{program.name}: two choices of Prometheus are not refused: {message}")
