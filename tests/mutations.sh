#!/usr/bin/env bash
# Tries each mutation in tests/mutations on a copy of what is committed: the simulation must fail on every one.
# With names as arguments, only these.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

copy=$(mktemp --directory)
trap 'git worktree remove --force "$copy"' EXIT
git worktree add --quiet --detach "$copy" HEAD

simulate() {
  (cd "$copy" && CARGO_TARGET_DIR="$here/target" MINI_SCAN_SCHEDULES=${SCHEDULES:-2000} \
    cargo test --locked --quiet --lib consumer::) >"$copy/simulation.log" 2>&1
}

if ! simulate; then
  cat "$copy/simulation.log"
  echo "The simulation fails without any mutation." >&2
  exit 1
fi
survived=0
for patch in tests/mutations/*.patch; do
  name=$(basename "$patch" .patch)
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  git -C "$copy" apply "$here/$patch" || { echo "$patch does not fit the code any more." >&2; exit 1; }
  if simulate; then
    echo "SURVIVED  $name"
    survived=1
  elif grep -q '^error' "$copy/simulation.log" && ! grep -q 'test result: FAILED' "$copy/simulation.log"; then
    cat "$copy/simulation.log"
    echo "$name does not compile." >&2
    exit 1
  else
    echo "caught    $name, by $(grep -c '^test .* FAILED$\|^    consumer::' "$copy/simulation.log") tests"
  fi
  git -C "$copy" checkout --quiet .
done
exit $survived
