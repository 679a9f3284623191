"""Starts the services of compose files with some profiles, kills and stops them, and removes what is left."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from compose import services
from containers_engine import SERVICE, Failed, run
from containers_images import NAME, REPOSITORY, USER

COMPLETED = "service_completed_successfully"


def until(what, look, seconds, every=0.5):
    """Calls `look` until it returns a true value, and returns that value."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := look():
            return answer
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(every)


def published(ports):
    """Returns the loopback ports of this machine that a service publishes."""
    found = []
    for port in ports:
        # A variable has its default value, unless the environment sets it.
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: os.environ.get(match[1]) or match[2], port)
        if not (match := re.fullmatch(r"127\.0\.0\.1:(\d+):\d+", text)):
            raise Failed(f"the published port {port} is not on 127.0.0.1 alone")
        found.append(int(match[1]))
    return found


def is_free(port):
    with socket.socket() as listener:
        # The last connections of an earlier stack may still be closing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Stack:
    """The services of some profiles, in a project of their own."""

    def __init__(self, engine, profiles=(), file="docker-compose.yml", scale=None):
        self.engine = engine
        self.project = NAME
        self.scale = scale or {}
        self.file = file
        self.profiles = profiles
        known = services(REPOSITORY / file)
        chosen = {"", *profiles}
        selected = {name: service for name, service in known.items() if chosen & set(service.get("profiles", [""]))}
        images = {image: engine.has(image) for image in {service["image"] for service in selected.values()}}
        # Services whose image is not available, e.g. without a registry.
        self.unavailable = sorted({service["image"] for service in selected.values() if not images[service["image"]]})
        self.services = {name: service for name, service in selected.items() if images[service["image"]]}
        built = {service["image"] for service in known.values() if "build" in service}
        self.ours = {name for name, service in self.services.items() if service["image"] in built}
        conditions = [needs for service in selected.values() for needs in service.get("depends_on", {}).items()]
        self.jobs = {name for name, needs in conditions if needs["condition"] == COMPLETED}
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.attached = None
        self.started = None

    def command(self, *arguments):
        profiles = [option for profile in self.profiles for option in ("--profile", profile)]
        return [*self.engine.compose, "--project-name", self.project, "--file", self.file, *profiles, *arguments]

    def compose(self, *arguments, **options):
        return run(self.command(*arguments), **options)

    def __enter__(self):
        ports = [port for service in self.services.values() for port in published(service.get("ports", []))]
        if busy := [port for port in ports if not is_free(port)]:
            raise Failed(f"other programs use these ports of 127.0.0.1: {busy}. Stop them first")
        self.started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, error, _trace):
        """Shows the last lines of each service after a failure, and removes everything."""
        # A step that failed ends the check.
        if isinstance(error, (Failed, SystemExit)):
            self.show()
        if self.attached and self.attached.poll() is None:
            self.attached.kill()
            self.attached.wait()
        try:
            self.engine.remove(self.project)
        finally:
            self.log.close()

    def show(self):
        for container in self.engine.containers(self.project):
            name, state = container["Name"].lstrip("/"), container["State"]
            print(f"--- {name}: {state['Status']}, exit code {state['ExitCode']}")
            print(self.engine("logs", "--tail", "15", container["Id"], expected=(), errors=True).rstrip())

    # --- start ---

    def up(self, *options, services_=()):
        scale = [option for name, count in self.scale.items() if name in services_ for option in ("--scale", f"{name}={count}")]
        return self.command("up", *options, *scale, *services_)

    def attach(self, *options, services_):
        """Runs `up` in the foreground, as a person does."""
        process = {"stdout": self.log, "stderr": subprocess.STDOUT, "start_new_session": True}
        self.attached = subprocess.Popen(self.up(*options, services_=services_), **process)

    def start(self):
        if self.engine.orders_services:
            self.attach("--no-build", services_=sorted(self.services))
        begun = set()
        until("all services run or have finished", lambda: self.proceed(begun), seconds=180)
        if not self.engine.orders_services:
            # The jobs are left out, because this would run them again.
            running = sorted(self.services.keys() - self.jobs)
            count = sum(self.scale.get(name, 1) for name in running)
            self.attach("--no-deps", services_=running)
            until("compose is attached to all containers", lambda: self.children() >= count, seconds=60)

    def children(self):
        """Returns the number of processes that compose in the foreground has started."""
        return len(Path(f"/proc/{self.attached.pid}/task/{self.attached.pid}/children").read_text().split())

    def proceed(self, begun):
        """Starts what can be started, unless the engine does. Returns whether the stack is complete."""
        if self.attached and self.attached.poll() is not None:
            raise Failed(f"compose exited with {self.attached.returncode}:\n{Path(self.log.name).read_text()[-4000:]}")
        containers = self.containers()
        complete = {name for name in self.services if self.is_complete(name, containers.get(name, []))}
        if not self.engine.orders_services:
            ready = [name for name in self.services if name not in begun and self.needed(name) <= complete]
            if ready:
                self.compose(*self.up("--detach", "--no-deps", services_=ready)[len(self.command()) :])
                begun.update(ready)
        return complete == self.services.keys()

    def needed(self, name):
        return self.services[name].get("depends_on", {}).keys()

    def containers(self):
        """Returns the containers of each service."""
        found = {}
        for container in self.engine.containers(self.project):
            found.setdefault(container["Config"]["Labels"][SERVICE], []).append(container)
        return found

    def is_complete(self, name, containers):
        """Returns whether a job has succeeded, or every instance of a service runs and is healthy."""
        for container in containers:
            state = container["State"]
            if state["Status"] in ("exited", "stopped") and (state["ExitCode"] != 0 or name not in self.jobs):
                raise Failed(f"{container['Name']} exited with {state['ExitCode']}")
        if len(containers) != self.scale.get(name, 1):
            return False
        if name in self.jobs:
            return all(container["State"]["Status"] in ("exited", "stopped") for container in containers)
        running = all(container["State"]["Status"] == "running" for container in containers)
        return running and ("healthcheck" not in self.services[name] or all(map(self.engine.is_healthy, containers)))

    # --- while it runs ---

    def logs(self, service):
        return "".join(self.engine("logs", container["Id"], errors=True) for container in self.containers()[service])

    def run(self, service, *arguments, **options):
        """Runs a command in a new container of a service."""
        return self.compose("run", "--rm", "--no-deps", "-T", service, *arguments, **options)

    def check_privileges(self):
        """Every one of our processes runs as a user without capabilities, and on a read-only file system."""
        ours = (container for service, found in self.containers().items() if service in self.ours for container in found)
        for container in ours:
            name = container["Name"].lstrip("/")
            if not container["HostConfig"]["ReadonlyRootfs"]:
                raise Failed(f"the file system of {name} is writable")
            status = Path(f"/proc/{container['State']['Pid']}/status")
            # An engine in a virtual machine has no processes here.
            if container["State"]["Status"] != "running" or not status.exists():
                continue
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            capabilities = int(fields["CapEff"], 16) | int(fields["CapBnd"], 16)
            # A rootless engine maps the user to another one, which is not root either.
            if fields["NoNewPrivs"].strip() != "1" or capabilities or fields["Uid"].split()[1] == "0":
                found = {key: fields[key].strip() for key in ("Uid", "CapEff", "CapBnd", "NoNewPrivs")}
                raise Failed(f"{name} does not run without privileges as user {USER}: {found}")

    def kill(self, service):
        """Kills one instance of a service with SIGKILL, and returns its name."""
        container = self.containers()[service][0]
        self.engine("kill", "--signal", "KILL", container["Id"])
        return container["Name"].lstrip("/")

    # --- stop ---

    def interrupt(self, killed=()):
        """Stops everything by Ctrl-C, and checks each exit code."""
        self.attached.send_signal(signal.SIGINT)
        try:
            code = self.attached.wait(timeout=90)
        except subprocess.TimeoutExpired:
            raise Failed("compose runs for 90 s after Ctrl-C") from None
        # 130 means an end by SIGINT, which newer versions of compose return.
        if code not in (0, 130):
            raise Failed(f"compose exited with {code} after Ctrl-C:\n{Path(self.log.name).read_text()[-4000:]}")
        stopped = set()
        for name, service, code in self.engine.exit_codes(self.project, self.started):
            if service in self.ours and code != (137 if name in killed else 0):
                raise Failed(f"{name} exited with {code}")
            stopped.add(service)
        if missing := self.ours - stopped:
            raise Failed(f"no exit code of {sorted(missing)}")

    def down(self):
        """Removes the stack as a person does, and checks that nothing is left."""
        self.compose("down", "--volumes", errors=True)
        if left := self.engine.left(self.project):
            raise Failed(f"`{shlex.join(self.engine.compose)} down --volumes` leaves {left}")
