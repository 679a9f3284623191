#!/usr/bin/env bash
# Applies each patch in tests/mutations, except those for chaos, to a copy of the last commit. The tests that the first
# line of the patch names must then fail: `Tests: --lib dynamo::error::`. Without such a line, the simulation must fail.
# Arguments select patches by name.
set -euo pipefail
cd "$(dirname "$0")/.."

# The copy needs its own target folder, because cargo would confuse the builds of the copy and of this tree. Its path is
# always the same, so that the next run continues from the incremental builds of this one.
export CARGO_TARGET_DIR=$PWD/target/mutations
export MINI_SCAN_SCHEDULES=${SCHEDULES:-2000} DYNAMODB_STREAMS_SCHEDULES=${SCHEDULES:-500} RUST_BACKTRACE=0
here=$PWD copy=$CARGO_TARGET_DIR/tree log=$CARGO_TARGET_DIR/tests.log

remove_copy() {
  git worktree remove --force "$copy" 2>/dev/null || rm -rf "$copy"
  git worktree prune
}

fail() {
  tail -n 100 "$log" >&2
  echo "$1" >&2
  exit 1
}

# Prints the arguments of `cargo test` for a patch. The last one is the filter.
tests_of() {
  local tests
  tests=$(sed -n '1s/^Tests: //p' "$1")
  tests=${tests:---lib consumer::simulation}
  [[ $tests == *--package* ]] || tests="--package mini-scan $tests"
  echo "$tests"
}

# Builds and runs these tests on the copy. Returns false if they fail.
run_tests() {
  # shellcheck disable=SC2086 # The arguments contain no spaces.
  (cd "$copy" && cargo test --locked --quiet ${1% *} --no-run) >"$log" 2>&1 </dev/null ||
    fail "$2 does not compile."
  # A test that waits for an event fails by itself, so this limit ends only endless loops.
  # shellcheck disable=SC2086
  (cd "$copy" && timeout 900 cargo test --locked --quiet $1) >"$log" 2>&1 </dev/null
}

# Prints the names of the tests that failed, from the list at the end of their output.
failed_tests() {
  awk '/^failures:$/ { names = "" } /^    [a-z0-9_:]+$/ { names = names $1 "\n" } END { printf "%s", names }' "$log"
}

patches=()
for patch in tests/mutations/*.patch tests/mutations/*/*.patch; do
  if [[ $patch == tests/mutations/chaos/* ]]; then continue; fi
  if [ $# -gt 0 ] && [[ " $* " != *" $(basename "$patch" .patch) "* ]]; then continue; fi
  patches+=("$patch")
done
if [ "${#patches[@]}" -eq 0 ] || { [ $# -gt 0 ] && [ "${#patches[@]}" -ne $# ]; }; then
  echo "tests/mutations has no patch of this name, or two: $*" >&2
  exit 1
fi

remove_copy
trap remove_copy EXIT
mkdir -p "$CARGO_TARGET_DIR"
git worktree add --quiet --detach "$copy" HEAD

while read -r tests; do
  run_tests "$tests" "The code without a mutation" || fail "The tests fail even without a mutation: $tests"
  grep -q '^test result: ok. [1-9]' "$log" || fail "There are no such tests: $tests"
done < <(for patch in "${patches[@]}"; do tests_of "$patch"; done | sort --unique)

survived=()
row='%-8s  %-52s  %7s  %s\n'
# shellcheck disable=SC2059
printf "$row" result mutation seconds 'tests that failed'
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch) began=$SECONDS
  git -C "$copy" apply "$here/$patch" || { echo "$patch does not apply to the code any more. Update it." >&2; exit 1; }
  if run_tests "$(tests_of "$patch")" "$name"; then
    survived+=("$name")
    result=SURVIVED by="none of $(tests_of "$patch")"
  else
    tests=$(tests_of "$patch")
    mapfile -t failed < <(failed_tests | grep --fixed-strings -- "${tests##* }")
    if [ "${#failed[@]}" -eq 0 ]; then fail "$name: the tests ended without a result, which is no proof."; fi
    more=$((${#failed[@]} - 1))
    result=caught by="${failed[0]}$([ $more -eq 0 ] || echo " and $more more")"
  fi
  # shellcheck disable=SC2059
  printf "$row" "$result" "$name" $((SECONDS - began)) "$by"
  git -C "$copy" checkout --quiet .
done

echo "${#patches[@]} mutations: $((${#patches[@]} - ${#survived[@]})) caught, ${#survived[@]} survived."
[ "${#survived[@]}" -eq 0 ] || { echo "Write the test that fails, or correct the patch: ${survived[*]}" >&2; exit 1; }
