"""Checks that infra/README.md lists the tools of its commands, with the steps that need them.

It reads the first word of each command in the shell blocks, also behind a pipe, in a list and in a substitution. Each word must be in
the table of step 1, or exist on every machine with Bash.
"""

import re

import shell
from failure import CheckFailed, expect

KEYWORDS = {"do", "done", "else", "fi", "if", "then", "until", "while", "{", "}", "!"}
BUILTINS = {"[", "cd", "command", "echo", "eval", "exit", "export", "for", "kill", "local", "printf", "read", "return", "set", "test", "wait"}
# From coreutils, and what POSIX requires.
EVERYWHERE = {"cat", "cp", "cut", "date", "grep", "head", "id", "less", "ls", "mkdir", "mv", "rm", "sed", "sleep", "sort", "tail", "tr", "uniq"}
ASSIGNMENT = re.compile(r"\w+=")
SEPARATORS = "\n;|&()"


class Scanner:
    """Reads the shell, as far as this page uses it: quotes, substitutions, comments, pipes and lists."""

    def __init__(self, text):
        self.text, self.at, self.found = "\n".join(shell.lines(text)), 0, []

    def commands(self, closing=None):
        """Reads commands up to the end or a closing bracket. Returns the first words of all of them."""
        begins = True
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == closing:
                break
            if character in SEPARATORS:
                begins = True
                self.at += 1
            elif character in " \t":
                self.at += 1
            elif character == "#":
                self.at = (self.text + "\n").index("\n", self.at)
            else:
                word = self.word(closing)
                if begins and word not in KEYWORDS and not ASSIGNMENT.match(word):
                    self.found.append(word)
                    begins = False
        return self.found

    def word(self, closing):
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in SEPARATORS + " \t" and self.text[self.at] != closing:
            if self.text[self.at] == "'":
                self.at = self.text.index("'", self.at + 1) + 1
            elif self.text[self.at] == '"':
                self.quoted()
            elif not self.substituted():
                self.at += 1
        return self.text[begin : self.at]

    def quoted(self):
        self.at += 1
        while self.text[self.at] != '"':
            if not self.substituted():
                self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1

    def substituted(self):
        """Reads `$(…)` or `${…}`, if it begins here."""
        if self.text.startswith("$(", self.at):
            self.at += 2
            self.commands(")")
            self.at += 1
        elif self.text.startswith("${", self.at):
            self.at = self.text.index("}", self.at) + 1
        else:
            return False
        return True


def used(page, functions):
    """Returns the tools of a page, each with the steps that use it. A tool of another section has the step None."""
    tools = {}
    for section in re.split(r"^(?=#{2,3} )", page, flags=re.M):
        step = re.match(r"### (\d)\. ", section)
        for block in shell.blocks(section):
            for word in Scanner(block).commands():
                if word not in functions | BUILTINS | EVERYWHERE:
                    tools.setdefault(word, set()).add(int(step[1]) if step else None)
    return tools


def listed(page):
    """Returns the tools in the table, each with its steps."""
    table = re.search(r"^\| Tool \| Steps \| .*\n\|[-|]*\|\n((?:\|.*\n)+)", page, re.M)[1]
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d, ]*)\|", table, re.M)
    return {tool: {int(step) for step in re.findall(r"\d", steps)} for tool, steps in rows}


def faults(page, functions):
    """Yields where the table and the commands differ. A tool may be in a step without a command, which links to another section."""
    table, commands = listed(page), used(page, functions)
    for tool, steps in sorted(commands.items()):
        if tool not in table:
            yield f"infra/README.md calls {tool}, which step 1 does not list"
        elif missing := steps - {None} - table[tool]:
            yield f"infra/README.md calls {tool} in step {min(missing)}, which the table of step 1 does not mention"
    for tool in sorted(table.keys() - commands.keys()):
        yield f"step 1 of infra/README.md lists {tool}, which no command of the page calls"


def check_scanner():
    """The scanner must find the commands of each construct, and nothing in quotes and comments."""
    text = """A=1 a "$(b 'x | y' | c)" && d "(z)" # no | comment
for w in 'p | q' r; do e; done | f &
g --x="$(h -o "${1:-y}")" \\
  i || { j; }"""
    found = sorted(Scanner(text).commands())
    expect(found == ["a", "b", "c", "d", "e", "f", "for", "g", "h", "j"], f"the scanner finds {found}")


def check_faults(page, functions):
    """Without its row, each tool must be missing, and a new command too."""
    for tool in listed(page):
        row = re.compile(rf"^\| `{tool}` \|.*\n", re.M)
        found = any(f" calls {tool}," in fault for fault in faults(row.sub("", page), functions))
        expect(found, f"without the row of {tool}, the check finds nothing")
    changed = page.replace("\ngcloud auth login\n", "\necho $(date | unlisted)\n")
    found = any(" calls unlisted," in fault for fault in faults(changed, functions))
    expect(found, "the check does not find a command behind a pipe in a substitution")


def main():
    page, functions = (shell.REPOSITORY / "infra/README.md").read_text(), shell.functions().keys()
    check_scanner()
    for fault in faults(page, functions):
        raise CheckFailed(fault)
    check_faults(page, functions)
    print(f"tools: the table lists {len(listed(page))} tools, and the commands need all of them and no other")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        raise SystemExit(f"FAILED: {failure}")
