#!/usr/bin/env bash
# Runs the embedded Pub/Sub server on port 8085 and the scanner in the foreground. When either ends, or at Ctrl-C or
# SIGTERM, both are stopped.
set -euo pipefail

export PUBSUB_EMULATOR_HOST=localhost:8085
server=
scanner=

# Starts a command in a process group of its own: at Ctrl-C only this script gets the signal, and stops both in order.
start() {
  set -m
  cargo run --locked --quiet -- "$@" &
  set +m
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# shellcheck disable=SC2329 # called by the trap
stop() {
  trap '' INT TERM
  for pid in "$scanner" "$server"; do
    if alive "$pid"; then kill "$pid" 2>/dev/null || true; fi
    if [ -n "$pid" ]; then wait "$pid" 2>/dev/null || true; fi
  done
}

answers() { (: >/dev/tcp/localhost/8085) 2>/dev/null; }

trap stop EXIT
# The ordinary ways to end it.
trap 'exit 0' INT TERM

start local pubsub
server=$!
for _ in {1..100}; do
  if ! alive "$server" || answers; then break; fi
  sleep 0.1
done
if ! alive "$server" || ! answers; then
  echo "The Pub/Sub server did not start; is another program using port 8085?" >&2
  exit 1
fi
cargo run --locked --quiet -- setup pubsub
start scanner
scanner=$!
while alive "$server" && alive "$scanner"; do sleep 0.2; done
echo "The Pub/Sub server or the scanner ended by itself." >&2
exit 1
