"""The shell in the pages: their blocks of commands, and the functions that these define."""

import re
import textwrap

from sources import INFRA

REPOSITORY = INFRA.parent
# The installation and the runbooks. Each of them calls functions of the others.
PAGES = ("infra/README.md", "docs/runbook.md", "docs/events-runbook.md", "docs/widgets-runbook.md")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.M | re.S)
FUNCTION = re.compile(r"^(\w+)\(\) \{\n.*?^\}$", re.M | re.S)


def blocks(text):
    """Returns the blocks of a text. In a list, they are indented."""
    return [textwrap.dedent(block) for block in BLOCK.findall(text)]


def lines(text):
    """Returns the lines of a text. A command may continue on the next line."""
    return text.replace("\\\n", " ").splitlines()


def functions():
    """Returns the functions of all pages, by their names."""
    found = [function for page in PAGES for block in blocks((REPOSITORY / page).read_text()) for function in FUNCTION.finditer(block)]
    return {function[1]: function[0] for function in found}
