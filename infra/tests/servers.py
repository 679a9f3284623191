"""Local servers and programs for these checks. Each one listens on a free loopback port and is stopped at the end."""

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


class CheckFailed(Exception):
    """A check found a mismatch, or could not run."""


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
