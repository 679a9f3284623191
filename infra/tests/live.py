"""Checks that alerts, dashboard and autoscaler query metrics that a running consumer has.

`live.py FILE` runs a consumer between embedded servers with valid, late and malformed messages. It compares every query
with the consumer's `/metrics`, and writes that page to FILE, which promtool then checks. It needs the program
(MINI_SCAN).
"""

import base64
import contextlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import names
from servers import PROGRAM, CheckFailed, address, call, pubsub, run, running, stop, until

PROJECT = "projects/test-project"
# Metrics of Google Cloud and of Prometheus, which a consumer does not have.
ELSEWHERE = re.compile(r"pubsub_googleapis_com:|up$")


@contextlib.contextmanager
def dynamodb():
    """Runs the embedded DynamoDB and yields its URL."""
    with running([PROGRAM, "local", "dynamo", "--port", "0"]) as (process, log):
        yield f"http://{address(process, log)}"


@contextlib.contextmanager
def consumer():
    """Runs a consumer and its servers. Yields its process, the URL of its endpoint, and its Pub/Sub server."""
    with pubsub() as server, dynamodb() as endpoint:
        settings = {
            "PUBSUB_EMULATOR_HOST": server,
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
            "AWS_REGION": "us-east-1",
            "MINI_SCAN_DEAD_LETTER_TOPIC": "scan-dead-letter",
            "MINI_SCAN_HTTP_LISTEN": "127.0.0.1:0",
        }
        run([PROGRAM, "setup"], settings)
        with running([PROGRAM, "consumer"], settings) as (process, log):
            yield process, f"http://{address(process, log)}", server


def get(url):
    """Returns the status and the body."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def publish(server):
    """Publishes a scan, its duplicate, a late scan and a malformed message. Returns how many."""
    now = int(time.time())
    scan = {"ip": "192.0.2.1", "port": 80, "service": "HTTP", "data_version": 2, "data": {"response_str": "hello"}}
    texts = [json.dumps({**scan, "timestamp": timestamp}) for timestamp in (now, now, now - 60)]
    messages = [{"data": base64.b64encode(text.encode()).decode()} for text in [*texts, "malformed"]]
    call(f"http://{server}/v1/{PROJECT}/topics/scan-topic:publish", "POST", {"messages": messages})
    return len(messages)


def families(page):
    """Returns the metrics of a page: their types, and all values of each label."""
    found = {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found[name] = (kind, {})
        elif line and not line.startswith("#"):
            name = re.match(r"\w+", line)[0]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            _, labels = found[name] if name in found else found[base]
            for label, value in re.findall(r'(\w+)="([^"]*)"', line):
                labels.setdefault(label, set()).add(value)
    return found


def check_queries(found):
    """Compares each query with the metrics that were found. Returns how often queries use a consumer's metric."""
    mismatches, seen = [], 0
    for where, query in names.queries():
        for name, selector in names.used(query):
            if ELSEWHERE.match(name):
                continue
            seen += 1
            base = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
            kind, labels = found.get(base, (None, {}))
            if kind is None or (kind == "histogram") != (base != name):
                mismatches.append(f"{where}: the consumer has no metric {name}")
                continue
            for label, operator, value in names.SELECTOR.findall(selector):
                known = labels.get(label)
                if known is None:
                    if label not in names.SCRAPED:
                        mismatches.append(f"{where}: {name} has no label {label}")
                elif operator in {"=", "=~", "!="} and value != ".*" and not set(value.split("|")) <= known:
                    mismatches.append(f"{where}: {name} has no {label} {value}")
    if mismatches:
        raise CheckFailed("\n".join(mismatches))
    return seen


def main():
    with consumer() as (process, url, server):
        until("the consumer is ready", lambda: get(f"{url}/readyz")[0] == 200)
        published = publish(server)
        settled = re.compile(r"^mini_scan_outcomes_total\{.*\} (\d+)$", re.M)

        def all_settled():
            return sum(map(int, settled.findall(get(f"{url}/metrics")[1]))) >= published

        until("every message is settled", all_settled)
        status, page = get(f"{url}/metrics")
        if (status, get(f"{url}/livez")) != (200, (200, "alive\n")):
            raise CheckFailed("/metrics or /livez did not answer with 200")
        Path(sys.argv[1]).write_text(page)
        if (code := stop(process)) != 0:
            raise CheckFailed(f"the consumer exited with {code}")
    found = families(page)
    print(f"live: queries use the consumer's {len(found)} metrics {check_queries(found)} times, and all of them exist")


if __name__ == "__main__":
    try:
        main()
    except (CheckFailed, OSError) as failure:
        sys.exit(f"FAILED: {failure}")
