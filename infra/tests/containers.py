"""Builds every image of the Dockerfile, runs it, and starts every profile of docker-compose.yml.

`make check-containers` calls it. It needs docker with compose, or podman with buildah and podman-compose, and uses the first
that is complete. These variables change what it does:

  CONTAINER_ENGINE         docker or podman
  CONTAINER_BUILD_OPTIONS  more options of `docker build` or `buildah build`, e.g. volumes with downloaded crates
  CONTAINER_PULL=never     uses the base images and servers that are there, and does not ask a registry
"""

import contextlib
import os
import signal
import sys
import time

import containers_profiles as profiles
from containers_engine import Failed, Missing, find
from containers_images import NAME, REPOSITORY, Compiled, base_image, build, check_contents, check_runs, check_settings, images
from containers_stack import Stack

not_run = []


def say(text):
    print(f"containers: {text}", flush=True)


def skip(what):
    not_run.append(what)
    say(f"NOT RUN: {what}")


@contextlib.contextmanager
def step(what):
    """Prints how long a step took. The step may add details to the list that it gets."""
    start, details = time.monotonic(), []
    try:
        yield details
    except Failed as failed:
        say(f"{what}: FAILED after {time.monotonic() - start:.0f} s\n{failed}")
        sys.exit(1)
    more = "".join(f", {detail}" for detail in details if detail)
    say(f"{what}: passed ({time.monotonic() - start:.0f} s{more})")


def check_images(engine):
    compiled = Compiled()
    found = images()
    for image in found:
        with step(f"building {image.name} (target {image.target})"):
            build(engine, image, compiled)
    with step("dependencies compiled once per set of features") as details:
        details.append(compiled.check())
    for image in found:
        with step(f"{image.name}, user, labels and size") as details:
            details.append(check_settings(engine, image))
        with step(f"{image.name}, files") as details:
            details.append(check_contents(engine, image, base_image()))
        with step(f"{image.name}, read-only and without privileges"):
            check_runs(engine, image)


def check_stack(engine, what, check, *names, needs=(), **options):
    """Starts the profiles, checks what must work with them, presses Ctrl-C, and removes them."""
    with step(f"{what}, images of servers"):
        stack = Stack(engine, names, **options)
    if lacking := [service for service in needs if service not in stack.services]:
        skip(f"{what}: the images of {', '.join(lacking)} are not available ({', '.join(stack.unavailable)})")
        return
    for image in stack.unavailable:
        skip(f"{what}, the service of {image}: the image is not available")
    with contextlib.ExitStack() as stopping:
        with step(f"{what}, start"):
            stopping.enter_context(stack)
            stack.check_privileges()
        with step(f"{what}: {check.__doc__.splitlines()[0].rstrip('.')}"):
            killed = check(stack) or []
        with step(f"{what}, Ctrl-C and exit codes"):
            stack.interrupt(killed)
        with step(f"{what}, nothing is left"):
            stack.down()


def everything(stack):
    """Every profile at once, and no alert."""
    for check in (profiles.api, profiles.changes, profiles.webhooks, profiles.events):
        check(stack)
    profiles.widgets(stack, port=os.environ["WIDGETS_PORT"])
    profiles.observe(stack)


def check_stacks(engine):
    servers = ("pubsub", "dynamodb")
    check_stack(engine, "docker-compose.yml, five consumers", profiles.consumers, needs=servers, scale={"consumer": 5})
    for check in (profiles.api, profiles.changes, profiles.webhooks):
        check_stack(engine, f"profile {check.__name__}", check, check.__name__, needs=servers)
    check_stack(engine, "docker-compose.events.yml", profiles.events, "events", file="docker-compose.events.yml")
    check_stack(engine, "docker-compose.widgets.yml", profiles.widgets, "widgets", file="docker-compose.widgets.yml")
    observers = (*servers, "prometheus")
    check_stack(engine, "profile observe", profiles.observe, "observe", needs=observers, scale={"consumer": 2})
    # Both the API and widget-registry have port 8080.
    os.environ["WIDGETS_PORT"] = "8082"
    every = ("api", "changes", "webhooks", "events", "widgets", "observe")
    check_stack(engine, "all profiles", everything, *every, needs=observers)


def main():
    os.chdir(REPOSITORY)
    # A container that is still running must not outlive a terminated check.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.monotonic()
    try:
        engine = find()
    except Missing as missing:
        sys.exit(print(f"NOT RUN: make check-containers, because no container engine is complete: {missing}"))
    say(f"engine {engine.name}")
    try:
        check_images(engine)
        check_stacks(engine)
    finally:
        engine.remove(NAME)
    say(f"passed after {time.monotonic() - start:.0f} s. Not run on this machine:{'' if not_run else ' nothing'}")
    for what in not_run:
        print(f"  {what}")


if __name__ == "__main__":
    main()
