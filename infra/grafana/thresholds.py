"""Reads the thresholds of alerts from their rules, so that no dashboard repeats a number."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

RULES = Path(__file__).resolve().parents[1] / "prometheus"
COMPARED = re.compile(r"(>=|<=|>|<|==)\s*(?:bool\s+)?(\(?\s*[\d.]+(?:\s*\*\s*[\d.]+)*\s*\)?)(?=\s|$|\))")
NAME = re.compile(r"[A-Za-z_:][\w:]*")
# What has names that are no metrics: selectors, ranges, the instances of a program, labels, texts and functions.
OTHER_NAMES = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\band on \(cluster, namespace, job, instance\) \w+"
    r'|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)|"[^"]*"|\$\w+|\b\w+\s*(?=\()'
)
WORDS = {">": "above", ">=": "from", "<": "below", "<=": "up to", "==": "at"}


class UnknownAlert(Exception):
    """A description names an alert that no rule has, or one that compares no metric of its panel."""


@dataclass(frozen=True)
class Alert:
    """One alert, and the comparison that concerns a panel."""

    name: str
    severity: str
    # How long the comparison must be true, e.g. "10m", or an empty text.
    lasts: str
    # The page and the section that describe it, e.g. docs/runbook.md#miniscanbacklogold.
    section: str
    operator: str
    value: float

    @property
    def color(self):
        return "red" if self.severity == "page" else "orange"

    @property
    def is_lower_bound(self):
        return self.operator in {"<", "<="}

    def sentence(self, shown):
        """Describes when it fires. `shown` is the threshold in the unit of the panel."""
        acts = "pages" if self.severity == "page" else "opens a ticket"
        minutes = re.fullmatch(r"(\d+)m", self.lasts)
        lasts = f" for {minutes[1]} minutes" if minutes else f" for {self.lasts}" if self.lasts else ""
        return f"{self.name} {acts} {WORDS[self.operator]} {shown}{lasts}."


def rules():
    """Yields every rule: alerts and recordings."""
    for file in sorted(RULES.glob("*.yml")):
        # The other files describe rules, test them, or configure something else.
        document = yaml.safe_load(file.read_text()) if not file.name.endswith((".rules.yml", "_test.yml")) else None
        if isinstance(document, dict):
            for group in document.get("groups", []):
                yield from group["rules"]


def operands(expression):
    """Splits an expression at `and`, `or` and `unless` outside of parentheses."""
    found, depth, start = [], 0, 0
    for match in re.finditer(r'"[^"]*"|[({]|[)}]|\b(?:and|or|unless)\b', expression):
        token = match[0]
        if token in "({":
            depth += 1
        elif token in ")}":
            depth -= 1
        elif depth == 0 and not token.startswith('"'):
            found.append(expression[start : match.start()])
            start = match.end()
    return [*found, expression[start:]]


def recorded(expression):
    """Replaces the names of recording rules by their expressions, so that metrics are found."""
    known = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    return NAME.sub(lambda match: f"({known[match[0]]})" if match[0] in known else match[0], expression)


def metrics(expression):
    """Returns the metrics of an expression, without the suffixes of histograms."""
    names = NAME.findall(OTHER_NAMES.sub(" ", recorded(expression)))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if "_" in name}


def alert(name, queries):
    """Returns an alert, with the comparison that concerns the metrics of these queries."""
    rule = next((rule for rule in rules() if rule.get("alert") == name), None)
    if rule is None:
        raise UnknownAlert(f"no rule of infra/prometheus is called {name}")
    shown = set().union(*map(metrics, queries))
    for operand in operands(rule["expr"]):
        compared = list(COMPARED.finditer(operand))
        if compared and metrics(operand) & shown:
            value = 1.0
            for factor in re.findall(r"[\d.]+", compared[-1][2]):
                value *= float(factor)
            section = rule["annotations"]["runbook"]
            return Alert(name, rule["labels"]["severity"], str(rule.get("for", "")), section, compared[-1][1], round(value, 9))
    raise UnknownAlert(f"{name} compares none of {', '.join(sorted(shown))} with a number")

