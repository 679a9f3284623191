"""Runs the commands of infra/README.md up to each smoke test, as its reader pastes them, with stand-ins of the tools that need a cloud.

The stand-ins print what the clouds would and refuse any other command, and `kubectl apply -k` renders the folder. Each command must
succeed, each variable must be set, and each program must be applied with an image of its own. It needs jq and openssl.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import overlays
import shell
import sources
from failure import CheckFailed, expect

README = (shell.REPOSITORY / "infra/README.md").read_text()
GOOGLE, ECR = "europe-west1-docker.pkg.dev/my-project/images", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
# What the blocks for one of the clusters contain. The others are for both.
EKS, GKE = ("aws ecr", "podIdentity.aws.irsa", "RELEASE="), ("gcloud artifacts", "extraVolumes")

TOOLS = ("aws", "docker", "gcloud", "git", "helm", "kubectl", "less", "terraform")
STAND_IN = r"""#!/bin/bash
set -euo pipefail
value_of() { local flag=$1; shift; while [ "${1:?"no $flag"}" != "$flag" ]; do shift; done; printf '%s' "$2"; }
last=${!#}
case "${0##*/} $*" in
  "aws ecr create-repository "* | "aws ecr get-login-password "* | "aws eks update-kubeconfig "* | "aws sts get-caller-identity") ;;
  "aws sts get-caller-identity --query Account --output text") echo 123456789012 ;;
  # Nothing exists yet.
  "docker buildx inspect "* | "gcloud artifacts repositories describe "*) exit 1 ;;
  "docker buildx create "* | "docker login "* | "docker run --rm "*" --version") ;;
  "docker buildx build "*) echo "{\"containerimage.digest\": \"$DIGEST\"}" > "$(value_of --metadata-file "$@")"; value_of --target "$@" > "$TARGET" ;;
  "docker run --rm "*" --tokens-file "*) echo digest > "$(value_of --tokens-file "$@")"; echo token ;;
  "gcloud artifacts repositories create "* | "gcloud config set "* | "gcloud services enable "*) ;;
  "gcloud auth application-default login" | "gcloud auth configure-docker "* | "gcloud auth login") ;;
  "gcloud compute routers create "* | "gcloud compute routers nats create "*) ;;
  "gcloud container clusters create-auto "* | "gcloud container clusters get-credentials "*) ;;
  "git add "*) ;;
  "git rev-parse HEAD") echo revision ;;
  "helm repo add "* | "helm upgrade --install "*) ;;
  "kubectl apply --filename "*) [ -f "$last" ] ;;
  "kubectl apply -k "*) $KUSTOMIZE "$last" > "$APPLIED" ;;
  "kubectl create namespace "* | "kubectl kustomize "* | "kubectl -n "*" get scaledobject "* | "kubectl -n "*" rollout status "*) ;;
  "kubectl create secret generic "*) [ -s "${last##*=}" ] ;;
  "kubectl get prometheus "*) echo kube-prometheus-stack ;;
  "less ") ;;
  "terraform -chdir="*" init" | "terraform -chdir="*" apply") [ -f "${1#*=}/terraform.tfvars" ] ;;
  "terraform -chdir="*" output -raw scaler_role_arn") echo arn:aws:iam::123456789012:role/scaler ;;
  "terraform -chdir="*" output -raw "*_env) cat "$SETTINGS/${last%_env}.env" ;;
  *) echo "unexpected: ${0##*/} $*" >&2; exit 1 ;;
