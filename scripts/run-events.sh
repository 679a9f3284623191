#!/usr/bin/env bash
# Runs event-pipeline on embedded servers: the servers, a sink with a route, the processor and the deliverer. Stops all of
# them at Ctrl-C, at SIGTERM, and when one of them exits.
set -euo pipefail

export AWS_ENDPOINT_URL_SQS=http://localhost:9324 AWS_ENDPOINT_URL_DYNAMODB=http://localhost:8000
export EVENT_PIPELINE_ALLOW_HTTP=true EVENT_PIPELINE_ALLOW_TARGET=127.0.0.1:8090
program=target/debug/event-pipeline
pids=()

# Starts a command in its own process group, so that only this script receives Ctrl-C and stops them in order.
start() {
  set -m
  "$program" "$@" &
  set +m
  pids=("$!" "${pids[@]}")
}

all_alive() {
  local pid
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || return 1; done
}

# shellcheck disable=SC2329 # The trap calls it.
stop() {
  trap '' INT TERM
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

trap stop EXIT
# Ctrl-C and SIGTERM are the normal ways to stop it.
trap 'exit 0' INT TERM

start local
"$program" setup --wait
"$program" routes add acme http://127.0.0.1:8090/
start sink
start processor --http-listen 127.0.0.1:9465
start deliver --http-listen 127.0.0.1:9466
cat <<'TEXT'

In another terminal:

  export AWS_ENDPOINT_URL_SQS=http://localhost:9324 AWS_ENDPOINT_URL_DYNAMODB=http://localhost:8000
  target/debug/event-pipeline send crates/events/examples/good.json

TEXT
while all_alive; do sleep 0.2; done
echo "A program exited unexpectedly." >&2
exit 1
