"""Checks that alerts, dashboard and autoscaler query metrics that a running consumer, API or reader of changes has.

`live.py CONSUMER_FILE API_FILE CHANGES_FILE` runs a consumer between embedded servers with valid, late and malformed
messages, and an API and a reader of changes with webhooks on the same table. It compares every query with the three pages
`/metrics`, and writes them to the files, which promtool then checks. It needs the program (MINI_SCAN).
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
from failure import CheckFailed
from servers import PROGRAM, address, call, pubsub, received, run, running, stop, subscribed, until

PROJECT = "projects/test-project"


@contextlib.contextmanager
def dynamodb():
    """Runs the embedded DynamoDB and yields its URL."""
    with running([PROGRAM, "local", "dynamo", "--port", "0"]) as (process, log):
        yield f"http://{address(process, log)}"


@contextlib.contextmanager
def consumer():
    """Runs a consumer and its servers. Yields its process, the URL of its endpoint, its Pub/Sub server, and the settings."""
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
            yield process, f"http://{address(process, log)}", server, settings


def page_of_api(settings):
    """Runs an API, reads from the table with every operation, and returns its page of metrics."""
    with running([PROGRAM, "api"], {**settings, "MINI_SCAN_LISTEN": "127.0.0.1:0"}) as (process, log):
        address(process, log)
        served = until("the API listens", lambda: re.search(r"(http://127\.0\.0\.1:\d+)/v1", log.read_text()))[1]
        metrics = re.search(r"(http://127\.0\.0\.1:\d+)/metrics", log.read_text())[1]
        host, record = f"{served}/v1/hosts/192.0.2.1", f"{served}/v1/hosts/192.0.2.1/services/80/HTTP"
        # The last one needs the opt-in index, which this table does not have.
        answers = [(host, 200), (record, 200), (f"{served}/v1/services?port=80&service=HTTP", 501)]
        for url, wanted in answers:
            if (status := get(url)[0]) != wanted:
                raise CheckFailed(f"{url} answered with {status} instead of {wanted}")
        page = get(f"{metrics}/metrics")[1]
        if (code := stop(process)) != 0:
            raise CheckFailed(f"the API exited with {code}")
        return page


def page_of_changes(settings):
    """Runs a reader of changes until it has recorded one and told a receiver, and returns its page of metrics."""
    for part in ("changes", "webhooks"):
        run([PROGRAM, "setup", part], settings)
    with subscribed(settings) as (settings, receiver), running([PROGRAM, "changes"], settings) as (process, log):
        url = f"http://{address(process, log)}"
        recorded = re.compile(r'^mini_scan_changes_records_total\{result="opened"\} [1-9]', re.M)

        def page():
            text = get(f"{url}/metrics")[1]
            is_complete = "mini_scan_changes_leases{" in text and "mini_scan_changes_lag_seconds{" in text
            return is_complete and received(receiver) and recorded.search(text) and text

        text = until("a change is recorded, and a receiver is told", page)
        if (code := stop(process)) != 0:
            raise CheckFailed(f"the reader of changes exited with {code}")
        return text


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


def joined(pages):
    """Returns the metrics of all pages. The programs have some of them in common, with different labels."""
    found = {}
    for page in pages:
        for name, (kind, labels) in families(page).items():
            _, known = found.setdefault(name, (kind, {}))
            for label, values in labels.items():
                known[label] = known.get(label, set()) | values
    return found


def has_each(value, known):
    """Returns whether each alternative of a selector's value matches a known value."""
    return all(any(re.fullmatch(choice, other) for other in known) for choice in value.split("|"))


def check_queries(found, program=names.MINI_SCAN):
    """Compares each query of a program with the metrics that were found. Returns how often queries use one of them."""
    mismatches, seen = [], 0
    # Our programs do not have them.
    others = names.elsewhere().keys() | names.recorded(program).keys()
    for where, query in names.queries(program):
        for name, selector in names.used(query):
            if name in others:
                continue
            seen += 1
            base = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
            kind, labels = found.get(base, (None, {}))
            if kind is None or (kind == "histogram") != (base != name):
                mismatches.append(f"{where}: no program has a metric {name}")
                continue
            for label, operator, value in names.SELECTOR.findall(selector):
                if (operator, value) == ("!=", ""):
                    # Only some series have the label, e.g. the kind of an error.
                    continue
                known = labels.get(label)
                if known is None:
                    # Without a sample, there are no labels. names.py compares the labels with the pages.
                    if labels and label not in names.SCRAPED:
                        mismatches.append(f"{where}: {name} has no label {label}")
                elif operator in {"=", "=~", "!="} and not has_each(value, known):
                    mismatches.append(f"{where}: {name} has no {label} {value}")
    if mismatches:
        raise CheckFailed("\n".join(mismatches))
    return seen


def main():
    with consumer() as (process, url, server, settings):
        until("the consumer is ready", lambda: get(f"{url}/readyz")[0] == 200)
        published = publish(server)
        settled = re.compile(r"^mini_scan_outcomes_total\{.*\} (\d+)$", re.M)

        def all_settled():
            return sum(map(int, settled.findall(get(f"{url}/metrics")[1]))) >= published

        until("every message is settled", all_settled)
        status, page = get(f"{url}/metrics")
        if (status, get(f"{url}/livez")) != (200, (200, "alive\n")):
            raise CheckFailed("/metrics or /livez did not answer with 200")
        pages = (page, page_of_api(settings), page_of_changes(settings))
        for file, text in zip(sys.argv[1:], pages, strict=True):
            Path(file).write_text(text)
        if (code := stop(process)) != 0:
            raise CheckFailed(f"the consumer exited with {code}")
    found = joined(pages)
    print(f"live: queries use the {len(found)} metrics of the programs {check_queries(found)} times, and all of them exist")


if __name__ == "__main__":
    try:
        main()
    except (CheckFailed, OSError) as failure:
        sys.exit(f"FAILED: {failure}")
