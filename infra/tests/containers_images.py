"""Checks the images of the Dockerfile: what they contain, and that they run without privileges."""

import os
import re
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from containers_engine import PROJECT, Failed

REPOSITORY = Path(__file__).resolve().parents[2]
REVISION = "check-containers"
NAME = f"check-containers-{os.getpid()}"
USER = 65532
# What `docker compose` and production use. The programs never need more.
UNPRIVILEGED = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")
# Finds the containers of an interrupted check.
LABELED = ("--label", f"{PROJECT}={NAME}")
# Shells, package managers and what else helps an intruder.
TOOLS = {"sh", "bash", "dash", "ash", "busybox", "apt", "apt-get", "dpkg", "apk", "rpm"}
TOOLS |= {"curl", "wget", "python3", "perl", "gcc", "cargo"}
# Texts of the engine of the embedded DynamoDB: its file format, and the folder of its source.
ENGINES = (b"SQLite format 3", b"/dynoxide-rs-")
# Commands that only programs with the embedded servers have.
LOCAL_COMMANDS = ("demo", "local")
# Bounds in MB, with the profile `release`, which keeps symbols.
LARGEST = {"production": 80, "local": 100}


@dataclass(frozen=True)
class Image:
    """An image that a compose file builds."""

    name: str
    target: str
    arguments: tuple

    @property
    def is_local(self):
        return self.target.endswith("local")

    @property
    def program(self):
        return {"events": "event-pipeline", "widgets": "widget-registry"}.get(self.target.split("-")[0], "mini-scan")


def stages(dockerfile):
    """Returns the stages of the Dockerfile by name, each with its base."""
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.M)}


def images():
    """Returns what the compose files build. It must be every final stage of the Dockerfile, each once."""
    found = []
    for file in sorted(REPOSITORY.glob("docker-compose*.yml")):
        for service in yaml.safe_load(file.read_text())["services"].values():
            if build := service.get("build"):
                found.append(Image(service["image"], build["target"], tuple(build.get("args", {}).items())))
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    bases = set(stages(dockerfile).values()) | set(re.findall(r"--from=(\S+)", dockerfile))
    final = sorted(stages(dockerfile).keys() - bases)
    if sorted(image.target for image in found) != final:
        raise Failed(f"compose files build {sorted(image.target for image in found)}, and the Dockerfile has {final}")
    return found


def base_image():
    return stages((REPOSITORY / "Dockerfile").read_text())["base"]


# The name of a crate in the output of cargo, and the folder of a crate of this workspace.
COMPILED = re.compile(r"Compiling (\S+ v\S+)( \(/build\S*\))?")


class Compiled:
    """Counts what the builds compile. A cached layer compiles nothing."""

    def __init__(self):
        self.dependencies = Counter()

    def add(self, log, features):
        """Counts the dependencies in the log of a build with these features."""
        self.dependencies.update((crate, features) for crate, folder in COMPILED.findall(log) if not folder)

    def check(self):
        """Fails if a dependency was compiled twice with the same features."""
        if again := sorted({crate for (crate, _), times in self.dependencies.items() if times > 1}):
            raise Failed(f"{len(again)} dependencies were compiled again for another image: {', '.join(again)}")
        if not self.dependencies:
            return "all came from the cache"
        sets = Counter(features for _, features in self.dependencies)
        return ", ".join(f"{count} {features}" for features, count in sorted(sets.items()))


def build(engine, image, compiled):
    log = engine.build(image.target, image.name, {**dict(image.arguments), "REVISION": REVISION})
    compiled.add(log, "with embedded servers" if image.is_local else "for production")


def contents(engine, image):
    """Yields the type, the path and a reader of each file of an image."""
    container = engine("create", *LABELED, image, "/nothing").strip()
    try:
        with tempfile.TemporaryDirectory() as folder:
            engine("export", "--output", f"{folder}/files.tar", container, seconds=300)
            with tarfile.open(f"{folder}/files.tar") as archive:
                for member in archive:
                    yield member, (lambda member=member: archive.extractfile(member).read())
    finally:
        engine("rm", container)


def check_contents(engine, image, base):
    """The image adds exactly its program to the base image, which has no tools."""
    expected = {member.name for member, _ in contents(engine, base)}
    path = f"usr/local/bin/{image.program}"
    added, program = [], b""
    for member, read in contents(engine, image.name):
        if Path(member.name).name in TOOLS and not member.isdir():
            raise Failed(f"{image.name} contains /{member.name}")
        if member.isfile() and member.mode & 0o6000:
            raise Failed(f"/{member.name} in {image.name} runs as its owner (setuid or setgid)")
        if not member.isdir() and member.name not in expected:
            added.append(member.name)
        if member.name == path:
            program = read()
    if added != [path]:
        raise Failed(f"{image.name} adds {added} to its base image, and not only {path}")
    engines = [text.decode() for text in ENGINES if text in program]
    if image.is_local != bool(engines):
        raise Failed(f"the program in {image.name} contains these texts of an embedded server: {engines}")
    return f"program of {len(program) / 1e6:.0f} MB"


def check_settings(engine, image):
    """The image has a bounded size, a user without privileges, labels and the program as its entrypoint."""
    [inspected] = engine.inspect(image.name)
    config, size = inspected["Config"], inspected["Size"] / 1e6
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in (config["Labels"] or {}).items()}
    wanted = {"title": image.program, "revision": REVISION, "licenses": "Apache-2.0"}
    faults = [f"label {name} is {labels.get(name)}, not {value}" for name, value in wanted.items() if labels.get(name) != value]
    faults += [f"label {name} is missing" for name in ("description", "version", "source") if not labels.get(name)]
    if config["User"] != f"{USER}:{USER}":
        faults.append(f"the user is {config['User']}")
    if config["Entrypoint"] != [f"/usr/local/bin/{image.program}"]:
        faults.append(f"the entrypoint is {config['Entrypoint']}")
    if size > LARGEST["local" if image.is_local else "production"]:
        faults.append(f"the size is {size:.0f} MB")
    if faults:
        raise Failed(f"{image.name}: {', '.join(faults)}")
    return f"{size:.0f} MB"


def check_runs(engine, image):
    """The program prints its help and version. It has the commands of its features, and the demo runs."""
    unprivileged = ["run", *UNPRIVILEGED, *LABELED, image.name]
    engine(*unprivileged, "--help")
    version = engine(*unprivileged, "--version")
    if REVISION not in version or ("local" in version) != image.is_local:
        raise Failed(f"--version of {image.name} prints:\n{version}")
    for command in LOCAL_COMMANDS:
        # 2 is the exit code for wrong usage.
        engine(*unprivileged, command, "--help", expected=(0,) if image.is_local else (2,))
    if image.is_local:
        # Without arguments, it runs the demo.
        engine(*unprivileged, seconds=600)


