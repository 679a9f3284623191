"""Reads parts of a PromQL query: its selectors, its divisions, and the instances that it keeps. It only knows what our queries use."""

import re
from dataclasses import dataclass

SELECTOR = re.compile(r'([A-Za-z_:][\w:]*)\s*\{((?:[^"}]|"[^"]*")*)\}')
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
# What ends an operand of a division. A product has the same precedence.
WEAKER = re.compile(r"[-+,]|[<>=!]=?|\b(?:and|or|unless)\b")
JOIN = re.compile(r"\band on \(cluster, namespace, job, instance\) ([a-z_]+)\{")
AGGREGATION = re.compile(r"\b(?:sum|min|max|avg|count|quantile)\s*$")
PARENTHESES = {"(": 1, ")": -1}


@dataclass(frozen=True)
class Selector:
    metric: str
    # Label, operator and value of each condition.
    matchers: frozenset
    start: int
    end: int

    @property
    def variables(self):
        """The conditions on variables of the dashboard."""
        return frozenset(each for each in self.matchers if "$" in each[2])

    @property
    def constants(self):
        return self.matchers - self.variables


def selectors(query):
    return [Selector(match[1], frozenset(MATCHER.findall(match[2])), *match.span()) for match in SELECTOR.finditer(query)]


def blank(query):
    """Replaces texts, selectors and the labels of `on` and `by`, so that only operators and parentheses are left to read."""
    pattern = r'"[^"]*"|\{(?:[^"}]|"[^"]*")*\}|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^]]*\]'
    return re.sub(pattern, lambda match: " " * len(match[0]), query)


def group(text, position):
    """Returns the start and end of the innermost parentheses around a position."""
    start, depth = position, 0
    while start > 0 and depth < 1:
        start -= 1
        depth += PARENTHESES.get(text[start], 0)
    begin = start + 1 if depth == 1 else 0
    end, depth = position, 0
    while end < len(text):
        depth += PARENTHESES.get(text[end], 0)
        if depth < 0:
            break
        end += 1
    return begin, end


def flat(text, start, end):
    """Replaces what is in parentheses between two positions by spaces."""
    found, depth = [], 0
    for character in text[start:end]:
        depth += PARENTHESES.get(character, 0)
        found.append(" " if depth or character == ")" else character)
    return "".join(found)


def divisions(query):
    """Yields both operands of each division, as the selectors in them."""
    text, known = blank(query), selectors(query)
    for match in re.finditer("/", text):
        start, end = group(text, match.start())
        left = [*WEAKER.finditer(flat(text, start, match.start()))]
        right = WEAKER.search(flat(text, match.end(), end))
        begin = start + left[-1].end() if left else start
        stop = match.end() + right.start() if right else end
        numerator = [each for each in known if begin <= each.start < match.start()]
        denominator = [each for each in known if match.end() <= each.start < stop]
        if numerator and denominator:
            yield numerator, denominator


def joined(query, selector):
    """Returns the metrics whose instances a selector keeps, by `and on (…)` in the parentheses around it, up to an aggregation."""
    text, found, position = blank(query), set(), selector.start
    joins = [(match.start(), match[1]) for match in JOIN.finditer(query)]
    while True:
        start, end = group(text, position)
        found |= {metric for at, metric in joins if selector.end <= at < end and group(text, at) == (start, end)}
        if start == 0 or AGGREGATION.search(text[: start - 1]):
            return found
        position = start - 1
