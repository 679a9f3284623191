#!/usr/bin/env bash
# Checks containers, workflows, Terraform, Kubernetes, alerts, dashboards and runbook, without a cloud and without a
# container engine. Prints each check that this machine cannot run, and lists those checks again at the end.
# `make check-infra` calls it: the checkers are in .tools/checkers, and MINI_SCAN names the program. EVENT_PIPELINE and
# WIDGET_REGISTRY may name those of event-pipeline and widget-registry.
#
# TF_PLUGIN_DIR may name a local folder with Terraform's providers. With REQUIRE_TERRAFORM, the check fails if Terraform or a
# provider is not available.
set -euo pipefail
cd "$(dirname "$0")/.."

checkers=.tools/checkers/bin
kubernetes_version=1.37.0
# The oldest KEDA that the manifests work with.
keda_version=2.17.1
prometheus_operator_version=0.85.0
not_run=()
# The modules that can be applied to a local AWS.
applicable=()
work=$(mktemp -d)
# Stops the checks in the background.
clean_up() {
  local check
  for check in "$work"/*.pid; do [ ! -e "$check" ] || kill "$(<"$check")"; done
  rm -rf "$work"
}
trap clean_up EXIT
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_ARGS=-no-color PYTHONDONTWRITEBYTECODE=1

say() { printf 'infra: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

skip() {
  not_run+=("$*")
  say "NOT RUN: $*"
}

# Skips a check that Terraform or a provider is missing for, or fails.
skip_terraform() {
  if [ -n "${REQUIRE_TERRAFORM:-}" ]; then
    say "FAILED, because REQUIRE_TERRAFORM is set: $*"
    exit 1
  fi
  skip "$@"
}

# Runs a check, and shows its output only if it failed.
quietly() {
  local what=$1
  shift
  if "$@" >"$work/output" 2>&1; then
    say "$what: passed"
  else
    cat "$work/output"
    say "$what: FAILED"
    exit 1
  fi
}

# --- containers and scripts ---

containers() {
  quietly "Dockerfile, hadolint" "$checkers/hadolint" Dockerfile
  quietly "Dockerfile, every crate of the workspace" "$checkers/python" infra/tests/dockerfile.py
  quietly "Dockerfile, checkov" "$checkers/checkov" --framework dockerfile --file Dockerfile
  quietly "compose files, schema" "$checkers/check-jsonschema" --builtin-schema vendor.compose-spec \
    docker-compose.yml docker-compose.dynamo.yml docker-compose.events.yml docker-compose.widgets.yml
  quietly "compose files, one builder per image" "$checkers/python" infra/tests/compose.py docker-compose*.yml
  quietly "shell scripts, shellcheck" "$checkers/shellcheck" .ci/run infra/check.sh scripts/*.sh tests/*.sh
  skip "building and starting the containers: make check-containers does that, which takes an hour"
}

# --- workflows ---

workflows() {
  local schema=("$checkers/check-jsonschema" --builtin-schema)
  quietly "workflows, schema" "${schema[@]}" vendor.github-workflows .github/workflows/*.yml
  quietly "workflows, timeouts" "${schema[@]}" custom.github-workflows-require-timeout .github/workflows/*.yml
  quietly "Dependabot, schema" "${schema[@]}" vendor.dependabot .github/dependabot.yml
  quietly "issue forms, schema" "${schema[@]}" vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
  if have actionlint; then
    quietly "workflows, actionlint" env PATH="$PWD/$checkers:$PATH" actionlint
  else
    skip "actionlint of the workflows: it is not installed"
  fi
}

# --- Terraform ---

# Initializes a module with its providers. Returns 1 if a provider is not available. With TF_PLUGIN_DIR, any other
# failure ends the check.
init() {
  local module=$1
  shift
  if [ -n "${TF_PLUGIN_DIR:-}" ]; then
    for provider in "$@"; do
      [ -d "$TF_PLUGIN_DIR/registry.terraform.io/hashicorp/$provider" ] || return 1
    done
    quietly "$module, terraform init" \
      terraform "-chdir=$work/infra/terraform/$module" init -backend=false -input=false "-plugin-dir=$TF_PLUGIN_DIR"
  else
    timeout 120 terraform "-chdir=$work/infra/terraform/$module" init -backend=false -input=false >"$work/output" 2>&1
  fi
}

# Validates and tests a module. The arguments are its name and the names of its providers.
module() {
  local module=$1
  if ! init "$@"; then
    skip_terraform "terraform validate and test of $module: a provider (${*:2}) is not available"
    return 1
  fi
  quietly "$module, terraform validate" terraform "-chdir=$work/infra/terraform/$module" validate
  if [ -d "$work/infra/terraform/$module/tests" ]; then
    quietly "$module, terraform test" terraform "-chdir=$work/infra/terraform/$module" test
  fi
  case $module in aws | events | widgets) applicable+=("$module") ;; esac
}

# Replaces module gcp and Google's provider in the copy of the example by a module without a provider.
two_clouds_without_google() {
  local example=$work/infra/terraform/examples/two-clouds
  sed -i -e 's#"../../gcp"#"../../../tests/gcp-stand-in"#' -e '/^    google = {/,/^    }/d' -e '/^provider "google"/,/^}/d' "$example/main.tf"
  sed -i '/^mock_provider "google"/,/^}/d' "$example"/tests/*.hcl
  module examples/two-clouds aws || true
}

terraform_modules() {
  quietly "settings, outputs, files and options in the pages" "$checkers/python" infra/tests/pages.py
  quietly "provider lock files" "$checkers/python" infra/tests/lock_files.py
  # Works on a copy, so that Terraform creates no files in the repository. The values, the state and the backend of an installation
  # are not copied, because the tests expect the defaults.
  quietly "a copy without the files of an installation" "$checkers/python" infra/tests/sources.py "$work/infra"
  quietly "modules, checkov" "$checkers/checkov" --framework terraform --directory "$work/infra/terraform"
  if ! have terraform; then
    skip_terraform "terraform fmt, validate and test: terraform is not installed"
    return
  fi
  quietly "modules, terraform fmt" terraform fmt -check -recursive "$work/infra"
  if [ -z "${TF_PLUGIN_DIR:-}" ]; then
    # Each provider is downloaded once for all modules.
    export TF_PLUGIN_CACHE_DIR=$work/providers TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=1
    mkdir "$TF_PLUGIN_CACHE_DIR"
  fi
  local module
  for module in aws events widgets examples/event-pipeline examples/widget-registry; do module "$module" aws || true; done
  module gcp google || true
  module examples/two-clouds aws google || two_clouds_without_google
}

# --- Kubernetes ---

# Copies the definitions of custom resources out of Go modules into .tools, and sets `definitions` to the folder.
find_definitions() {
  definitions=.tools/custom-resources-$keda_version-$prometheus_operator_version
  [ ! -d "$definitions" ] || return 0
  have go || return 1
  local keda=github.com/kedacore/keda/v2@v$keda_version
  local operator=github.com/prometheus-operator/prometheus-operator@v$prometheus_operator_version
  (cd "$work" && GOFLAGS=-modcacherw GOMODCACHE=$work/go timeout 120 go mod download "$keda" "$operator") >"$work/output" 2>&1 || return 1
  mkdir -p "$work/definitions"
  cp "$work/go/$keda"/config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml \
    "$work/go/$operator"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml "$work/definitions"
  mkdir -p .tools && mv "$work/definitions" "$definitions"
}

manifests() {
  if ! "$checkers/python" infra/tests/manifests.py can-render; then
    skip "the manifests: neither kubectl 1.31 or newer nor kustomize 5.1 or newer is installed"
    return
  fi
  mkdir "$work/manifests"
  quietly "manifests, copies of the example with and without their files" "$checkers/python" infra/tests/manifests.py "$work/manifests"
  quietly "commands of the README and the runbooks" "$checkers/python" infra/tests/commands.py
  if have jq && have openssl; then
    quietly "commands of the README, from nothing to each program" "$checkers/python" infra/tests/blocks.py
  else
    skip "the commands of the README, from nothing to each program: jq or openssl is not installed"
  fi
  quietly "manifests, schemas of Kubernetes $kubernetes_version" "$checkers/kubernetes-validate" --strict \
    --kubernetes-version "$kubernetes_version" "$work"/manifests/*.yaml
  quietly "manifests, checkov" "$checkers/checkov" --framework kubernetes --directory "$work/manifests"
  if find_definitions; then
    quietly "manifests, custom resources of KEDA $keda_version and Prometheus operator $prometheus_operator_version" \
      "$checkers/python" infra/tests/crds.py "$definitions" "$work"/manifests/*.yaml
    skip "schema of PodMonitoring: Google's definitions are not available"
  else
    skip "schemas of custom resources: their definitions need go and its module proxy"
  fi
}

# --- alerts, dashboards, runbook ---

# Sets `promtool` to the installed one, or to the one of Debian's package, unpacked into .tools.
find_promtool() {
  promtool=$(command -v promtool || true)
  if [ -z "$promtool" ]; then
    promtool=.tools/prometheus/usr/bin/promtool
    [ -x "$promtool" ] || unpack_promtool
  fi
}

download_prometheus() { (cd "$work/prometheus" && apt-get download prometheus >/dev/null 2>&1); }

# A new machine may need the package lists first.
unpack_promtool() {
  have apt-get && have dpkg || return 1
  mkdir -p "$work/prometheus"
  download_prometheus || { [ "$(id -u)" -eq 0 ] && apt-get update >/dev/null 2>&1 && download_prometheus; } || return 1
  mkdir -p .tools && dpkg -x "$work"/prometheus/*.deb .tools/prometheus
}

# Fails on any output of promtool, because it exits with 0 on mere warnings.
no_complaint() {
  local exit=0
  "$promtool" check metrics <"$1" >"$work/complaints" 2>&1 || exit=$?
  cat "$work/complaints"
  [ "$exit" -eq 0 ] && [ ! -s "$work/complaints" ]
}

alerts() {
  quietly "alerts, their descriptions" "$checkers/python" infra/prometheus/rules.py check
  quietly "dashboards, their descriptions" "$checkers/python" infra/grafana/dashboards.py check
  quietly "dashboards, selections, layout and links" "$checkers/python" infra/tests/dashboards.py
  if "$checkers/python" -c 'import grafana_foundation_sdk' 2>/dev/null; then
    quietly "dashboards, types of Grafana" "$checkers/python" infra/tests/dashboards.py types
  else
    skip "types of Grafana of the dashboards: grafana-foundation-sdk is not installed, it needs Python 3.11"
  fi
  quietly "names in alerts, dashboards, autoscalers, runbooks and settings" "$checkers/python" infra/tests/names.py
  quietly "tools that the README needs" "$checkers/python" infra/tests/tools.py
  quietly "metrics of a running consumer, API and reader of changes" \
    "$checkers/python" infra/tests/live.py "$work/consumer.metrics" "$work/api.metrics" "$work/changes.metrics"
  if ! find_promtool; then
    skip "promtool: neither it nor Debian's package prometheus is available"
    return
  fi
  skip "importing the dashboards: this needs Grafana"
  "$checkers/python" infra/tests/names.py rules "$work/queries.yml"
  "$checkers/python" infra/tests/panels.py "$work/panels.yml"
  quietly "alerts, promtool" "$promtool" check rules infra/prometheus/{mini-scan,event-pipeline,widget-registry}.yml
  quietly "alerts, tests" "$checkers/python" infra/tests/alerts.py "$promtool"
  quietly "/metrics of that consumer, promtool" no_complaint "$work/consumer.metrics"
  quietly "/metrics of that API, promtool" no_complaint "$work/api.metrics"
  quietly "/metrics of that reader of changes, promtool" no_complaint "$work/changes.metrics"
  quietly "scrape configuration, promtool" "$promtool" check config infra/prometheus/prometheus.yml
  quietly "dashboards and autoscaler, query syntax" "$promtool" check rules "$work/queries.yml"
  quietly "dashboards, data of each query" "$promtool" test rules "$work/panels.yml"
}

# --- agreement of Terraform, setup and the programs ---

is_applicable() { [[ " ${applicable[*]:-} " == *" $1 "* ]]; }

agreement() {
  local parts=()
  if ! is_applicable aws; then
    skip "applying module aws to a local AWS, and the consumer on its table: terraform or its provider is not available"
    parts=(pubsub)
  fi
  "$checkers/python" infra/tests/agreement.py "${parts[@]:+${parts[@]}}"
}

# Checks a program on the resources of its module. Terraform waits for minutes until the attributes of queues are stable, so these
# run beside the agreement of mini-scan.
begin() {
  local module=$1 package=$2 program=$3
  if ! is_applicable "$module"; then
    skip "applying module $module to a local AWS, and $package on it: terraform or its provider is not available"
  elif [ ! -x "$program" ]; then
    skip "$package on module $module: build it with cargo build --package $package, or name it"
  else
    "$checkers/python" "infra/tests/$module.py" >"$work/$module" 2>&1 &
    echo $! >"$work/$module.pid"
  fi
}

end() {
  local exit=0 module=$1
  [ -e "$work/$module.pid" ] || return 0
  wait "$(<"$work/$module.pid")" || exit=$?
  rm "$work/$module.pid"
  cat "$work/$module"
  return "$exit"
}

containers
workflows
alerts
manifests
terraform_modules
begin events event-pipeline "${EVENT_PIPELINE:-target/debug/event-pipeline}"
begin widgets widget-registry "${WIDGET_REGISTRY:-target/debug/widget-registry}"
agreement
end events
end widgets

say "passed. Not run on this machine:"
printf '  %s\n' "${not_run[@]}"
