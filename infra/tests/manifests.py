"""Checks what kustomize makes of the manifests: of a copy of overlays/example with its files, and without each of them.

`manifests.py FOLDER` also writes the rendered manifests to FOLDER, one file for each installation. `manifests.py can-render` exits
with 0 if kubectl or kustomize is new enough.
"""

import contextlib
import re
import sys
from pathlib import Path

import yaml

import monitors
import restricted
import sources
from failure import CheckFailed, expect
from overlays import (
    INSTALLATIONS,
    REPOSITORY,
    can_render,
    copied,
    documents,
    files_of,
    of_kind,
    pods,
    render,
)

# --- what is rendered ---


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
    check_releases(installation, manifests)
    kinds = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    local = {name for kind, name in kinds if kind == "ConfigMap"} & {"image", "monitoring", "one-prometheus"}
    expect(not local, f"{installation.name}: {local} would be applied")


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
    program, in_gke = installation.program, "components/gke" not in installation.removed
    scalers = {"cpu", "prometheus"} if program == "mini-scan" and in_gke else {"aws-sqs-queue"} if program == "event-pipeline" else set()
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


def check_releases(installation, manifests):
    for monitor in of_kind(manifests, "ServiceMonitor"):
        expect(monitor["metadata"].get("labels", {}).get("release") == "kube-prometheus-stack", f"{installation.name}: a ServiceMonitor has no label release")


# --- what is refused ---


def refused(installation, overlay, what, *words):
    """Renders an overlay that lacks something. The message must have all of these words."""
    text, message = render(overlay)
    expect(text is None, f"{installation.name} with {what} is rendered")
    # kubectl quotes the message of kustomize.
    message = re.sub(r'[\\"\s]*$', "\n", message)
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
        if key not in ("AWS_ROLE_ARN", "IMAGE", "RELEASE"):
            # The message ends with the key. An empty RELEASE selects everything.
            yield f"an empty {key}", text.replace(line, f"{key}=\n"), ("components/", "out of bounds for value AWS_REGION=", f"{key}=\n")
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
    expect(len(found) == 3 and all(volume.keys() == {"name", "csi"} for volume in found), f"the patch in infra/README.md makes {found}")


def check_keda():
    """The oldest version of KEDA is in several places. check.sh validates the manifests against it."""
    wanted = re.search(r"^keda_version=(.*)$", (REPOSITORY / "infra/check.sh").read_text(), re.M)[1]
    for file in (REPOSITORY / "infra/README.md", *sources.files("kubernetes", "scaledobject.yaml")):
        found = set(re.findall(r"KEDA (\d[\d.]*\d)", file.read_text()))
        expect(found == {wanted}, f"{file}: KEDA {found} instead of {wanted}")


def main():
    if sys.argv[1:] == ["can-render"]:
        return sys.exit(0 if can_render() else 1)
    check_keda()
    check_readme()
    refusals, checked, jobs = 0, set(), {}
    for installation in INSTALLATIONS:
        with copied(installation) as overlay:
            manifests = documents(overlay)
            check_rendered(installation, overlay, manifests)
            kind = monitors.chosen(overlay)
            jobs.setdefault((installation.program, kind), set()).update(monitors.check(installation, kind, manifests))
            monitors.check_misses(installation, kind, manifests)
            refusals += check_refusals(installation, overlay, checked)
            if len(sys.argv) > 1:
                (Path(sys.argv[1]) / f"{installation.name}.yaml").write_text(yaml.safe_dump_all(manifests))
    monitors.check_choices(jobs)
    print(f"manifests: {len(INSTALLATIONS)} installations are complete, and {refusals} incomplete ones are refused by name")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        sys.exit(f"FAILED: {failure}")
