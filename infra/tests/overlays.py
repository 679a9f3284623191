"""Checks what kustomize makes of the manifests: of a copy of overlays/example with its files, and without each of them.

`overlays.py FOLDER` also writes the rendered manifests to FOLDER, one file for each installation. It needs kubectl or kustomize.
The copies are outside of the repository, so that nobody's own overlays are touched or checked.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import restricted

REPOSITORY = Path(__file__).resolve().parents[2]
KUBERNETES = REPOSITORY / "infra/kubernetes"
# What Terraform's outputs contain. Tests of the modules compare some of them.
SETTINGS = REPOSITORY / "infra/tests/settings"
DIGEST = "sha256:" + "0123456789abcdef" * 4
WEBHOOKS = "MINI_SCAN_DELIVERIES_TABLE=scan-deliveries\nMINI_SCAN_WEBHOOKS_TABLE=scan-webhooks\n"
# Below this version, a component does not see the ConfigMaps of the kustomization that includes it.
OLDEST_KUSTOMIZE = (5, 1)


class CheckFailed(Exception):
    """The manifests have a fault."""


@dataclass(frozen=True)
class Installation:
    """A copy of the example: which of its optional lines are in use."""

    name: str
    program: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


INSTALLATIONS = (
    Installation("mini-scan", "mini-scan"),
    Installation("mini-scan-with-changes", "mini-scan", added=("components/api", "components/changes", "api.env", "changes.env")),
    Installation(
        "mini-scan-with-webhooks",
        "mini-scan",
        added=("components/webhooks-api", "components/webhooks-changes", "api.env", "changes.env"),
    ),
    Installation(
        "mini-scan-prometheus-operator",
        "mini-scan",
        added=("components/prometheus-operator", "monitoring.env"),
        removed=("components/gke",),
    ),
    Installation("event-pipeline", "event-pipeline", added=("components/event-pipeline-operator", "operator.env")),
    Installation(
        "event-pipeline-direct",
        "event-pipeline",
        added=("components/direct-processor",),
        removed=("components/processor",),
    ),
    Installation("widget-registry", "widget-registry", added=("components/widget-registry-operator", "operator.env")),
)


def kustomize():
    """Returns the command that renders a folder, or None."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def version():
    """Returns the version of kustomize, e.g. (5, 5)."""
    command = ["kustomize", "version"] if shutil.which("kustomize") else ["kubectl", "version", "--client"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\d+)\.(\d+)\.\d+\s*$", text)
    return (int(found[1]), int(found[2]))


def expect(holds, what):
    if not holds:
        raise CheckFailed(what)


# --- a copy with its files ---


