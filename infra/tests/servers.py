"""Local servers and programs for these checks. Each one listens on a free loopback port and is stopped at the end."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from failure import CheckFailed

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("MINI_SCAN", str(REPOSITORY / "target/debug/mini-scan"))
EVENT_PIPELINE = os.environ.get("EVENT_PIPELINE", str(REPOSITORY / "target/debug/event-pipeline"))
WIDGET_REGISTRY = os.environ.get("WIDGET_REGISTRY", str(REPOSITORY / "target/debug/widget-registry"))


def until(what, look, seconds=60):
    """Calls `look` until it returns a true value, and returns that value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.1)
    raise CheckFailed(f"timed out after {seconds} s: {what}")


@contextlib.contextmanager
def running(command, environment=None):
    """Runs a process, yields it and its log file, and stops it at the end."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        settings = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=settings)
        try:
            yield process, Path(log.name)
        finally:
            stop(process)


def stop(process):
    """Stops a process, by force after 40 s. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def address(process, log):
    """Returns the address that a server with a free port has printed."""

    def look():
        if process.poll() is not None:
            raise CheckFailed(f"the server exited:\n{log.read_text()}")
        return re.search(r"127\.0\.0\.1:\d+", log.read_text())

    return until("the server prints its port", look)[0]


@contextlib.contextmanager
def aws():
    """Runs a local AWS and yields its URL."""
    moto = Path(sys.executable).with_name("moto_server")
    with running([moto, "--host", "127.0.0.1", "--port", "0"]) as (process, log):
        yield f"http://{address(process, log)}"


@contextlib.contextmanager
def pubsub():
    """Runs the embedded Pub/Sub server and yields its host and port."""
    with running([PROGRAM, "local", "pubsub", "--port", "0"]) as (process, log):
        yield address(process, log)


@contextlib.contextmanager
def subscribed(settings, operator=None):
    """Subscribes a receiver to all changes. Yields the settings of a reader that delivers, and the log of the receiver.

    The receiver verifies signatures. It fails for a second, so that webhooks are stored and retried. `operator` has the
    settings of who creates the subscription.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".key") as key:
        key.write(base64.b64encode(os.urandom(32)).decode())
        key.flush()
        target = f"127.0.0.1:{free_port()}"
        guard = {"MINI_SCAN_SECRET_KEY_FILE": key.name, "MINI_SCAN_ALLOW_HTTP": "true", "MINI_SCAN_ALLOW_TARGET": target}
        add = [PROGRAM, "webhooks", "add", "--json", "--url", f"http://{target}/"]
        added = json.loads(run(add, {**(operator or settings), **guard}))
        receiver = [PROGRAM, "webhooks", "sink", "--json", "--listen", target, "--fail-for", "1s"]
        with running(receiver, {"MINI_SCAN_SINK_SECRET": added["secret"]}) as (process, log):
            address(process, log)
            yield {**settings, **guard, "MINI_SCAN_WEBHOOKS": "true"}, log


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def received(log):
    """Returns the bodies of the webhooks that the receiver accepted."""
    lines = [json.loads(line) for line in log.read_text().split("\n")[:-1] if line.startswith("{")]
    return [line["body"] for line in lines if line["status"] == 204 and line["verified"]]


def call(url, method="GET", body=None):
    """Sends a request and returns the JSON of the response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def post(url, text):
    """Posts a text. The response must be a success."""
    request = urllib.request.Request(url, text, {"Content-Type": "text/plain"}, method="POST")
    urllib.request.urlopen(request, timeout=30).close()


def run(command, environment=None, directory=None):
    """Runs a command that must succeed, and returns its output."""
    settings = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=settings, cwd=directory, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise CheckFailed(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
