"""The files of infra without those that infra/README.md tells its reader to write: values, state and copies of overlays.

`sources.py FOLDER` copies these files to FOLDER. It plants files of a reader in a first copy and copies again, so the checks of FOLDER
fail if such files are copied too.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

INFRA = Path(__file__).resolve().parents[1]
# What Terraform and its user write in the folder of an installation.
WRITTEN = re.compile(r"\.terraform(\..*)?|.*\.tfvars(\.json)?|.*\.tfstate(\..*)?|.*\.tfplan|backend\.tf|crash\..*log|__pycache__")
OVERLAYS = Path("kubernetes/overlays")

# The tests of each example expect the defaults of these settings. It is not formatted either.
VALUES = """
changes=true
operator_service_account = { namespace = "mine", name = "mine" }
deletion_protection = false
"""
BACKEND = 'terraform {\n  backend "gcs" { bucket="my-state" }\n}\n'
PLANTED = {
    **{f"terraform/examples/{example}/terraform.tfvars": VALUES for example in ("two-clouds", "event-pipeline", "widget-registry")},
    "terraform/examples/two-clouds/backend.tf": BACKEND,
    "terraform/examples/two-clouds/terraform.tfstate": "{}",
    "terraform/examples/two-clouds/.terraform/modules/modules.json": "{}",
    "kubernetes/overlays/production/mini-scan/consumer.env": "MINI_SCAN_MISSPELLED=1\n",
    "kubernetes/overlays/production/mini-scan/servicemonitor.yaml": "kind: ServiceMonitor\nspec: { endpoints: [{ interval: 1s }] }\n",
}


def is_written(path):
    """Returns whether a reader of the README, and not this repository, writes a file. The path is below infra."""
    own_overlay = path.is_relative_to(OVERLAYS) and len(path.parts) > 2 and path.parts[2] != "example"
    return own_overlay or any(WRITTEN.fullmatch(part) for part in path.parts)


def files(folder=".", pattern="*", root=INFRA):
    """Yields the files below a folder of infra that this repository has."""
    for file in sorted((root / folder).rglob(pattern)):
        if file.is_file() and not is_written(file.relative_to(root)):
            yield file


def copy(folder, source=INFRA, below="."):
    """Copies a folder of infra, with the same paths."""
    for file in files(below, root=source):
        target = Path(folder) / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)


def main():
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        copy(source)
        for path, text in PLANTED.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
        copy(folder, source)
    copied = [path for path in PLANTED if (folder / path).exists()]
    if copied:
        sys.exit(f"files of a reader are copied: {copied}")


if __name__ == "__main__":
    main()
