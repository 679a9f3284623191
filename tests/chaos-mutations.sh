#!/usr/bin/env bash
# Applies each mutation in tests/mutations/chaos to a copy of the last commit. Chaos must find a violation in the first
# minute. The tables are often right in the end, so only the audit of acknowledgements finds these mutations.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

copy=$(mktemp --directory)
trap 'git worktree remove --force "$copy"' EXIT
git worktree add --quiet --detach "$copy" HEAD

survived=0
for patch in tests/mutations/chaos/*.patch; do
  name=$(basename "$patch" .patch)
  git -C "$copy" apply "$here/$patch" || { echo "$patch does not apply to the code any more. Update it." >&2; exit 1; }
  # The copy needs its own target folder, because cargo would confuse the builds of the copy and of this tree.
  (cd "$copy" && CARGO_TARGET_DIR="$here/target/mutations" RUST_BACKTRACE=0 \
    cargo test --locked --test it chaos::two_minutes -- --ignored --nocapture) >"$copy/tests.log" 2>&1 || true
  seconds=$(sed -n 's/^after \([0-9]*\) s, .*/\1/p' "$copy/tests.log")
  if [ -n "$seconds" ] && [ "$seconds" -lt 60 ]; then
    echo "caught    $name, after $seconds s:"
    sed -n '/^after /,/^SEED=/p' "$copy/tests.log"
  else
    tail -n 50 "$copy/tests.log"
    echo "SURVIVED  $name"
    survived=1
  fi
  git -C "$copy" checkout --quiet .
done
exit $survived
