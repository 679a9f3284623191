"""A container engine with compose: docker, or podman with buildah and podman-compose. It must not know our images."""

import json
import os
import shlex
import shutil
import subprocess

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


class Failed(Exception):
    """A check found a fault."""


class Missing(Exception):
    """No engine is complete. The text names what is missing."""


def run(command, seconds=120, environment=None, stdin=None, expected=(0,), errors=False):
    """Runs a command to its end and returns its output, with `errors` also what it wrote to stderr.

    Any exit code but those in `expected` is a failure.
    """
    settings = {**os.environ, **(environment or {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if errors else subprocess.PIPE}
    try:
        done = subprocess.run(command, env=settings, input=stdin, text=True, errors="replace", timeout=seconds, **streams)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"") + (error.stderr or b"")
        raise Failed(f"{shlex.join(command)} took longer than {seconds} s:\n{output.decode(errors='replace')}") from None
    if expected and done.returncode not in expected:
        raise Failed(f"{shlex.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr or ''}")
    return done.stdout


def answers(*command):
    """Returns whether a command exists and succeeds."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True, timeout=60).returncode == 0


class Engine:
    """Runs containers. `name` is the command line, and `compose` the command of compose."""

    def __init__(self, name, compose):
        self.name = name
        self.compose = compose
        self.may_pull = os.environ.get("CONTAINER_PULL") != "never"

    def __call__(self, *arguments, **options):
        return run([self.name, *arguments], **options)

    def build(self, target, image, arguments):
        """Builds an image, and returns the log."""
        settings = [option for name, value in arguments.items() for option in ("--build-arg", f"{name}={value}")]
        options = shlex.split(os.environ.get("CONTAINER_BUILD_OPTIONS", ""))
        # Two hours are enough for the profile `dist` on two cores.
        command = [*self.build_command, "--target", target, "--tag", image, *settings, *options, "."]
        return run(command, seconds=7200, errors=True)

    def has(self, image):
        """Returns whether an image is there, after an attempt to pull it."""
        if answers(self.name, "image", "inspect", image):
            return True
        return self.may_pull and subprocess.run([self.name, "pull", image], capture_output=True, timeout=1200).returncode == 0

    def inspect(self, *names):
        return json.loads(self("inspect", *names)) if names else []

    def containers(self, project):
        """Returns the containers of a project of compose, also those that exited."""
        return self.inspect(*self("ps", "--all", "--quiet", "--filter", f"label={PROJECT}={project}").split())

    def left(self, project):
        """Returns the names of what a project has left behind."""
        label = ["--filter", f"label={PROJECT}={project}", "--format", "{{.Name}}"]
        found = [container["Name"].lstrip("/") for container in self.containers(project)]
        found += self("network", "ls", *label).split()
        return found + self("volume", "ls", *label).split()

    def remove(self, project):
        """Removes by force whatever a project has left behind."""
        for container in self.containers(project):
            self("rm", "--force", "--volumes", container["Id"], expected=())
        for kind in ("network", "volume"):
            names = self(kind, "ls", "--filter", f"label={PROJECT}={project}", "--format", "{{.Name}}").split()
            for name in names:
                self(kind, "rm", "--force", name, expected=())


class Docker(Engine):
    # Compose waits for the dependencies of a service itself.
    orders_services = True
    build_command = ("docker", "build", "--progress", "plain")

    def __init__(self):
        super().__init__("docker", ["docker", "compose"])

    @staticmethod
    def missing():
        if not answers("docker", "info"):
            return ["docker does not answer"]
        return [] if answers("docker", "compose", "version") else ["docker compose is missing"]

    def is_healthy(self, container):
        return container["State"].get("Health", {}).get("Status") == "healthy"

    def exit_codes(self, project, _since):
        """Returns the name, the service and the exit code of each container that exited."""
        for container in self.containers(project):
            yield container["Name"].lstrip("/"), container["Config"]["Labels"][SERVICE], container["State"]["ExitCode"]


class Podman(Engine):
    # Podman 4 cannot wait for health, and starts finished dependencies again.
    orders_services = False
    build_command = ("buildah", "build", "--layers")

    def __init__(self):
        super().__init__("podman", ["podman-compose"])

    @staticmethod
    def missing():
        found = [f"{name} is missing" for name in ("podman", "buildah", "podman-compose") if shutil.which(name) is None]
        return found or ([] if answers("podman", "info") else ["podman does not answer"])

    def is_healthy(self, container):
        """Runs the health check, because podman leaves that to timers of systemd."""
        return answers("podman", "healthcheck", "run", container["Id"])

    def exit_codes(self, project, since):
        """Returns the same as that of docker, from the events: Ctrl-C also removes the containers."""
        lines = self("events", "--stream=false", "--since", since, "--filter", "event=died", "--format", "json", seconds=30)
        for event in map(json.loads, lines.splitlines()):
            labels = event.get("Attributes") or {}
            # The containers of single images have no service. They may have exited in the second in which the stack started.
            if labels.get(PROJECT) == project and SERVICE in labels:
                yield event["Name"], labels[SERVICE], event.get("ContainerExitCode", 0)


def find():
    """Returns the engine that CONTAINER_ENGINE names, or the first one that is complete."""
    engines = {"docker": Docker, "podman": Podman}
    names = [os.environ["CONTAINER_ENGINE"]] if "CONTAINER_ENGINE" in os.environ else list(engines)
    missing = []
    for name in names:
        if name not in engines:
            raise Failed(f"CONTAINER_ENGINE={name}: it must be docker or podman")
        if not (found := engines[name].missing()):
            return engines[name]()
        missing += found
    raise Missing(", ".join(missing))
