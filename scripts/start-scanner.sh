#!/usr/bin/env bash
# Runs the embedded Pub/Sub server on port 8085 and the scanner in the foreground. Stops both at Ctrl-C, at SIGTERM, and
# when either of them exits.
set -euo pipefail

export PUBSUB_EMULATOR_HOST=localhost:8085
server=
scanner=

# Starts a command in its own process group, so that only this script receives Ctrl-C and stops both in order.
start() {
  set -m
  cargo run --locked --quiet -- "$@" &
  set +m
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# shellcheck disable=SC2329 # The trap calls it.
stop() {
  trap '' INT TERM
  for pid in "$scanner" "$server"; do
    if alive "$pid"; then kill "$pid" 2>/dev/null || true; fi
    if [ -n "$pid" ]; then wait "$pid" 2>/dev/null || true; fi
  done
}

answers() { (: >/dev/tcp/localhost/8085) 2>/dev/null; }

trap stop EXIT
# Ctrl-C and SIGTERM are the normal ways to stop it.
trap 'exit 0' INT TERM

start local pubsub
server=$!
for _ in {1..100}; do
  if ! alive "$server" || answers; then break; fi
  sleep 0.1
done
if ! alive "$server" || ! answers; then
  echo "The Pub/Sub server did not start. Check whether another program uses port 8085." >&2
  exit 1
fi
cargo run --locked --quiet -- setup pubsub
start scanner
scanner=$!
while alive "$server" && alive "$scanner"; do sleep 0.2; done
echo "The Pub/Sub server or the scanner exited unexpectedly." >&2
exit 1
