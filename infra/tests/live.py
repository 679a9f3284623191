"""Whether alerts, dashboard and autoscaler ask for what a running consumer shows.

`live.py FILE` runs one between embedded servers, with good, late and broken messages, holds every query of ours against
its `/metrics`, and leaves that page in FILE, for promtool to judge. Needs the program (MINI_SCAN).
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
from servers import PROGRAM, SetupError, address, call, pubsub, run, running, stop, until

PROJECT = "projects/test-project"
# Of these a consumer knows nothing: they come from Google and from Prometheus.
ELSEWHERE = re.compile(r"pubsub_googleapis_com:|up$")


@contextlib.contextmanager
def dynamodb():
    """The embedded DynamoDB; its URL."""
    with running([PROGRAM, "local", "dynamo", "--port", "0"]) as (process, log):
        yield f"http://{address(process, log)}"


@contextlib.contextmanager
def consumer():
    """A consumer with everything that it needs; its process, its endpoint's URL, and the Pub/Sub server it reads."""
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
    """Status and text."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def publish(server):
    """A good scan, the same again, one that is late, and one that no consumer takes; how many."""
    now = int(time.time())
    scan = {"ip": "192.0.2.1", "port": 80, "service": "HTTP", "data_version": 2, "data": {"response_str": "hello"}}
    texts = [json.dumps({**scan, "timestamp": timestamp}) for timestamp in (now, now, now - 60)]
    messages = [{"data": base64.b64encode(text.encode()).decode()} for text in [*texts, "poison"]]
    call(f"http://{server}/v1/{PROJECT}/topics/scan-topic:publish", "POST", {"messages": messages})
    return len(messages)


def families(page):
    """The metrics of a page: their types, and of each label every value."""
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
    """Holds each query against what was found; how many of the metrics in them are a consumer's."""
    wrong, seen = [], 0
    for where, query in names.queries():
        for name, selector in names.used(query):
            if ELSEWHERE.match(name):
                continue
            seen += 1
            base = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
            kind, labels = found.get(base, (None, {}))
            if kind is None or (kind == "histogram") != (base != name):
                wrong.append(f"{where}: a consumer shows no {name}")
                continue
            for label, operator, value in names.SELECTOR.findall(selector):
                known = labels.get(label)
                if known is None:
                    if label not in names.SCRAPED:
                        wrong.append(f"{where}: {name} has no label {label}")
                elif operator in {"=", "=~", "!="} and value != ".*" and not set(value.split("|")) <= known:
                    wrong.append(f"{where}: {name} has no {label} {value}")
    if wrong:
        raise SetupError("\n".join(wrong))
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
            raise SetupError("the endpoint is not well")
        Path(sys.argv[1]).write_text(page)
        if (code := stop(process)) != 0:
            raise SetupError(f"the consumer ended with {code}")
    found = families(page)
    print(f"live: {check_queries(found)} times a query asks for one of {len(found)} metrics, and it is there")


if __name__ == "__main__":
    try:
        main()
    except (SetupError, OSError) as wrong:
        sys.exit(f"WRONG: {wrong}")
