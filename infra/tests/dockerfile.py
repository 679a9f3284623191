"""Checks that the Dockerfile builds every program, and that its stage `source` prepares every crate. It only reads files.

The stage builds an empty program, so that the dependencies have their own layer. Cargo refuses a workspace without the
manifest of a crate that another one needs, and a manifest without its sources. No other check builds an image, so no
other check finds a crate that is missing there.
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def stage(dockerfile, name):
    """Returns the instructions of a stage, each on one line and without comments."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", text, re.M | re.S)
    if not found:
        sys.exit(f"Dockerfile: no stage {name}")
    return found[1].splitlines()


def needed(repository):
    """Yields the files and folders that the stage must create for each crate."""
    for manifest in sorted(repository.glob("crates/*/Cargo.toml")):
        crate = manifest.parent
        for part in ("Cargo.toml", "src", "src/lib.rs", "src/main.rs", "build.rs"):
            if (crate / part).exists():
                yield (crate / part).relative_to(repository).as_posix()


def programs(repository):
    """Returns the packages that have a program."""
    folders = [repository, *sorted(repository.glob("crates/*"))]
    return [re.search(r'^name = "(.*)"', (folder / "Cargo.toml").read_text(), re.M)[1] for folder in folders if (folder / "src/main.rs").exists()]


def faults(dockerfile, repository):
    built = re.findall(r"cargo build --package (\S+)(.*)", dockerfile)
    for program in programs(repository):
        flags = ["--no-default-features" in rest for package, rest in built if package == program]
        for production, what in ((True, "for production"), (False, "with the embedded servers")):
            # Each stage builds twice: the dependencies, then the program.
            if flags.count(production) != 2:
                yield f"Dockerfile: no stage builds {program} {what}, or not its dependencies first"
    instructions = stage(dockerfile, "source")
    copied = {source for line in instructions if line.startswith("COPY ") for source in line.split()[1:-1]}
    made = {word for line in instructions if line.startswith("RUN ") for word in line.split()[1:]}
    wanted = set(needed(repository))
    for path in sorted(wanted):
        found = copied if path.endswith("Cargo.toml") else made
        if path not in found:
            verb = "copy" if found is copied else "create"
            yield f"Dockerfile: stage source does not {verb} {path}. Without it, no image can be built"
    for path in sorted(path for path in copied | made if path.startswith("crates/")):
        if path not in wanted:
            yield f"Dockerfile: stage source names {path}, which does not exist"


def main():
    found = list(faults((REPOSITORY / "Dockerfile").read_text(), REPOSITORY))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
