"""Runs the commands of infra/README.md up to each smoke test, as its reader pastes them, with stand-ins of the tools that need a cloud.

The stand-ins print what the clouds would, and `kubectl apply -k` renders the folder. Each command must succeed, each variable must be
set, and each program must be applied with an image of its own. It needs jq and openssl.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

import overlays
from failure import CheckFailed, expect
from overlays import DIGEST, REPOSITORY, pods

README = (REPOSITORY / "infra/README.md").read_text()
GOOGLE, ECR = "europe-west1-docker.pkg.dev/my-project/images", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
TOOLS = ("aws", "docker", "gcloud", "git", "helm", "kubectl", "less", "terraform")

STAND_IN = r"""#!/bin/bash
value_of() { local flag=$1; shift; while [ "$1" != "$flag" ]; do shift; done; printf '%s' "$2"; }
last=${!#}
case "${0##*/} $*" in
  "aws sts get-caller-identity --query Account --output text") echo 123456789012 ;;
  "docker buildx inspect "*) exit 1 ;;
  "docker buildx build "*) echo "{\"containerimage.digest\": \"$DIGEST\"}" > "$(value_of --metadata-file "$@")"; value_of --target "$@" > "$TARGET" ;;
  "docker run "*" --tokens-file "*) echo digest > "$(value_of --tokens-file "$@")"; echo token ;;
  "git rev-parse HEAD") echo revision ;;
  "terraform "*" output -raw scaler_role_arn") echo arn:aws:iam::123456789012:role/scaler ;;
  "terraform "*" output -raw "*) cat "$SETTINGS/$last.env" ;;
  "kubectl get prometheus "*) echo kube-prometheus-stack ;;
  "kubectl create secret "*) [ -s "${last##*=}" ] ;;
  "kubectl apply -k "*) $KUSTOMIZE "$3" > "$APPLIED" ;;
esac
"""


@dataclass(frozen=True)
class Installation:
    """A way through the page, from nothing to a running program."""

    program: str
    target: str
    registry: str
    blocks: tuple[str, ...]


def blocks(heading, end, without=None):
    """Returns the shell blocks between a heading and a text, except those with another text."""
    begin = README.index(f"\n{heading}\n")
    found = re.findall(r"^```sh\n(.*?)^```$", README[begin : README.index(end, begin)], re.M | re.S)
    return tuple(block for block in found if without is None or without not in block)


def installations():
    yield Installation("mini-scan", "consumer", GOOGLE, blocks("## From nothing to running", "### 7. "))
    (artifact_registry,) = (block for block in blocks("## event-pipeline", "**Image") if "gcloud artifacts " in block)
    for program, target in (("event-pipeline", "events"), ("widget-registry", "widgets")):
        there = f"## {program}", "**Smoke test**"
        yield Installation(program, target, ECR, blocks(*there, without="gcloud artifacts"))
        rest = tuple(block for block in blocks(*there, without="aws ecr") if block != artifact_registry)
        yield Installation(program, target, GOOGLE, (artifact_registry, *rest))


def run(installation, script):
    """Runs a script in a copy of the repository. Returns what it applies, the target that it builds, and its error."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository, tools = folder / "repository", folder / "tools"
        ignored = shutil.ignore_patterns(".terraform*", "*.tfvars", "production")
        shutil.copytree(REPOSITORY / "infra", repository / "infra", ignore=ignored)
        tools.mkdir()
        for tool in TOOLS:
            (tools / tool).write_text(STAND_IN)
            (tools / tool).chmod(0o755)
        settings = folder / "settings"
        settings.mkdir()
        for file in (overlays.SETTINGS / installation.program).glob("*.env"):
            shutil.copy(file, settings / f"{file.stem}_env.env")
        command = overlays.kustomize()
        found = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": name,
            "DIGEST": DIGEST,
            "SETTINGS": str(settings),
            "KUSTOMIZE": shlex.join([shutil.which(command[0]), *command[1:]]),
            "APPLIED": f"{name}/applied",
            "TARGET": f"{name}/target",
        }
        script = "set -eu\n" + script.replace("/tmp/", f"{name}/")
        done = subprocess.run(["bash", "-c", script], cwd=repository, env=found, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            return None, None, done.stderr
        return (folder / "applied").read_text(), (folder / "target").read_text(), None


def check(installation):
    what = f"the commands for {installation.program} with {installation.registry}"
    applied, target, error = run(installation, "".join(installation.blocks))
    expect(error is None, f"{what} fail:\n{error}")
    expect(target == installation.target, f"{what} build the target {target}")
    manifests = [document for document in yaml.safe_load_all(applied) if document]
    images = {container["image"] for _, pod in pods(manifests) for container in pod["spec"]["containers"]}
    expected = {f"{installation.registry}/{installation.program}:0.1.0@{DIGEST}"}
    expect(images == expected, f"{what} apply {images} instead of {expected}")


def check_incomplete(installation):
    """Without one of the blocks that set variables, the commands must fail: nothing may come from another section."""
    for block in installation.blocks:
        if "export " in block:
            _, _, error = run(installation, "".join(other for other in installation.blocks if other != block))
            expect(error and "unbound variable" in error, f"{installation.program} does not need this block:\n{block}")


def main():
    ways = list(installations())
    for installation in ways:
        check(installation)
        check_incomplete(installation)
    print(f"blocks: {len(ways)} ways through infra/README.md end with the right image in the cluster")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        raise SystemExit(f"FAILED: {failure}")
