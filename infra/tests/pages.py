"""Compares what the pages tell their reader to set, read and run with the files of the repository. It needs no Terraform.

Settings must be variables of the example that a page describes, and outputs must be its outputs. Files in commands must exist, and the
scripts must accept their options. Each check also runs on pages with a fault, which it must find.
"""

import functools
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import shell
import sources
from failure import CheckFailed, expect
from shell import REPOSITORY

TERRAFORM = sources.INFRA / "terraform"
README = "infra/README.md"
# The pages whose settings are those of terraform.tfvars.
SET_BY = (*shell.PAGES, "docs/indexes.md")
PAGES = sorted(
    str(page.relative_to(REPOSITORY)) for page in [REPOSITORY / README, *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("crates/*/README.md")]
)
EXAMPLES = {"two-clouds": ("gcp", "aws"), "event-pipeline": ("events",), "widget-registry": ("widgets",)}
FENCED = re.compile(r"^ *```.*?^ *```", re.M | re.S)


# --- what there is ---


@functools.cache
def declared(folder, kind):
    """Returns the blocks of a kind in a folder of infra/terraform, by their names. Their format is that of `terraform fmt`."""
    text = "".join(file.read_text() for file in (TERRAFORM / folder).resolve().glob("*.tf"))
    return dict(re.findall(rf'^{kind} "([^{{]+)" \{{\n(.*?)^\}}', text, re.M | re.S))


def variables(example):
    return declared(f"examples/{example}", "variable")


@functools.cache
def settings_of_modules():
    return {name for modules in EXAMPLES.values() for module in modules for name in declared(module, "variable")}


@functools.cache
def exported():
    """Returns the variables of the shell that the README sets."""
    lines = re.findall(r"^export (.*)$", (REPOSITORY / README).read_text(), re.M)
    return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line, comments=True))


def filled(command):
    """Fills the shell's variables into a command, if the README sets them."""
    return re.sub(r"\$(\w+)", lambda match: exported().get(match[1], match[0]), command)


# --- what a page names ---


def commands(text):
    """Yields each line of the commands."""
    for block in shell.blocks(text):
        yield from shell.lines(block)


def sections(page, text):
    """Yields the parts of a page, with the example that they describe."""
    default = next((example for word, example in (("events", "event-pipeline"), ("widgets", "widget-registry")) if word in page), "two-clouds")
    for part in re.split(r"^(?=## )", text, flags=re.M):
        title = part.removeprefix("## ").split("\n", 1)[0]
        yield title if title in EXAMPLES else default, part


def spans(text):
    """Yields each piece of code in the prose, on one line."""
    for _, code in re.findall(r"(`+)(.+?)\1(?!`)", FENCED.sub("", text), re.S):
        yield " ".join(code.split())


# --- what is wrong ---


def wrong_settings(page, text):
    for example, part in sections(page, text):
        for code in spans(part):
            named = re.fullmatch(r"([a-z]+(?:_[a-z]+)*)( = .+)?", code)
            if named and (named[2] or named[1] in settings_of_modules()) and named[1] not in variables(example):
                yield f"{page}: the example {example} has no variable {named[1]}, which `{code}` sets"


def wrong_outputs(page, text):
    roles = (TERRAFORM / "aws/variables.tf").read_text()
    for folder, name, role in re.findall(r'terraform -chdir="\$(\w+)" output(?: -\w+)* (\w+)(?: \| jq -r \.(\w+))?', text):
        example = Path(exported().get(folder, folder)).name
        if name not in declared(f"examples/{example}", "output"):
            yield f"{page}: the example {example} has no output {name}"
        if role and f'"{role}"' not in roles:
            yield f"{page}: module aws has no role {role}"
    for example, part in sections(page, text):
        for name in re.findall(r"\boutputs?\s+`(\w+)`", part):
            if name not in declared(f"examples/{example}", "output"):
                yield f"{page}: the example {example} has no output {name}"


def wrong_folders(page, text):
    """Every page uses Terraform from the root of the repository."""
    for command in commands(text):
        if re.search(r'(^|[|;(&] *)\s*terraform (?!-chdir="\$\w*TERRAFORM" )', command):
            yield f"{page}: the command names no folder with -chdir: {command.strip()}"
    for command in spans(text):
        # `terraform output` without a name is a noun in the prose.
        if re.match(r"terraform ((apply|plan)\b|(output|state|import) .)", command):
            yield f"{page}: the command names no folder with -chdir: {command}"


