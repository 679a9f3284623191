"""Checks the commands of the README and the runbooks that need a cluster, against the rendered manifests.

The objects that they name must exist. `kubectl logs` must show more than the last lines, and `jq` must pass over lines that are no
JSON. The functions that start a Job with other arguments run with a stand-in of kubectl, if jq is installed.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import overlays
import shell
from failure import CheckFailed, expect

KINDS = {"cronjob": "CronJob", "deploy": "Deployment", "deployment": "Deployment", "service": "Service", "scaledobject": "ScaledObject"}
# The functions of the pages, each with what it writes before its arguments.
FUNCTIONS = {"dead_letters": ["dead-letters"], "changes_dead": ["changes", "dead"], "operator": [], "webhooks": ["webhooks"]}

# Answers `create job … --dry-run=client`, prints what is applied to a file, and pretends that the Job has ended.
KUBECTL = """#!/bin/sh
case "$*" in
  *"create job"*) cat "$JOB" ;;
  *apply*) cat > "$APPLIED" ;;
  *"get job"*) echo Complete ;;
  *logs*) echo logs ;;
esac
"""


def named(lines):
    """Yields the kind, the namespace and the name of each object in the commands."""
    for line in lines:
        for namespace in re.findall(r"kubectl -n ([\w-]+) ", line)[:1]:
            for kind, name in re.findall(r"\b(cronjob|deploy|deployment|service)/([\w-]+)", line):
                yield KINDS[kind], namespace, name
            for name in re.findall(r"\bscaledobject ([\w-]+)", line):
                yield KINDS["scaledobject"], namespace, name


def check_page(page, known):
    """Returns how many objects the commands of a page name."""
    lines = shell.lines((shell.REPOSITORY / page).read_text())
    objects = list(named(lines))
    ours = {namespace for _, namespace, _ in known}
    for kind, namespace, name in objects:
        expect(namespace not in ours or (kind, namespace, name) in known, f"{page}: there is no {kind} {name} in {namespace}")
    for line in lines:
        expect("kubectl run" not in line, f"{page}: the namespaces refuse the pod of `kubectl run`: {line}")
        for command in re.findall(r"kubectl -n [^|`]*\blogs\b[^|`]*", line):
            # With a selector, kubectl shows ten lines of each pod.
            expect("--tail=-1" in command or " -l " not in command, f"{page}: {command} does not show all lines")
            expect("--previous" not in command or "--previous POD" in command, f"{page}: {command} names no pod")
        if re.search(r"\blogs\b.*\| jq", line):
            expect("jq -R 'fromjson? " in line, f"{page}: a line that is no JSON ends jq: {line}")
    return len(objects)


def arguments(name, words, job):
    """Runs a function of a page with a stand-in of kubectl. Returns the arguments of the Job that it applies."""
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / "kubectl"
        stand_in.write_text(KUBECTL)
        stand_in.chmod(0o755)
        (Path(folder) / "job").write_text(json.dumps(job))
        applied = Path(folder) / "applied"
        found = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "JOB": f"{folder}/job", "APPLIED": str(applied)}
        script = f'{shell.functions()[name]}\n{name} "$@"'
        done = subprocess.run(["bash", "-c", script, name, *words], env=found, capture_output=True, text=True, timeout=60)
        expect((done.returncode, done.stdout) == (0, "logs\n"), f"{name} failed:\n{done.stdout}{done.stderr}")
        return json.loads(applied.read_text())["spec"]["template"]["spec"]["containers"][0]["args"]


def check_functions(jobs):
    """Calls each function as the page does, and expects these arguments in the Job."""
    functions = shell.functions()
    expect(functions.keys() == FUNCTIONS.keys(), f"the pages have the functions {sorted(functions)}")
    for name, before in FUNCTIONS.items():
        namespace, cronjob = re.search(r"kubectl -n (\S+) create job .* --from=cronjob/(\S+)", functions[name]).groups()
        template = jobs[namespace, cronjob]["spec"]["jobTemplate"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": template["spec"]}
        words = ["redrive", "--reason", "invalid_port", "--limit", "10", "with space"]
        found = arguments(name, ["redrive-1", *words], job)
        expect(found == before + words, f"the function {name} starts a Job with {found}")


def main():
    manifests = []
    for installation in overlays.INSTALLATIONS:
        with overlays.copied(installation) as overlay:
            manifests += overlays.documents(overlay)
    known = {(manifest["kind"], manifest["metadata"].get("namespace"), manifest["metadata"]["name"]) for manifest in manifests}
    count = sum(check_page(page, known) for page in shell.PAGES)
    expect(count > 20, f"only {count} objects were found in the commands")
    if shutil.which("jq"):
        check_functions({(job["metadata"]["namespace"], job["metadata"]["name"]): job for job in overlays.of_kind(manifests, "CronJob")})
    print(f"commands: {count} objects exist, and the logs are complete")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        raise SystemExit(f"FAILED: {failure}")