@contextlib.contextmanager
def copied(installation, settings=None):
    """Copies the manifests, and the example to `production`. Yields the folder of the program in that copy, with its files.

    `settings` has the contents of files, instead of those in SETTINGS.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(KUBERNETES, Path(folder) / "kubernetes", ignore=shutil.ignore_patterns("production"))
        overlays = Path(folder) / "kubernetes/overlays"
        shutil.copytree(overlays / "example", overlays / "production")
        overlay = overlays / "production" / installation.program
        choose(overlay / "kustomization.yaml", installation)
        for file in files_of(overlay):
            (overlay / file).write_text((settings or {}).get(file) or content(file, installation))
        yield overlay


def choose(file, installation):
    """Comments lines in and out, as the README tells its reader."""
    text = file.read_text()
    for line in installation.added:
        text, count = re.subn(rf"^  # (- .*{re.escape(line)}(?:\] }})?)$", r"  \1", text, flags=re.M)
        expect(count == 1, f"{file}: no line to uncomment for {line}")
    for line in installation.removed:
        text, count = re.subn(rf"^  (- .*{re.escape(line)})$", r"  # \1", text, flags=re.M)
        expect(count == 1, f"{file}: no line to comment out for {line}")
    file.write_text(text)


def files_of(overlay):
    """Returns the files that an overlay needs from its owner."""
    generators = yaml.safe_load((overlay / "kustomization.yaml").read_text())["configMapGenerator"]
    return [file for generator in generators for file in generator["envs"]]


def content(file, installation):
    if file == "image.env":
        return f"IMAGE=registry.example.com/{installation.program}@{DIGEST}\n"
    if file == "monitoring.env":
        return "RELEASE=kube-prometheus-stack\n"
    if file == "operator.env":
        template = {"event-pipeline": "processor.env", "widget-registry": "widgets.env"}[installation.program]
        return re.sub(r":role/.*", ":role/operator", (SETTINGS / template).read_text())
    has_webhooks = f"components/webhooks-{file.removesuffix('.env')}" in installation.added
    return (SETTINGS / file).read_text() + (WEBHOOKS if has_webhooks else "")


def render(overlay):
    """Returns the manifests of an overlay, or the message of kustomize."""
    done = subprocess.run([*kustomize(), str(overlay)], capture_output=True, text=True, timeout=60)
    return (done.stdout, None) if done.returncode == 0 else (None, done.stderr)


def documents(overlay):
    text, message = render(overlay)
    expect(text is not None, f"{overlay}: {message}")
    return [document for document in yaml.safe_load_all(text) if document]


# --- what is rendered ---


def of_kind(manifests, *kinds):
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def kinds_of(manifests):
    return {manifest["kind"] for manifest in manifests}


def pods(manifests):
    """Yields each template of a pod, with the name of its owner."""
    for manifest in of_kind(manifests, "Deployment", "CronJob"):
        spec = manifest["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if manifest["kind"] == "CronJob" else spec["template"]
        yield f"{manifest['kind']} {manifest['metadata']['name']}", template


def check_rendered(installation, overlay, manifests):
    text = yaml.safe_dump_all(manifests)
    expect(not re.search(r"/projects/PROJECT|\"SUBSCRIPTION\"|: REGION$|:image\.env", text, re.M), f"{installation.name}: a placeholder is left")
    settings = {file: dict(line.split("=", 1) for line in (overlay / file).read_text().split()) for file in files_of(overlay)}
    expected = settings["image.env"]["IMAGE"]
    for where, pod in pods(manifests):
        images = {container["image"] for container in pod["spec"]["containers"]}
        expect(images == {expected}, f"{installation.name}, {where}: the image is {images}")
        for fault in restricted.faults(pod["spec"]):
            raise CheckFailed(f"{installation.name}, {where}: {fault}")
    check_names(installation, manifests)
    check_jobs(installation, manifests)
    check_autoscalers(installation, manifests, settings)
    check_monitors(installation, manifests)
    kinds = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    expect(not {name for kind, name in kinds if kind == "ConfigMap"} & {"image", "monitoring"}, f"{installation.name}: image or monitoring would be applied")


def check_names(installation, manifests):
    """Each pod must find its ConfigMap and its service account in the same installation."""
    known = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for where, pod in pods(manifests):
        account = pod["spec"]["serviceAccountName"]
        expect(("ServiceAccount", account) in known, f"{installation.name}, {where}: no service account {account}")
        for container in pod["spec"]["containers"]:
            for source in container["envFrom"]:
                name = source["configMapRef"]["name"]
                expect(("ConfigMap", name) in known, f"{installation.name}, {where}: no ConfigMap {name}")
    for target in of_kind(manifests, "ScaledObject", "HorizontalPodAutoscaler"):
        name = target["spec"]["scaleTargetRef"]["name"]
        expect(("Deployment", name) in known, f"{installation.name}: no Deployment {name} to scale")


def check_jobs(installation, manifests):
    """A Job must not start by itself, nor match the selector of a Service, a disruption budget or a Deployment."""
    selectors = [
        (manifest["kind"], manifest["spec"]["selector"].get("matchLabels", manifest["spec"]["selector"]))
        for manifest in of_kind(manifests, "Service", "PodDisruptionBudget", "Deployment", "PodMonitoring")
    ]
    for job in of_kind(manifests, "CronJob"):
        name = job["metadata"]["name"]
        expect(job["spec"]["suspend"], f"{installation.name}: {name} would start by itself")
        labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"].items()
        for kind, selector in selectors:
            expect(not selector.items() <= labels, f"{installation.name}: a {kind} selects the Job {name}")


def check_autoscalers(installation, manifests, settings):
    for scaled in of_kind(manifests, "ScaledObject"):
        spec, name = scaled["spec"], scaled["metadata"]["name"]
        expect(spec["minReplicaCount"] >= 2, f"{name}: one instance cannot fail alone")
        expect(spec["fallback"].get("behavior") == "currentReplicasIfHigher", f"{name}: the fallback may stop instances")
        for trigger in spec["triggers"]:
            wanted = "Utilization" if trigger["type"] == "cpu" else "AverageValue"
            expect(trigger.get("metricType") == wanted, f"{name}: metricType of {trigger['type']} must be {wanted}")
    triggers = {trigger["type"]: trigger["metadata"] for scaled in of_kind(manifests, "ScaledObject") for trigger in scaled["spec"]["triggers"]}
    scalers = {"cpu", "prometheus"} if "PodMonitoring" in kinds_of(manifests) else {"aws-sqs-queue"} if "processor.env" in settings else set()
    expect(triggers.keys() == scalers, f"{installation.name}: the autoscaler uses {triggers.keys()} instead of {scalers}")
    if "prometheus" in triggers:
        project, subscription = (settings["consumer.env"][f"MINI_SCAN_{name}"] for name in ("PROJECT", "SUBSCRIPTION"))
        address = f"https://monitoring.googleapis.com/v1/projects/{project}/location/global/prometheus"
        expect(triggers["prometheus"]["serverAddress"] == address, f"{installation.name}: {triggers['prometheus']['serverAddress']} is not {address}")
        selector = f'{{monitored_resource="pubsub_subscription",project_id="{project}",subscription_id="{subscription}"}}'
        expect(selector in triggers["prometheus"]["query"], f"{installation.name}: the query has no {selector}")
    if "aws-sqs-queue" in triggers:
        region = settings["processor.env"]["AWS_REGION"]
        expect(triggers["aws-sqs-queue"]["awsRegion"] == region, f"{installation.name}: the queue's region is not {region}")


def check_monitors(installation, manifests):
    """Each Deployment must be scraped once: by a PodMonitoring, or by a ServiceMonitor through its Service."""
    for monitor in of_kind(manifests, "ServiceMonitor"):
        expect(monitor["metadata"].get("labels", {}).get("release") == "kube-prometheus-stack", f"{installation.name}: a ServiceMonitor has no label release")
    services = of_kind(manifests, "Service")
    for deployment in of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        mine = [monitor for monitor in of_kind(manifests, "PodMonitoring") if selects(monitor, labels)]
        for service in services:
            if service["spec"]["selector"].items() <= labels.items():
                mine += [monitor for monitor in of_kind(manifests, "ServiceMonitor") if selects(monitor, service["metadata"].get("labels", {}))]
        expect(len(mine) == 1, f"{installation.name}: {deployment['metadata']['name']} is scraped {len(mine)} times")


def selects(monitor, labels):
    selector = monitor["spec"]["selector"]
    matches = selector.get("matchLabels", {}).items() <= labels.items()
    return matches and all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


# --- what is refused ---


def refused(installation, overlay, what, *words):
    """Renders an overlay that lacks something. The message must have all of these words."""
    text, message = render(overlay)
    expect(text is None, f"{installation.name} with {what} is rendered")
    missing = [word for word in words if word not in message]
    expect(not missing, f"{installation.name} with {what}: the message does not name {missing}: {message}")


@contextlib.contextmanager
def changed(path, text):
    """Changes a file, or removes it, and restores it at the end."""
    before = path.read_text()
    path.unlink()
    if text is not None:
        path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def incomplete(file):
    """Yields what its owner may forget in a file: what is wrong, the text, and the words that the message must have."""
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    yield "nothing", None, ("no such file", file.name)
    # A `terraform output -raw … > FILE` that fails leaves an empty file.
    yield "an empty file", "", ("is missing", f"/{file.stem}.")
    for line in lines:
        key = line.split("=")[0]
        yield f"no {key}", text.replace(line, ""), (f"`data.{key}` is missing", f"/{file.stem}.")
    if "AWS_ROLE_ARN" in text:
        yield "an empty role", re.sub("AWS_ROLE_ARN=.*", "AWS_ROLE_ARN=", text), ("components/", "out of bounds")
    if "IMAGE" in text:
        yield "a tag", "IMAGE=registry.example.com/program:1.0\n", ("image-with-digest", "out of bounds for value registry.example.com/program:1.0")
        yield "an empty image", "IMAGE=\n", ("image-with-digest", "out of bounds")


def check_refusals(installation, overlay, checked):
    """Leaves out each file and each setting, unless a file like it was checked. Returns how many installations were refused."""
    refused(installation, overlay.parents[1] / "example" / installation.program, "the example itself", "no such file", "image.env")
    count = 1
    for file in map(overlay.joinpath, files_of(overlay)):
        if (installation.program, file.name, text := file.read_text()) in checked:
            continue
        checked.add((installation.program, file.name, text))
        for what, text, words in list(incomplete(file)):
            with changed(file, text):
                refused(installation, overlay, f"{what} in {file.name}", *words)
            count += 1
    return count


def check_readme():
    """The patch in the README for a key from a secret manager must replace the Secret."""
    patch = re.search(r"```yaml\n(patches:\n.*?)```", (REPOSITORY / "infra/README.md").read_text(), re.S)[1]
    with copied(next(each for each in INSTALLATIONS if each.name == "mini-scan-with-webhooks")) as overlay:
        file = overlay / "kustomization.yaml"
        file.write_text(file.read_text() + patch)
        found = [volume for _, pod in pods(documents(overlay)) for volume in pod["spec"]["volumes"] if volume["name"] == "webhooks-key"]
    expect(len(found) == 2 and all(volume.keys() == {"name", "csi"} for volume in found), f"the patch in infra/README.md makes {found}")


def check_keda():
    """The oldest version of KEDA is in several places. check.sh validates the manifests against it."""
    wanted = re.search(r"^keda_version=(.*)$", (REPOSITORY / "infra/check.sh").read_text(), re.M)[1]
    for file in (REPOSITORY / "infra/README.md", *KUBERNETES.rglob("scaledobject.yaml")):
        found = set(re.findall(r"KEDA (\d[\d.]*\d)", file.read_text()))
        expect(found == {wanted}, f"{file}: KEDA {found} instead of {wanted}")


def main():
    if sys.argv[1:] == ["can-render"]:
        return sys.exit(0 if kustomize() and version() >= OLDEST_KUSTOMIZE else 1)
    check_keda()
    check_readme()
    refusals, checked = 0, set()
    for installation in INSTALLATIONS:
        with copied(installation) as overlay:
            manifests = documents(overlay)
            check_rendered(installation, overlay, manifests)
            refusals += check_refusals(installation, overlay, checked)
            if len(sys.argv) > 1:
                (Path(sys.argv[1]) / f"{installation.name}.yaml").write_text(yaml.safe_dump_all(manifests))
    print(f"overlays: {len(INSTALLATIONS)} installations are complete, and {refusals} incomplete ones are refused by name")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        sys.exit(f"FAILED: {failure}")
