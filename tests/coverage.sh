#!/bin/sh
# SPDX-License-Identifier: MIT
# coverage.sh [BUILD-DIRECTORY]
# The gates on tested lines and branches, after the unit tests (make check-unit) in a build
# with --enable-coverage: of the lines in the rooms below, at least the
# percentage below has run, and of those in `whole` and in `lines` every one. What
# does not count is listed, with its reason, in coverage-exclusions.txt. Of the
# branches in `whole` each was taken, or is in branch-exclusions.txt with its reason;
# how many were of those in `lines` is only printed.
set -u

gate=95
whole='lib/commit/(update_batcher|batch_split|ticket_done)\.[ch] lib/watch/ lib/monitor/'
lines='lib/serialize/ lib/patch/ lib/history/ lib/tree/difference lib/tree/compact lib/commit/step lib/reclaim/(memory_manager|slab|pool|dead)'
rooms='lib/tree lib/reclaim lib/commit lib/monitor lib/graph lib/reduce lib/effect lib/serialize lib/patch lib/history lib/store lib/watch workers'

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
left_out=$(patterns line | paste -s -d '|')
[ -z "$left_out" ] || set -- "$@" --exclude-lines-by-pattern ".*($left_out).*"

trace=$build/coverage.json
gcovr --root "$src" --object-directory "$build" --exclude-unreachable-branches \
    "$@" --json "$trace" "$build" || exit 1

# gate PERCENT [PART...]: one test, of the lines collected, or of those of these parts
gate()
{
    percent=$1
    shift
    for part; do
        shift
        set -- "$@" --filter "$src/$part"
    done
    if gcovr --root "$src" --add-tracefile "$trace" --print-summary --fail-under-line "$percent" "$@"; then
        echo "100%: Checks: 1, Failures: 0, Errors: 0"
    else
        echo "FAIL: under $percent % of lines"
        echo "0%: Checks: 1, Failures: 1, Errors: 0"
        status=1
    fi
}

status=0
# shellcheck disable=SC2086 # words
gate 100 $whole
# shellcheck disable=SC2086
gate 100 $lines
gate "$gate"
# shellcheck disable=SC2086
python3 "$src/tests/branches.py" "$build" $whole || status=1
exit $status
