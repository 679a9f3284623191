"""Reads prices and units from the tables of docs/capacity.md, so that no dashboard repeats a number."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/capacity.md"
SECONDS_PER_MONTH = 730 * 3600


class UnknownCell(Exception):
    """No table of the page has this row and this column."""


def tables():
    """Yields the tables of the page, each as rows of cells. The first row has the names of the columns."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.M):
        yield [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if not re.match(r"\|[-:| ]+\|$", line)]


def number(row, column):
    """Returns a cell. If it has a better and a worse case, the worse one."""
    for header, *rows in tables():
        if column in header:
            for cells in rows:
                if cells[0] == row:
                    return float(cells[header.index(column)].split("–")[-1].strip("$* ").replace(",", ""))
    raise UnknownCell(f"docs/capacity.md has no table with the row {row!r} and the column {column!r}")


def per_million(column, messages_per_second, rows):
    """Returns the sum of monthly dollars in these rows of a size, per million messages."""
    dollars = sum(number(row, column) for row in rows)
    return round(dollars / (messages_per_second * SECONDS_PER_MONTH / 1e6), 3)


def value(source):
    """Returns the number that a description asks for."""
    return per_million(**source) if "rows" in source else number(**source)
