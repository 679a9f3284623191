#!/usr/bin/env bash
# Applies each mutation in tests/mutations to a copy of the last commit. The simulation must fail on each of them, the
# contract suite on those in tests/mutations/table, the tests of streams on those in tests/mutations/streams, and a test of
# the whole program on those in tests/mutations/topic.
# Arguments select mutations by name.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

copy=$(mktemp --directory)
trap 'git worktree remove --force "$copy"' EXIT
git worktree add --quiet --detach "$copy" HEAD

# Runs the tests that must detect the mutation. They need their own target folder, because cargo would confuse the builds
# of the copy and of this tree.
run_tests() {
  case $1 in
    */table/*) set -- --test it contract::dynamodb ;;
    */streams/*) set -- --package mini-scan --lib pubsub::source ;;
    */topic/*) set -- --test it a_dead_letter_that_the_topic_refuses ;;
    *) set -- --package mini-scan --lib consumer::simulation ;;
  esac
  (cd "$copy" && CARGO_TARGET_DIR="$here/target/mutations" MINI_SCAN_SCHEDULES=${SCHEDULES:-2000} \
    cargo test --locked --quiet "$@") >"$copy/tests.log" 2>&1
}

for without in tests/mutations/none tests/mutations/{table,streams,topic}/none; do
  if ! run_tests "$without"; then
    cat "$copy/tests.log"
    echo "The tests fail even without a mutation." >&2
    exit 1
  fi
done
survived=0
for patch in tests/mutations/*.patch tests/mutations/*/*.patch; do
  name=$(basename "$patch" .patch)
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  git -C "$copy" apply "$here/$patch" || { echo "$patch does not apply to the code any more. Update it." >&2; exit 1; }
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