esac
"""

# What the page has, and what a faulty page has instead. The result of some commands is lost: in a substitution, before `||` or `|`.
FAULTS = (
    ("gcloud services enable", "gcloud service enable"),
    ("gcloud artifacts repositories describe", "gcloud artifacts repository describe"),
    ("gcloud artifacts repositories create", "gcloud artifacts repositories add"),
    ("aws ecr get-login-password", "aws ecr get-password"),
    ("docker buildx create", "docker buildx add"),
    ("--metadata-file /tmp/", "--metadata /tmp/"),
    ("git rev-parse", "git revparse"),
    ("helm upgrade --install", "helm upgrade"),
    ("output -raw scaler_role_arn", "output -raw scaler_role"),
    ("kubectl kustomize", "kubectl kustomise"),
    ("kubectl get prometheus", "kubectl prometheus"),
    ("kubectl apply -k", "kubectl apply --kustomise"),
)


@dataclass(frozen=True)
class Way:
    """A way through the page, from nothing to a running program."""

    installation: overlays.Installation
    target: str
    registry: str
    blocks: tuple[str, ...]

    @property
    def script(self):
        return "".join(self.blocks)


def section(heading, end, without=()):
    """Returns the shell blocks between a heading and a text, except those with one of the other texts."""
    begin = README.index(f"\n{heading}\n")
    return tuple(block for block in shell.blocks(README[begin : README.index(end, begin)]) if not any(text in block for text in without))


def ways():
    yield Way(overlays.Installation("mini-scan", "mini-scan"), "consumer", GOOGLE, section("## From nothing to running", "### 7. "))
    (artifact_registry,) = (block for block in section("## event-pipeline", "**Image") if "gcloud artifacts " in block)
    for program, target in (("event-pipeline", "events"), ("widget-registry", "widgets")):
        there = f"## {program}", "**Smoke test**"
        yield Way(overlays.Installation(f"{program} in EKS", program), target, ECR, section(*there, without=GKE))
        managed = overlays.Installation(
            f"{program} in GKE", program, added=overlays.MANAGED_PROMETHEUS, removed=overlays.PROMETHEUS_OPERATOR
        )
        yield Way(managed, target, GOOGLE, (artifact_registry, *section(*there, without=(*EKS, "gcloud artifacts"))))


def run(way, script):
    """Runs a script in a copy of the repository. Returns what it applies, the target that it builds, and its error."""
    program = way.installation.program
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository, tools = folder / "repository", folder / "tools"
        sources.copy(repository / "infra")
        overlays.choose(repository / "infra/kubernetes/overlays/example" / program / "kustomization.yaml", way.installation)
        tools.mkdir()
        for tool in TOOLS:
            (tools / tool).write_text(STAND_IN)
            (tools / tool).chmod(0o755)
        command = overlays.kustomize()
        found = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": name,
            "DIGEST": overlays.DIGEST,
            "SETTINGS": str(overlays.SETTINGS / program),
            "KUSTOMIZE": shlex.join([shutil.which(command[0]), *command[1:]]),
            "APPLIED": f"{name}/applied",
            "TARGET": f"{name}/target",
        }
        script = "set -euo pipefail\n" + script.replace("/tmp/", f"{name}/")
        done = subprocess.run(["bash", "-c", script], cwd=repository, env=found, capture_output=True, text=True, timeout=120)
        # Bash goes on after a command that fails in a substitution or before `||`. Such a command prints an error all the same.
        if done.returncode != 0 or done.stderr:
            return None, None, done.stderr or f"exit code {done.returncode}"
        return (folder / "applied").read_text(), (folder / "target").read_text(), None


def check(way):
    what = f"the commands for {way.installation.name}"
    applied, target, error = run(way, way.script)
    expect(error is None, f"{what} fail:\n{error}")
    expect(target == way.target, f"{what} build the target {target}")
    manifests = [document for document in yaml.safe_load_all(applied) if document]
    images = {container["image"] for _, pod in overlays.pods(manifests) for container in pod["spec"]["containers"]}
    expected = {f"{way.registry}/{way.installation.program}:0.1.0@{overlays.DIGEST}"}
    expect(images == expected, f"{what} apply {images} instead of {expected}")


def check_incomplete(way):
    """Without one of the blocks that set variables, the commands must fail: nothing may come from another section."""
    for block in way.blocks:
        if "export " in block:
            _, _, error = run(way, "".join(other for other in way.blocks if other != block))
            expect(error and "unbound variable" in error, f"{way.installation.name} does not need this block:\n{block}")


def faults_are_found(found):
    for right, wrong in FAULTS:
        way = next((way for way in found if right in way.script), None)
        expect(way, f"the page has no {right!r} to replace")
        _, _, error = run(way, way.script.replace(right, wrong))
        expect(error, f"{wrong!r} is accepted for {way.installation.name}")


def main():
    for text in (*EKS, *GKE):
        expect(text in README, f"no block has {text!r}, which only one of the clusters needs")
    found = list(ways())
    for way in found:
        check(way)
        check_incomplete(way)
    faults_are_found(found)
    print(f"blocks: {len(found)} ways through infra/README.md end with the right image in the cluster, and {len(FAULTS)} faults are found")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        raise SystemExit(f"FAILED: {failure}")
