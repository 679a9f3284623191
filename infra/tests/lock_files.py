"""Checks that each committed lock file of Terraform has the checksums of every provider for every platform.

`terraform init` writes the checksum of the archive for this platform only. On another platform, an installation from a
mirror or a cache then fails.
"""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = ".terraform.lock.hcl"
PLATFORMS = ["linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64"]
COMMAND = " ".join(["terraform providers lock", *(f"-platform={platform}" for platform in PLATFORMS)])


def incomplete(text):
    """Yields the providers of a lock file without a checksum (h1) for each platform and those that their authors have signed (zh)."""
    providers = re.findall(r'^provider "([^"]+)" \{(.*?)^\}', text, re.DOTALL | re.MULTILINE)
    if not providers:
        yield "no provider"
    for provider, body in providers:
        checksums, signed = (len(set(re.findall(rf'"{kind}:[^"]+"', body))) for kind in ("h1", "zh"))
        if checksums < len(PLATFORMS) or signed < len(PLATFORMS):
            yield f"{provider} has {checksums} checksums h1 and {signed} zh, and {len(PLATFORMS)} platforms need one of each"


def partial_files_are_found():
    """The check must be able to fail, also while no lock file is committed."""

    def locked(checksums, signed):
        hashes = [f'"h1:{number}=",' for number in range(checksums)] + [f'"zh:{number}",' for number in range(signed)]
        return 'provider "registry.terraform.io/hashicorp/aws" {\n  hashes = [\n' + "\n".join(hashes) + "\n  ]\n}\n"

    assert not list(incomplete(locked(4, 15)))
    assert list(incomplete(locked(1, 15))), "one platform"
    assert list(incomplete(locked(4, 0))), "from a mirror"
    assert list(incomplete("")), "no provider"


def main():
    partial_files_are_found()
    listed = subprocess.run(["git", "ls-files", "-z", f"*{NAME}"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    files = [Path(name) for name in listed.stdout.split("\0") if Path(name).name == NAME]
    faults = [f"{file}: {fault}" for file in files for fault in incomplete((REPOSITORY / file).read_text())]
    if faults:
        sys.exit("\n".join([*faults, f"Run this in the folder of the file, with access to the registry: {COMMAND}"]))
    print(f"{len(files)} lock files are complete")


if __name__ == "__main__":
    main()
