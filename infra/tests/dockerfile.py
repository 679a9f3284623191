"""Checks that the Dockerfile builds every program, and that its stage `source` prepares every crate. It only reads files.

The stages after it build empty programs, so that the dependencies have their own layer. Cargo refuses a workspace without
the manifest of a crate that another one needs, and a manifest without its sources. `make check-containers` finds the same
within an hour.
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


def selected(dockerfile):
    """Returns the packages that every build selects, so that all builds compile dependencies with the same features."""
    alias = re.search(r'^ENV CARGO_ALIAS_BUILD_PROGRAMS="build --locked (.*)"$', dockerfile, re.M)
    return re.findall(r"--package (\S+)", alias[1]) if alias else []


def builds(dockerfile):
    """Yields the base of each stage that builds something, whether it leaves out the embedded servers, and what it builds."""
    for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.M):
        for line in stage(dockerfile, name):
            if command := re.search(r"cargo (build\S*) (.*)", line):
                what = re.search(r"--bins|--bin \S+", command[2])
                yield base, command[1], "--no-default-features" in command[2], what[0] if what else "everything"


def faults(dockerfile, repository):
    known = programs(repository)
    if sorted(selected(dockerfile)) != sorted(known):
        yield f"Dockerfile: CARGO_ALIAS_BUILD_PROGRAMS selects {selected(dockerfile)}, and the programs are {known}"
    wanted = {("source", "build-programs", True, "--bins"), ("source", "build-programs", False, "--bins")}
    wanted |= {("production", "build-programs", True, f"--bin {program}") for program in known}
    wanted |= {("with-servers", "build-programs", False, f"--bin {program}") for program in known}
    found = list(builds(dockerfile))
    for base, command, production, what in sorted(wanted - set(found)):
        features = " --no-default-features" if production else ""
        yield f"Dockerfile: no stage from {base} runs cargo {command} {what}{features}"
    for build in found:
        if build not in wanted:
            base, command, _, what = build
            yield f"Dockerfile: a stage from {base} runs cargo {command} {what}, which would compile dependencies again"
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
