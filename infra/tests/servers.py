"""Local servers and programs for the checks here. Every one listens on loopback, on a free port, and is stopped."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("MINI_SCAN", str(REPOSITORY / "target/debug/mini-scan"))


class SetupError(Exception):
    """What a check found."""


def until(what, look, seconds=60):
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.1)
    raise SetupError(f"not within {seconds} s: {what}")


@contextlib.contextmanager
def running(command, environment=None):
    """A process and the file of all that it says; it is stopped at the end."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        settings = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=settings)
        try:
            yield process, Path(log.name)
        finally:
            stop(process)


def stop(process):
    """Asks a process to end, and sees to it; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def address(process, log):
    """Where a server that chose its port says it listens."""

    def look():
        if process.poll() is not None:
            raise SetupError(f"the server ended by itself:\n{log.read_text()}")
        return re.search(r"127\.0\.0\.1:\d+", log.read_text())

    return until("a server's port", look)[0]


@contextlib.contextmanager
def aws():
    """A local AWS; its URL."""
    moto = Path(sys.executable).with_name("moto_server")
    with running([moto, "--host", "127.0.0.1", "--port", "0"]) as (process, log):
        yield f"http://{address(process, log)}"


@contextlib.contextmanager
def pubsub():
    """The embedded Pub/Sub server; its host and port."""
    with running([PROGRAM, "local", "pubsub", "--port", "0"]) as (process, log):
        yield address(process, log)


def call(url, method="GET", body=None):
    """The answer to a request, as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def post(url, text):
    """Sends a text, and wants no answer but success."""
    request = urllib.request.Request(url, text, {"Content-Type": "text/plain"}, method="POST")
    urllib.request.urlopen(request, timeout=30).close()


def run(command, environment=None, directory=None):
    """What a command that must succeed printed."""
    settings = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=settings, cwd=directory, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
