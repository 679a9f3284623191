"""Makes copies of overlays/example, as the README tells its reader, and renders them with kubectl or kustomize.

The copies are outside of the repository, so that nobody's own overlays are touched or checked.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import sources
from failure import expect

REPOSITORY = Path(__file__).resolve().parents[2]
# What Terraform's outputs contain. Tests of the modules compare some of them.
SETTINGS = REPOSITORY / "infra/tests/settings"
DIGEST = "sha256:" + "0123456789abcdef" * 4
WEBHOOKS = "MINI_SCAN_DELIVERIES_TABLE=scan-deliveries\nMINI_SCAN_WEBHOOKS_TABLE=scan-webhooks\n"
# Below this version, a component does not see the ConfigMaps of the kustomization that includes it.
OLDEST_KUSTOMIZE = (5, 1)


@dataclass(frozen=True)
class Installation:
    """A copy of the example: which of its optional lines are in use."""

    name: str
    program: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


PROMETHEUS_OPERATOR = ("components/prometheus-operator", "monitoring.env")
MANAGED_PROMETHEUS = ("components/managed-prometheus",)
INSTALLATIONS = (
    Installation("mini-scan", "mini-scan"),
    Installation("mini-scan-with-changes", "mini-scan", added=("components/api", "components/changes", "api.env", "changes.env")),
    Installation(
        "mini-scan-with-webhooks",
        "mini-scan",
        added=(
            *(f"components/{component}" for component in ("webhooks-api", "webhooks-changes", "backfill", "webhooks-operator")),
            *("api.env", "changes.env", "backfill.env", "webhooks-operator.env"),
        ),
    ),
    Installation(
        "mini-scan-prometheus-operator",
        "mini-scan",
        added=("components/api", "components/changes", "api.env", "changes.env", *PROMETHEUS_OPERATOR),
        removed=("components/gke",),
    ),
    Installation("event-pipeline", "event-pipeline", added=("components/event-pipeline-operator", "operator.env")),
    Installation(
        "event-pipeline-direct",
        "event-pipeline",
        added=("components/direct-processor",),
        removed=("components/processor",),
    ),
    Installation("event-pipeline-managed-prometheus", "event-pipeline", added=MANAGED_PROMETHEUS, removed=PROMETHEUS_OPERATOR),
    Installation("widget-registry", "widget-registry", added=("components/widget-registry-operator", "operator.env")),
    Installation("widget-registry-managed-prometheus", "widget-registry", added=MANAGED_PROMETHEUS, removed=PROMETHEUS_OPERATOR),
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


def can_render():
    return kustomize() is not None and version() >= OLDEST_KUSTOMIZE


# --- a copy with its files ---


@contextlib.contextmanager
def copied(installation, settings=None):
    """Copies the manifests, and the example to `production`. Yields the folder of the program in that copy, with its files.

    `settings` has the contents of files, instead of those in SETTINGS.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources.copy(folder, below="kubernetes")
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
        text, count = re.subn(rf"^  (- .*{re.escape(line)}(?:\] }})?)$", r"  # \1", text, flags=re.M)
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
    has_webhooks = f"components/webhooks-{file.removesuffix('.env')}" in installation.added
    return (SETTINGS / installation.program / file).read_text() + (WEBHOOKS if has_webhooks else "")


def render(overlay):
    """Returns the manifests of an overlay, or the message of kustomize."""
    done = subprocess.run([*kustomize(), str(overlay)], capture_output=True, text=True, timeout=60)
    return (done.stdout, None) if done.returncode == 0 else (None, done.stderr)


def documents(overlay):
    text, message = render(overlay)
    expect(text is not None, f"{overlay}: {message}")
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests, *kinds):
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests):
    """Yields each template of a pod, with the name of its owner."""
    for manifest in of_kind(manifests, "Deployment", "CronJob"):
        spec = manifest["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if manifest["kind"] == "CronJob" else spec["template"]
        yield f"{manifest['kind']} {manifest['metadata']['name']}", template
