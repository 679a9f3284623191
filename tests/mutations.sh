#!/usr/bin/env bash
# Tries each mutation in tests/mutations on a copy of what is committed: the simulation must fail on every one, and the
# contract suite on those in tests/mutations/table. With names as arguments, only these.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

copy=$(mktemp --directory)
trap 'git worktree remove --force "$copy"' EXIT
git worktree add --quiet --detach "$copy" HEAD

# The tests that must notice a mutation. In a target of their own: cargo takes what a copy has built for this tree's.
run_tests() {
  case $1 in
    */table/*) set -- --test it contract::dynamodb ;;
    *) set -- --package mini-scan --lib consumer::simulation ;;
  esac
  (cd "$copy" && CARGO_TARGET_DIR="$here/target/mutations" MINI_SCAN_SCHEDULES=${SCHEDULES:-2000} \
    cargo test --locked --quiet "$@") >"$copy/tests.log" 2>&1
}

for without in tests/mutations/none tests/mutations/table/none; do
  if ! run_tests "$without"; then
    cat "$copy/tests.log"
    echo "The tests fail without any mutation." >&2
    exit 1
  fi
done
survived=0
for patch in tests/mutations/*.patch tests/mutations/table/*.patch; do
  name=$(basename "$patch" .patch)
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  git -C "$copy" apply "$here/$patch" || { echo "$patch does not fit the code any more." >&2; exit 1; }
  if run_tests "$patch"; then
    echo "SURVIVED  $name"
    survived=1
  elif grep -q '^error' "$copy/tests.log" && ! grep -q 'test result: FAILED' "$copy/tests.log"; then
    cat "$copy/tests.log"
    echo "$name does not compile." >&2
    exit 1
  else
    echo "caught    $name, by $(grep -c '^    [a-z_:]*$' "$copy/tests.log") tests"
  fi
  git -C "$copy" checkout --quiet .
done
exit $survived
