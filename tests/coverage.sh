#!/bin/sh
# SPDX-License-Identifier: MIT
# coverage.sh [BUILD-DIRECTORY]
# The gates on tested lines and branches, after the unit tests (make check-unit) in a build
# with --enable-coverage: of the lines in the rooms below, at least the
# percentage below has run, and of those in `whole` every one. What does not
# count is listed, with its reason, in coverage-exclusions.txt. Of the branches in
# `whole` each was taken, or is in branch-exclusions.txt with its reason.
set -u

gate=95
whole='lib/commit/(update_batcher|batch_split|ticket_done)\.[ch] lib/watch/ lib/monitor/'
rooms='lib/tree lib/reclaim lib/commit lib/monitor lib/graph lib/reduce lib/effect lib/serialize lib/store lib/watch workers'

src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${1:-${top_builddir:-$src/build-cov}}
exclusions=$src/tests/coverage-exclusions.txt

command -v gcovr >/dev/null || { echo "gcovr is not installed"; exit 77; }

# Lines "file REGEX | reason" and "line REGEX | reason"; # begins a comment.
patterns()
{
    sed -n "s/^$1 \{1,\}\(.*[^ ]\) \{1,\}| .*/\1/p" "$exclusions"
}

grep -Ev '^(#|$|(file|line) +[^ ].* \| .+)' "$exclusions" && {
    echo "FAIL: lines of $exclusions without a reason (shown above)"
    exit 1
}

set --
for room in $rooms; do
    set -- "$@" --filter "$src/$room/"
done
for pattern in $(patterns file); do
    set -- "$@" --exclude "$src/$pattern"
done
lines=$(patterns line | paste -s -d '|')
[ -z "$lines" ] || set -- "$@" --exclude-lines-by-pattern ".*($lines).*"

trace=$build/coverage.json
gcovr --root "$src" --object-directory "$build" --exclude-unreachable-branches \
    "$@" --json "$trace" "$build" || exit 1

# gate PERCENT [OPTION...]: one test, of the lines collected
gate()
{
    percent=$1
    shift
    if gcovr --root "$src" --add-tracefile "$trace" --print-summary --fail-under-line "$percent" "$@"; then
        echo "100%: Checks: 1, Failures: 0, Errors: 0"
    else
        echo "FAIL: under $percent % of lines"
        echo "0%: Checks: 1, Failures: 1, Errors: 0"
        status=1
    fi
}

status=0
set --
for part in $whole; do
    set -- "$@" --filter "$src/$part"
done
gate 100 "$@"
gate "$gate"
# shellcheck disable=SC2086 # words
python3 "$src/tests/branches.py" "$build" $whole || status=1
exit $status
