"""Runs promtool's tests of the alert rules, each alert alone, and then again with wrong thresholds.

The tests are those in infra/prometheus and those of the common rules (cases.py). If a threshold is ten times as high, one of the
alert's cases must fail. names.py checks that each alert has a case in which it fires and one in which it stays silent.

`alerts.py PROMTOOL`
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import names
from names import descriptions as rules

THRESHOLD = re.compile(r"(?:>=|<=|==|>|<)\s+(\d+(?:\.\d+)?)(?![\w.])")
NEVER = "1000000000"


def tests_of_alert(files, alert, others, is_silenced):
    """Returns the files with only the cases of one alert, which the others must pass too."""
    for file in files:
        tests = [{**test, "alert_rule_test": [case for case in test["alert_rule_test"] if case["alertname"] == alert]} for test in file["tests"]]
        for test in tests:
            # Silent cases pass if an alert fires less often, except for a threshold of what silences it.
            is_changed = is_silenced or any(case["exp_alerts"] for case in test["alert_rule_test"])
            alerts = [alert, *others] if is_changed else [alert]
            test["alert_rule_test"] = [{**case, "alertname": name} for case in test["alert_rule_test"] for name in alerts]
        if tests := [test for test in tests if test["alert_rule_test"]]:
            yield {**file, "rule_files": ["rules.yml"], "tests": tests}


def recordings(program, rule):
    """Returns the recording rules of the series that an alert queries."""
    for other in names.rules(program):
        if "record" in other and f'{other["record"]}{{slo="{other["labels"]["slo"]}"}}' in rule["expr"]:
            yield other


def failures(promtool, found, files):
    """Runs promtool on rules and tests. Returns the alerts whose cases fail, and the output."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(rules.dump({"groups": [{"name": "tested", "rules": found}]}))
        paths = [Path(folder) / f"{number}.yml" for number in range(len(files))]
        for path, file in zip(paths, files):
            path.write_text(rules.dump(file))
        result = subprocess.run([promtool, "test", "rules", *paths], capture_output=True, text=True)
        output = result.stdout + result.stderr
        failed = set(re.findall(r"^ *alertname: ?(\w+)", output, re.M))
        if (result.returncode == 0) == bool(failed):
            sys.exit(output)
        return failed, output


def with_other_thresholds(rule):
    """Yields the alert with each of its thresholds ten times as high. Ten times nothing is nothing, so that never happens instead."""
    expression = rule["expr"]
    for number, match in enumerate(THRESHOLD.finditer(expression)):
        wrong = f"{10 * float(match[1]):.10g}" if float(match[1]) else NEVER
        name = f"{rule['alert']}_{number}_{match[1].replace('.', '_')}_is_ten_times_as_high"
        yield {**rule, "alert": name, "expr": expression[: match.start(1)] + wrong + expression[match.end(1) :]}


def checked(promtool, program, rule, files):
    """Returns how many thresholds an alert has, and what is wrong with the alert or its cases."""
    name, wrong = rule["alert"], list(with_other_thresholds(rule))
    problems = [] if wrong else [f"{name}: the expression has no threshold"]
    is_silenced, needed = "unless" in rule["expr"], [*recordings(program, rule), rule]
    of = lambda others: list(tests_of_alert(files, name, [other["alert"] for other in others], is_silenced))
    failed, _ = failures(promtool, [*needed, *wrong], of(wrong))
    if name in failed:
        problems.append(failures(promtool, needed, of([]))[1])
    problems += [f"no case fails with {other['alert']}" for other in wrong if other["alert"] not in failed]
    return len(wrong), problems


def main():
    promtool, problems, thresholds, alerts = sys.argv[1], [], 0, 0
    with ThreadPoolExecutor() as pool:
        work = [
            pool.submit(checked, promtool, program, rule, files)
            for program in names.PROGRAMS
            for files in [names.tests_of(program)]
            for rule in names.alerts(program).values()
        ]
        for result in work:
            number, problem = result.result()
            alerts, thresholds = alerts + 1, thresholds + number
            problems += problem
    if problems:
        sys.exit("\n".join(problems))
    print(f"alerts: {alerts} alerts fire and stay silent, and cases fail with each of {thresholds} wrong thresholds")


if __name__ == "__main__":
    main()
