#!/usr/bin/env bash
# Every check of containers, Terraform, Kubernetes, alerts, dashboard and runbook that needs no cloud and no container
# engine. What this machine cannot run is said aloud, and again at the end. `make check-infra` calls it: the checkers
# are in .tools/checkers, and MINI_SCAN names the program.
#
# Where Terraform's providers are kept in a local folder, TF_PLUGIN_DIR names it.
set -euo pipefail
cd "$(dirname "$0")/.."

checkers=.tools/checkers/bin
kubernetes_version=1.37.0
not_run=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_ARGS=-no-color PYTHONDONTWRITEBYTECODE=1

say() { printf 'infra: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

skip() {
  not_run+=("$*")
  say "NOT RUN: $*"
}

# Runs a check, and shows what it said only if it failed.
quietly() {
  local what=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    say "$what: passed"
  else
    cat "$work/said"
    say "$what: FAILED"
    exit 1
  fi
}

# --- containers and scripts ---

containers() {
  quietly "Dockerfile, hadolint" "$checkers/hadolint" Dockerfile
  quietly "Dockerfile, checkov" "$checkers/checkov" --framework dockerfile --file Dockerfile
  quietly "compose files, their schema" "$checkers/check-jsonschema" --builtin-schema vendor.compose-spec \
    docker-compose.yml docker-compose.dynamo.yml
  quietly "shell scripts, shellcheck" "$checkers/shellcheck" .ci/run infra/check.sh scripts/*.sh tests/*.sh
  skip "building and starting the containers: that needs a container engine"
}

# --- Terraform ---

# Fetches a module's provider. Where it should be there, a failure is one; elsewhere 1 says that it cannot be had.
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
    timeout 120 terraform "-chdir=$work/infra/terraform/$module" init -backend=false -input=false >"$work/said" 2>&1
  fi
}

# A module, and the providers that it needs.
module() {
  local module=$1
  if ! init "$@"; then
    skip "terraform validate and test of $module: a provider of it (${*:2}) cannot be had here"
    return
  fi
  quietly "$module, terraform validate" terraform "-chdir=$work/infra/terraform/$module" validate
  if [ -d "$work/infra/terraform/$module/tests" ]; then
    quietly "$module, terraform test" terraform "-chdir=$work/infra/terraform/$module" test
  fi
  if [ "$module" = aws ]; then aws_can_be_applied=yes; fi
}

terraform_modules() {
  quietly "modules, checkov" "$checkers/checkov" --framework terraform --directory infra/terraform
  if ! have terraform; then
    skip "terraform fmt, validate and test: terraform is not there"
    return
  fi
  quietly "modules, terraform fmt" terraform fmt -check -recursive infra
  # A copy, so that nothing is left beside the originals, and without what somebody left there.
  cp -R infra "$work/infra"
  find "$work/infra" -name '.terraform*' -prune -exec rm -rf {} +
  module aws aws
  module gcp google
  module examples/two-clouds aws google
}

# --- Kubernetes ---

manifests() {
  local overlay rendered
  for overlay in infra/kubernetes/overlays/*; do
    rendered=$work/$(basename "$overlay").yaml
    if have kustomize; then
      kustomize build "$overlay" >"$rendered"
    elif have kubectl; then
      kubectl kustomize "$overlay" >"$rendered"
    else
      skip "rendering $overlay: neither kustomize nor kubectl is there, so its files are checked one by one"
      sed -s '$a---' infra/kubernetes/base/[!k]*.yaml "$overlay"/[!k]*.yaml >"$rendered"
    fi
    quietly "$overlay, schemas of Kubernetes $kubernetes_version" "$checkers/kubernetes-validate" --strict \
      --kubernetes-version "$kubernetes_version" "$rendered"
    # Custom resources have no schema there.
    sed -n "s/^WARN .*schema for kind \([A-Za-z]*\) .*/\1/p" "$work/said" >>"$work/kinds"
    quietly "$overlay, checkov" "$checkers/checkov" --framework kubernetes --file "$rendered"
  done
  skip "schemas of $(sort -u "$work/kinds" | paste -sd ' '): Kubernetes does not know them before they are installed"
}

# --- alerts, dashboard, runbook ---

# Sets `promtool`: that of this machine, or of Debian's package, unpacked into .tools.
find_promtool() {
  promtool=$(command -v promtool || true)
  if [ -z "$promtool" ]; then
    promtool=.tools/prometheus/usr/bin/promtool
    [ -x "$promtool" ] || unpack_promtool
  fi
}

download_prometheus() { (cd "$work/prometheus" && apt-get download prometheus >/dev/null 2>&1); }

# A new machine may not have the lists of packages yet.
unpack_promtool() {
  have apt-get && have dpkg || return 1
  mkdir -p "$work/prometheus"
  download_prometheus || { [ "$(id -u)" -eq 0 ] && apt-get update >/dev/null 2>&1 && download_prometheus; } || return 1
  mkdir -p .tools && dpkg -x "$work"/prometheus/*.deb .tools/prometheus
}

# Whatever promtool says of the page is a complaint, also where it exits with success.
no_complaint() {
  local exit=0
  "$promtool" check metrics <"$work/metrics" >"$work/complaints" 2>&1 || exit=$?
  cat "$work/complaints"
  [ "$exit" -eq 0 ] && [ ! -s "$work/complaints" ]
}

alerts() {
  quietly "names in alerts, dashboard, autoscaler, runbook and settings" "$checkers/python" infra/tests/names.py
  quietly "the same names, as a running consumer has them" "$checkers/python" infra/tests/live.py "$work/metrics"
  if ! find_promtool; then
    skip "promtool: neither it nor Debian's package prometheus can be had"
    return
  fi
  skip "importing the dashboard: that needs Grafana"
  "$checkers/python" infra/tests/names.py rules "$work/queries.yml"
  quietly "alerts, promtool" "$promtool" check rules infra/prometheus/alerts.yml
  quietly "alerts, their tests" "$promtool" test rules infra/prometheus/alerts_test.yml
  quietly "/metrics of that consumer, promtool" no_complaint
  quietly "scraping, promtool" "$promtool" check config infra/prometheus/prometheus.yml
  quietly "dashboard and autoscaler, the syntax of their queries" "$promtool" check rules "$work/queries.yml"
}

# --- what Terraform makes, setup makes and the consumer expects ---

agreement() {
  local parts=()
  if [ "${aws_can_be_applied:-}" != yes ]; then
    skip "applying module aws to a local AWS, and the consumer on its table: terraform or its provider is not there"
    parts=(pubsub)
  fi
  "$checkers/python" infra/tests/agreement.py "${parts[@]:+${parts[@]}}"
}

containers
alerts
manifests
terraform_modules
agreement

say "passed; not run on this machine:"
printf '  %s\n' "${not_run[@]}"