def wrong_addresses(page, text):
    for folder, arguments in re.findall(r'terraform -chdir="\$(\w+)" (?:state rm|import) (.*)', text):
        for address in re.findall(r"\bmodule\.[^\s']+", arguments):
            at = Path("examples") / Path(exported().get(folder, folder)).name
            *modules, kind, name = re.sub(r"\[[^]]*\]", "", address).replace("module.", "").split(".")
            for module in modules:
                made = declared(at, "module").get(module)
                if made is None:
                    yield f"{page}: {address}: {at} has no module {module}"
                    return
                at /= re.search(r'source += "(.*)"', made)[1]
            if f'{kind}" "{name}' not in declared(at, "resource"):
                yield f"{page}: {address}: the module has no {kind}.{name}"


def wrong_files(page, text):
    for command in commands(text):
        for name in re.findall(r"(?<![\w./-])(?:infra|docs|scripts|tests|crates)/[\w./-]+", filled(command)):
            path = REPOSITORY / name.replace("/overlays/production", "/overlays/example")
            if path.suffix == ".env":
                overlay = path.parent / "kustomization.yaml"
                if not overlay.exists() or f"envs: [{path.name}]" not in overlay.read_text():
                    yield f"{page}: no overlay reads {name}"
            elif not path.exists() and not (path.is_relative_to(sources.INFRA) and sources.is_written(path.relative_to(sources.INFRA))):
                yield f"{page}: there is no file {name}"


@functools.cache
def output_of(arguments):
    """Runs a script of the repository in an empty folder. Returns its exit code and its output."""
    with tempfile.TemporaryDirectory() as folder:
        script, *rest = arguments
        done = subprocess.run([sys.executable, REPOSITORY / script, *rest], cwd=folder, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


def wrong_options(page, text):
    programs = list(yaml.safe_load((sources.INFRA / "names.yml").read_text())["programs"])
    for command in commands(text):
        for script, options in re.findall(r"(infra/\w+/(?:rules|dashboards)\.py)((?: [^|;\s]+)*)", filled(command)):
            # Without these, they write files of the repository.
            if "--kind" not in options and "--output" not in options:
                continue
            for program in programs if "$program" in options else [""]:
                arguments = (script, *shlex.split(options.replace("$program", program), comments=True))
                code, message = output_of(arguments)
                # A program may have no rules of a kind, which the script reports.
                if code != 0 and "has no rules of this kind" not in message:
                    yield f"{page}: {' '.join(arguments)} fails: {message}"
    for table in re.findall(r"^\| Option \| Meaning \|\n\|---\|---\|\n(.*?)\n\n", text if page == README else "", re.M | re.S):
        known = output_of(("infra/prometheus/rules.py", "--help"))[1]
        for option in re.findall(r"--[a-z-]+", " ".join(row.split("|")[1] for row in table.splitlines())):
            if not re.search(rf"{option}(?![\w-])", known):
                yield f"{page}: rules.py has no option {option}"


def faults(page, text):
    if page in SET_BY:
        yield from wrong_settings(page, text)
    for check in (wrong_outputs, wrong_folders, wrong_addresses, wrong_files, wrong_options):
        yield from check(page, text)


# --- the examples themselves ---


def wrong_values(example, text):
    """An example of values must only name what exists before the first `terraform apply`, except where a setting has no default."""
    for comment, name, value in re.findall(r"^(# )?([a-z]+(?:_[a-z]+)*) += (.*)$", text, re.M):
        found = variables(example).get(name)
        if found is None:
            yield f"{example}: terraform.tfvars.example sets {name}, which is no variable"
        elif not comment and re.search(r"^  default +=", found, re.M) and re.search(r"arn:|group:|user:|projects/", value):
            yield f"{example}: terraform.tfvars.example names an object that may not exist: {name}"


def unused(example, main):
    for name in variables(example):
        if not re.search(rf"\bvar\.{name}\b", main):
            yield f"{example}: no module gets the variable {name}"


# --- the check must be able to fail ---

# A page, what it has, and what a faulty page has instead.
FAULTY_PAGES = (
    (README, "`host_index = false`", "`hosts_index = false`"),
    (README, "with `batch_writes` also", "with `history_table_name` also"),
    (README, "`direct_dispatch = true` in `terraform.tfvars`", "`max_write_units = 1` in `terraform.tfvars`"),
    ("docs/indexes.md", "`service_index = true`", "`recovery_period_days = true`"),
    ("docs/runbook.md", "Set `service_account` in", "Set `dead_letter_topic` in"),
    ("docs/widgets-runbook.md", "`table_names = {", "`queue_names = {"),
    (README, "output -raw api_env", "output -raw role_arns"),
    (README, 'chdir="$EVENTS_TERRAFORM" output -raw deliverer_env', 'chdir="$TERRAFORM" output -raw deliverer_env'),
    (README, "jq -r .changes_backfill", "jq -r .backfill"),
    (README, "The output `operator_env`", "The output `role_arns`"),
    ("docs/runbook.md", "output -raw api_env`", "output -raw role_arns`"),
    ("docs/runbook.md", 'terraform -chdir="$TERRAFORM" apply    #', "terraform apply    #"),
    ("docs/runbook.md", '`terraform -chdir="$TERRAFORM" output', "`terraform output"),
    ("docs/widgets-runbook.md", '`terraform -chdir="$WIDGETS_TERRAFORM" plan`', "`terraform plan`"),
    ("docs/runbook.md", "rm module.aws.aws_dynamodb_table.scans", "rm module.aws.aws_dynamodb_table.this"),
    ("docs/widgets-runbook.md", "import 'module.widgets.module.tables", "import 'module.widgets.module.table"),
    (README, "infra/kubernetes/keda/podmonitoring.yaml", "infra/kubernetes/keda/monitoring.yaml"),
    (README, '"$OVERLAY/backfill.env"', '"$OVERLAY/changes-backfill.env"'),
    (README, '"$TERRAFORM/terraform.tfvars.example"', '"$TERRAFORM/example.tfvars.example"'),
    (README, "rules.py --kind GlobalRules", "rules.py --kind Rules"),
    (README, "--label release=", "--labels release="),
    (README, "| `--links` |", "| `--link` |"),
    ("docs/dashboards.md", "--runbook-base", "--runbooks"),
)
FAULTY_VALUES = (
    ("two-clouds", "# page_channels ", "page_channels "),
    ("two-clouds", "# operators = ", "# operator = "),
    ("event-pipeline", "# alarm_topic_arns", "alarm_topic_arns"),
)


def faults_are_found():
    for page, right, wrong in FAULTY_PAGES:
        text = (REPOSITORY / page).read_text()
        expect(right in text, f"{page} has no {right!r} to replace")
        expect(list(faults(page, text.replace(right, wrong))), f"{page}: {wrong!r} is accepted")
    for example, right, wrong in FAULTY_VALUES:
        text = values_of(example)
        expect(right in text, f"{example} has no {right!r} to replace")
        expect(list(wrong_values(example, text.replace(right, wrong))), f"{example}: {wrong!r} is accepted")
    without = main_of("two-clouds").replace("var.max_read_units", "null")
    expect(list(unused("two-clouds", without)), "a variable that nothing uses is accepted")


def values_of(example):
    return (TERRAFORM / f"examples/{example}/terraform.tfvars.example").read_text()


def main_of(example):
    return (TERRAFORM / f"examples/{example}/main.tf").read_text()


def main():
    found = [fault for page in PAGES for fault in faults(page, (REPOSITORY / page).read_text())]
    for example in EXAMPLES:
        found += [*wrong_values(example, values_of(example)), *unused(example, main_of(example))]
    expect(not found, "\n".join(found))
    faults_are_found()
    print(f"pages: settings, outputs, files and options agree in {len(PAGES)} pages, and {len(FAULTY_PAGES) + len(FAULTY_VALUES) + 1} faults are found")


if __name__ == "__main__":
    try:
        main()
    except CheckFailed as failure:
        raise SystemExit(f"FAILED: {failure}")
